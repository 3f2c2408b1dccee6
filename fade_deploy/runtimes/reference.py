"""onnx's own ReferenceEvaluator as a Polygraphy runner: slow, plain numpy, and nobody's optimiser in between."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata

from fade_deploy.errors import InputError
from fade_deploy.optional import require

__all__ = ["ReferenceRunner", "input_metadata"]


class ReferenceRunner(BaseRunner):  # type: ignore[misc] # polygraphy ships no types
    """Runs the file's nodes and function bodies one by one.

    Args:
        path: An ``.onnx`` file.
        name: Of the runner.

    Raises:
        InputError: The file can't be read.
        MissingDependency: onnx is not installed.
    """

    def __init__(self, path: Path, *, name: str) -> None:
        super().__init__(name=name, prefix=name)
        onnx = require("onnx", extra="verify")
        evaluator = require("onnx.reference", extra="verify").ReferenceEvaluator
        try:
            self._model = onnx.load(str(path))
            self._evaluator = evaluator(self._model)
        except Exception as error:  # protobuf's, onnx's and the system's share no public parent
            raise InputError(
                f"{path} can't be read by onnx {onnx.__version__} ({_one_line(error)}), expected an .onnx file: export "
                "it again with fade-export"
            ) from error
        self._metadata = input_metadata(self._model)

    def get_input_metadata_impl(self) -> TensorMetadata:
        return self._metadata

    def infer_impl(self, feed_dict: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        start = time.perf_counter()
        try:
            values = self._evaluator.run(None, dict(feed_dict))
        except MemoryError:
            raise
        except Exception as error:  # whatever one of its many numpy implementations raises
            raise InputError(f"onnx's ReferenceEvaluator fails: {_one_line(error)}") from error
        self.inference_time = time.perf_counter() - start
        return dict(zip(self._evaluator.output_names, values, strict=True))


def input_metadata(model: Any) -> TensorMetadata:
    """Name, dtype and shape of each input of an ``onnx.ModelProto``; -1 where a size is open."""
    helper = require("onnx.helper", extra="verify")
    metadata = TensorMetadata()
    for value in model.graph.input:
        tensor = value.type.tensor_type
        shape = [dim.dim_value if dim.HasField("dim_value") else -1 for dim in tensor.shape.dim]
        metadata.add(value.name, dtype=np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type)), shape=shape)
    return metadata


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"
