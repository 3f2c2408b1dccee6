"""OpenVINO on the CPU as a Polygraphy runner.

It reads no model-local functions, so they are inlined first; and it computes in bfloat16 on its own accord where the
CPU has that, so float32 is asked for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata

from fade_deploy.errors import InputError
from fade_deploy.optional import require
from fade_deploy.runtimes.reference import input_metadata

__all__ = ["OpenVinoRunner", "openvino_version"]


class OpenVinoRunner(BaseRunner):  # type: ignore[misc] # polygraphy ships no types
    """Runs a file on OpenVINO's CPU plugin, in float32.

    Args:
        path: An ``.onnx`` file.
        name: Of the runner.
        threads: 0 leaves the number to OpenVINO.

    Raises:
        InputError: OpenVINO can't read or compile the file.
        MissingDependency: openvino or onnx is not installed.
    """

    def __init__(self, path: Path, *, name: str, threads: int = 0) -> None:
        super().__init__(name=name, prefix=name)
        openvino = require("openvino", extra="openvino")
        onnx = require("onnx", extra="verify")
        inline = require("onnx.inliner", extra="verify").inline_local_functions
        core = openvino.Core()
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
        if threads:
            options["INFERENCE_NUM_THREADS"] = threads
        try:
            model = inline(onnx.load(str(path)))
            self._compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", options)
        except Exception as error:  # RuntimeErrors of OpenVINO, protobuf's and onnx's own
            reason = " ".join(str(error).split())
            raise InputError(
                f"{path} can't be loaded by OpenVINO {openvino_version()} ({reason[:300]}), expected operators that it "
                "has: leave openvino out of --on"
            ) from error
        self._metadata = input_metadata(model)
        self._outputs = [output.name for output in model.graph.output]

    def get_input_metadata_impl(self) -> TensorMetadata:
        return self._metadata

    def infer_impl(self, feed_dict: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        start = time.perf_counter()
        try:
            values = self._compiled(dict(feed_dict))
        except RuntimeError as error:
            raise InputError(f"OpenVINO fails: {' '.join(str(error).split())}") from error
        self.inference_time = time.perf_counter() - start
        # Copies: OpenVINO's arrays are overwritten by the next run.
        return {name: values[name].copy() for name in self._outputs}


def openvino_version() -> str:
    """Version of the installed OpenVINO."""
    return str(require("openvino", extra="openvino").__version__)
