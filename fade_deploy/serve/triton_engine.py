"""What a server is told of a TensorRT engine, read from its manifest: the engine itself needs its GPU to be loaded."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fade_deploy.errors import ExportError, InputError, RecipeError
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.deployed_metadata import metadata_fault
from fade_deploy.runtimes.engine_flavour import Flavour
from fade_deploy.runtimes.engine_manifest import manifest_of, read_engine
from fade_deploy.serve.triton_interface import OPEN, Interface, Plan, Tensor, input_shapes, sides

__all__ = ["interface_of_engine"]

_REMEDY = "build the engine again with fade-export --format tensorrt"
_PICTURE_RANK = 4  # [N, C, H, W] or [N, H, W, C]


def interface_of_engine(path: Path, warmup: Sequence[Shape] = ()) -> Interface:
    """What the manifest beside an engine says of it.

    Args:
        path: The engine.
        warmup: Sizes; by default the smallest and the optimum of the engine's profile, or its only size.

    Raises:
        InputError: The engine or its manifest is missing, they do not belong together, or Triton loads no engines
            of that flavour.
        ExportError: A warm-up size is outside the profile, or no multiple of what the model takes.
    """
    _, document = read_engine(path)
    flavour, version = Flavour(document["tensorrt"]["flavour"]), str(document["tensorrt"]["version"])
    if flavour is not Flavour.TENSORRT:
        raise InputError(
            f"{path} was built by {flavour.label} {version}, expected an engine of {Flavour.TENSORRT.label}, which is "
            "what Triton's tensorrt backend loads: build it with fade-export --format tensorrt"
        )
    metadata = document["metadata"]
    if fault := metadata_fault(metadata):
        raise InputError(f"{manifest_of(path)} has metadata of the model in which {fault}: {_REMEDY}")
    try:
        inputs, outputs = _tensors(document["inputs"]), _tensors(document["outputs"])
        if any(len(tensor.shape) != _PICTURE_RANK for tensor in inputs):
            raise ValueError("inputs that are no pictures")
        smallest, optimum, largest = _profile(document.get("profile"), inputs, metadata)
    except (ValueError, KeyError, TypeError, IndexError, RecipeError) as error:
        raise InputError(f"{manifest_of(path)} describes no engine of fade-export ({error!r}): {_REMEDY}") from error
    for size in warmup:
        _check_warmup(size, smallest, largest, multiple=metadata["size_multiple"])
    sizes = warmup or tuple(dict.fromkeys((smallest, optimum)))
    plugin = document["plugin"]
    return Interface(
        inputs=inputs,
        outputs=outputs,
        warmup=tuple(input_shapes(inputs, size, metadata) for size in sizes),
        metadata=metadata,
        batches=smallest.batch == 1 and all(tensor.shape[0] == OPEN for tensor in (*inputs, *outputs)),
        plan=Plan(
            tensorrt=version,
            smallest=smallest,
            optimum=optimum,
            largest=largest,
            embedded_plugin=plugin is not None and plugin["embedded"],
            version_compatible=bool(document["options"].get("version_compatible")),
        ),
    )


def _check_warmup(size: Shape, smallest: Shape, largest: Shape, *, multiple: int) -> None:
    edges = list(zip(smallest.sizes, size.sizes, largest.sizes, strict=True))
    if not all(low <= given <= high for low, given, high in edges):
        raise ExportError(
            f"warm-up size {size} is outside the engine's profile, {smallest} to {largest}: give a size inside it"
        )
    # A side that is fixed may be any; the batch, which is first, as well.
    if any(given % multiple for low, given, high in edges[1:] if low != high):
        raise ExportError(
            f"warm-up size {size} has a side that is no multiple of {multiple}, which the model takes: give one that is"
        )


def _tensors(entries: Sequence[dict[str, Any]]) -> tuple[Tensor, ...]:
    if not entries:
        raise ValueError("no inputs or no outputs")
    return tuple(
        Tensor(entry["name"], entry["dtype"], tuple(size if isinstance(size, int) else OPEN for size in entry["shape"]))
        for entry in entries
    )


def _profile(
    stated: dict[str, str] | None, inputs: Sequence[Tensor], metadata: dict[str, Any]
) -> tuple[Shape, Shape, Shape]:
    """Smallest, optimum and largest size; without a profile all sizes are fixed."""
    if stated is None:
        height, width = sides(inputs[0].shape, metadata)
        only = Shape(inputs[0].shape[0], height, width)
        if OPEN in only.sizes:
            raise ValueError("open sizes, and no profile")
        return only, only, only
    return Shape.parse(stated["min"]), Shape.parse(stated["opt"]), Shape.parse(stated["max"])
