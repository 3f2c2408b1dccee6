"""What a server must be told of a model: its tensors, and the sizes to run before it reports ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fade_deploy.errors import ExportError
from fade_deploy.recipe import Shape

__all__ = ["OPEN", "Interface", "Plan", "Tensor", "dims", "input_shapes", "sides"]

OPEN = -1  # a size that the artefact leaves to the request


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: name, numpy's name of its dtype, and shape with the batch axis first, -1 where open."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What only an engine has to tell a server."""

    tensorrt: str  # the version that built it
    smallest: Shape  # of its profile, as are these
    optimum: Shape
    largest: Shape
    embedded_plugin: bool
    version_compatible: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """All that a server is told of an artefact."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    warmup: tuple[Mapping[str, tuple[int, ...]], ...]  # for each size, the shape of each input by name
    metadata: Mapping[str, Any]  # what fade-export wrote of the model
    batches: bool  # whether requests can be joined: the batch axis is open, from 1 upwards
    plan: Plan | None = None  # of an engine


def input_shapes(inputs: Sequence[Tensor], size: Shape, metadata: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The shape of each input at this size.

    Raises:
        ExportError: The file has another size.
    """
    batch, height, width = size.sizes
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor in inputs:
        channels_last = metadata["embed_preprocess"]
        channels = tensor.shape[3 if channels_last else 1]
        shape = (batch, height, width, channels) if channels_last else (batch, channels, height, width)
        if any(declared not in (OPEN, given) for given, declared in zip(shape, tensor.shape, strict=True)):
            raise ExportError(
                f"warm-up size {size} makes '{tensor.name}' {list(shape)}, expected {dims(tensor.shape)}: give a size "
                "(batch x height x width) that fits"
            )
        shapes[tensor.name] = shape
    return shapes


def sides(shape: Sequence[int], metadata: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width of an input's shape."""
    return (shape[1], shape[2]) if metadata["embed_preprocess"] else (shape[2], shape[3])


def dims(shape: Sequence[int]) -> str:
    """A shape for a reader."""
    return "[" + ", ".join("any" if size == OPEN else str(size) for size in shape) + "]"
