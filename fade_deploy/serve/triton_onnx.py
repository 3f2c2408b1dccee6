"""What a server is told of an ``.onnx`` file, read from a session that has run it at every size told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fade_deploy.errors import ExportError, InputError
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.deployed_metadata import deployed_metadata
from fade_deploy.runtimes.native_libraries import NONE
from fade_deploy.runtimes.ort import output_of, session_from_onnx
from fade_deploy.serve.triton_interface import OPEN, Interface, Tensor, dims, input_shapes, sides

__all__ = ["interface_of_onnx"]

_USUAL_SIDE = 512  # pixels: what a file of any size is warmed up with, beside its smallest size
_DTYPES = {"float": "float32", "float16": "float16", "uint8": "uint8", "int64": "int64"}  # onnxruntime's names


def interface_of_onnx(path: Path, warmup: Sequence[Shape] = (), *, threads: int = 0) -> Interface:
    """What the file takes and returns, after it has run at each of the sizes.

    Args:
        path: A file of fade-export.
        warmup: Sizes; by default the file's one size, or its smallest and its usual one.
        threads: Of onnxruntime; 0 leaves the number to it.

    Raises:
        InputError: It is no file of fade-export, or can't be run.
        ExportError: It doesn't take one of the sizes.
        MissingDependency: onnxruntime is not installed.
    """
    session = session_from_onnx(path, threads=threads, library=NONE)
    metadata = deployed_metadata(session, name=str(path))
    inputs = tuple(_tensor(value, path) for value in session.get_inputs())
    outputs = tuple(_tensor(value, path) for value in session.get_outputs())
    shapes = tuple(input_shapes(inputs, size, metadata) for size in warmup or _usual_sizes(inputs, metadata))
    for shape in shapes:
        _run(session, inputs, outputs, shape, name=str(path))
    batches = all(tensor.shape[0] == OPEN for tensor in (*inputs, *outputs))
    return Interface(inputs=inputs, outputs=outputs, warmup=shapes, metadata=metadata, batches=batches)


def _tensor(value: Any, path: Path) -> Tensor:
    kind = value.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _DTYPES or not value.shape:
        raise InputError(
            f"{path} has '{value.name}' of {value.type} {value.shape}, expected one of {', '.join(_DTYPES)} with a "
            "batch axis: export it again with fade-export"
        )
    # onnxruntime gives the name of a dimension that is left open.
    return Tensor(value.name, _DTYPES[kind], tuple(size if isinstance(size, int) else OPEN for size in value.shape))


def _usual_sizes(inputs: Sequence[Tensor], metadata: Mapping[str, Any]) -> list[Shape]:
    """One size of a file of one size; else the smallest and the usual one."""
    batch = inputs[0].shape[0]
    height, width = sides(inputs[0].shape, metadata)
    multiple: int = metadata["size_multiple"]
    usual = max(_USUAL_SIDE // multiple, 1) * multiple
    sizes = [
        Shape(max(batch, 1), side if height == OPEN else height, side if width == OPEN else width)
        for side in (multiple, usual)
    ]
    return list(dict.fromkeys(sizes))


def _run(
    session: Any,
    inputs: Sequence[Tensor],
    outputs: Sequence[Tensor],
    shapes: Mapping[str, tuple[int, ...]],
    *,
    name: str,
) -> None:
    """Run the file on zeros, as the server will, and hold what comes out against what the file declares."""
    zeros = {tensor.name: np.zeros(shapes[tensor.name], tensor.dtype) for tensor in inputs}
    for tensor in outputs:
        try:
            output = output_of(session, tensor.name, zeros, name=name)
        except InputError as error:
            at = ", ".join(f"'{key}' {list(shape)}" for key, shape in shapes.items())
            raise ExportError(
                f"{name} can't be run at {at}, expected a size that the model accepts: give other warm-up sizes "
                f"({error})"
            ) from error
        found = tuple(output.shape) if isinstance(output, np.ndarray) else ()
        if len(found) != len(tensor.shape) or any(
            declared not in (OPEN, size) for size, declared in zip(found, tensor.shape, strict=True)
        ):
            raise InputError(
                f"{name} returned {list(found)} as '{tensor.name}', expected {dims(tensor.shape)} as it declares: "
                "export it again with fade-export"
            )
