"""The ways to run a file, as a benchmark sees them: bound to inputs of any shape that they take.

A way is plain data first, because another process opens it again to see what memory it takes.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import DOMAIN, Head, Task
from fade_deploy.errors import ExportError, FadeDeployError, InputError
from fade_deploy.precision import Precision
from fade_deploy.provider import Provider
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE
from fade_deploy.runtimes.providers import placed_nodes
from fade_deploy.timing.benchmark import Placement
from fade_deploy.timing.bound_run import BoundRun
from fade_deploy.verification.model_inputs import model_inputs
from fade_deploy.verification.seeded import seeded_pictures, trimaps_of

__all__ = ["Loaded", "Way", "placement_of"]

Returned = TypeVar("Returned")

_SEED = 0  # of the pictures: the same in every benchmark


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to run one file, as plain data."""

    file: str
    threads: int
    provider: str = Provider.CPU  # of an .onnx file
    library: str = NONE  # of native operators, of an .onnx file
    plugin: str = AUTOMATIC  # of an engine
    head: str = ""  # of a checkpoint; empty: its task's first
    embed_preprocess: bool = False  # of a checkpoint
    recipe: str = ""  # of a checkpoint
    ema: bool = False  # of a checkpoint

    def as_dict(self) -> dict[str, Any]:
        """What ``Way(**...)`` takes."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A way, loaded."""

    way: Way
    label: str  # follows the file's name
    runtime: str
    precision: Precision
    task: Task
    head: Head
    embed_preprocess: bool
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bound: Callable[[Mapping[str, NDArray[Any]]], BoundRun]
    seconds: float  # that loading took
    types: Mapping[str, Any] = field(default_factory=dict)  # of inputs that are not float32
    sizes: tuple[int | None, int | None, int | None] = (None, None, None)  # batch, height, width; None where any
    multiple: int = 1  # of height and width where they are not fixed
    check_size: Callable[[int, int], None] | None = None  # of a checkpoint: raises ExportError
    profile: tuple[Shape, ...] = ()  # of an engine: smallest, best, largest
    native: bool = False  # whether our library runs its fade nodes
    session: Any = None  # of onnxruntime; None of anything else

    def refusal(self, shape: Shape) -> str:
        """Why this shape can't be run; empty where it can."""
        for name, size, given in zip(("batch", "height", "width"), self.sizes, shape.sizes, strict=True):
            if size is not None and size != given:
                return f"has the fixed {name} {size}"
            if size is None and name != "batch" and given % self.multiple:
                return f"takes multiples of {self.multiple}"
        if self.profile:
            smallest, _, largest = self.profile
            edges = zip(smallest.sizes, shape.sizes, largest.sizes, strict=True)
            if not all(low <= given <= high for low, given, high in edges):
                return f"takes {smallest} to {largest}"
        if self.check_size is not None:
            try:
                self.check_size(shape.height, shape.width)
            except ExportError as error:
                return str(error)
        return ""

    def inputs(self, shape: Shape) -> dict[str, NDArray[Any]]:
        """Made pictures, as this file takes them: blocks of colour under noise, no zeros and no denormal numbers."""
        pictures = seeded_pictures(shape, _SEED)
        trimaps = trimaps_of(pictures) if self.task is Task.MATTING else None
        tensors = model_inputs(pictures, trimaps, mean=self.mean, std=self.std, embed_preprocess=self.embed_preprocess)
        return {
            name: np.ascontiguousarray(array.astype(self.types.get(name, array.dtype), copy=False))
            for name, array in tensors.items()
        }

    def ready(self, shape: Shape) -> BoundRun:
        """Bound to made pictures of that shape."""
        return self.bound(self.inputs(shape))

    def explained(self, shape: Shape, call: Callable[[], Returned]) -> Returned:
        """Call what makes this way ready for that shape or runs it, and return what that returns.

        Raises:
            InputError: The runtime failed; what it said, on one line.
        """
        try:
            return call()
        except FadeDeployError:
            raise
        except Exception as error:  # neither onnxruntime's nor PyTorch's exceptions have a parent of their own
            reason = " ".join(str(error).split()) or type(error).__name__
            raise InputError(
                f"{self.way.file} can't run {shape} ({reason}), expected a size that fits this machine: give smaller "
                "--shapes or --batches, or see with fade-verify whether it runs at all"
            ) from error


def placement_of(loaded: Loaded) -> Placement | None:
    """Where onnxruntime put the nodes; None where nothing tells.

    Raises:
        InputError: The file has fade nodes and a library for them, which runs none of them.
    """
    if loaded.session is None or not hasattr(loaded.session, "get_provider_graph_assignment_info"):
        return None
    nodes = placed_nodes(loaded.session)
    native = sum(node.operator.startswith(f"{DOMAIN}.") for node in nodes) if loaded.native else 0
    if loaded.native and native == 0:
        raise InputError(
            f"{loaded.way.file} runs none of its fade nodes with {loaded.way.library}, expected all: build the library "
            "again (pip install .), or leave it out with --library none"
        )
    return Placement(nodes=Counter(node.provider for node in nodes), native=native)
