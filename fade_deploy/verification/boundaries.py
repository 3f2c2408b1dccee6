"""Where two ways of a model part: their tensors at the boundaries of its modules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.measures import json_number
from fade_deploy.verification.verification import Comparison

__all__ = ["Boundary", "ChangedWeight", "Parting", "boundary_of", "changed_weight", "matched"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """The output of one module, file against checkpoint.

    Inner tensors have any scale, so the bound is in units of the tensor's own standard deviation, as the tolerance of
    the file's output is for outputs of about 1.
    """

    module: str
    replaces: tuple[str, ...]  # the user's modules that it stands for; empty where it is one of them
    max_error: float
    mean_error: float
    std: float  # of the checkpoint's tensor
    passed: bool

    @property
    def relative_error(self) -> float:
        """The largest error in standard deviations of the checkpoint's tensor."""
        return self.max_error / self.std if self.std else self.max_error

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "module": self.module,
            "replaces": list(self.replaces),
            "max_error": json_number(self.max_error),
            "mean_error": json_number(self.mean_error),
            "std": json_number(self.std),
            "relative_error": json_number(self.relative_error),
            "passed": self.passed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedWeight:
    """A weight of the file that is not the checkpoint's."""

    name: str
    changed: int  # values
    values: int
    max_difference: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "changed": self.changed,
            "values": self.values,
            "max_difference": json_number(self.max_difference),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Parting:
    """What a bisection found."""

    file: str
    checkpoint: str
    shape: str
    source: str
    tolerance: Tolerance
    boundaries: tuple[Boundary, ...]  # in the order in which the file computes them
    output: Comparison  # of the whole file
    first: Boundary | None  # whose tensor leaves the tolerance first
    weights: tuple[ChangedWeight, ...] = ()
    keep: tuple[str, ...] = ()  # modules to keep in float32, where that mends a low-precision file
    plan: str = ""  # path of the precision plan that does
    trials: int = 0  # graphs that were tried for it
    notes: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the file's output agrees."""
        return self.output.passed

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "passed": self.passed,
            "file": self.file,
            "checkpoint": self.checkpoint,
            "shape": self.shape,
            "source": self.source,
            "tolerance": {"atol": self.tolerance.atol, "rtol": self.tolerance.rtol, "why": self.tolerance.why},
            "first": self.first and self.first.as_dict(),
            "output": self.output.as_dict(),
            "changed_weights": [weight.as_dict() for weight in self.weights],
            "boundaries": [boundary.as_dict() for boundary in self.boundaries],
            "keep_in_fp32": list(self.keep),
            "precision_plan": self.plan or None,
            "trials": self.trials,
            "notes": list(self.notes),
        }


def matched(expected: Sequence[NDArray[Any]], given: Sequence[NDArray[Any]]) -> list[tuple[NDArray[Any], NDArray[Any]]]:
    """Pairs (given, expected) of equal shape, of floats.

    A module may let more tensors out than it returns; of several that have the shape the one computed last is meant.

    Args:
        expected: What the module returned.
        given: What left its part of the graph, in the order of computing.
    """
    left = [array for array in given if np.issubdtype(array.dtype, np.floating)]
    pairs = []
    for array in reversed(expected):
        found = next((i for i in reversed(range(len(left))) if left[i].shape == array.shape), None)
        if found is not None:
            pairs.append((left.pop(found), array))
    return pairs[::-1]


def changed_weight(values: NDArray[Any], known: Mapping[str, NDArray[Any]]) -> ChangedWeight | None:
    """Tell a stored tensor that was changed from one that was folded, moved or rounded on the way into the file.

    The exporter stores a weight as it is or transposed, in the file's type. So one that most of whose values are those
    of a weight of its module is that weight, and the others were changed; what resembles none was computed from
    several, as a norm folded into a convolution, and can't be judged.

    Args:
        values: As stored.
        known: The weights of the module, by name, float32.
    """
    best: ChangedWeight | None = None
    for name, weight in known.items():
        if weight.size != values.size or values.size < 2:
            continue
        for spelled in (weight.ravel(), weight.T.ravel()):
            rounded = spelled.astype(values.dtype)
            different = values.ravel() != rounded
            count = int(different.sum())
            if count == 0:
                return None
            if 2 * count < values.size and (best is None or count < best.changed):
                difference = np.abs(values.ravel().astype(np.float64) - rounded.astype(np.float64))[different]
                best = ChangedWeight(
                    name=name, changed=count, values=values.size, max_difference=float(difference.max())
                )
    return best


@np.errstate(invalid="ignore", over="ignore")
def boundary_of(
    module: str,
    replaces: Sequence[str],
    pairs: Sequence[tuple[NDArray[Any], NDArray[Any]]],
    tolerance: Tolerance,
) -> Boundary:
    """Judge a module by its worst tensor.

    Args:
        module: Its name.
        replaces: See :class:`Boundary`.
        pairs: From :func:`matched`, at least one.
        tolerance: Of the file's output.
    """
    found = [_judged(module, tuple(replaces), given, expected, tolerance) for given, expected in pairs]
    return max(found, key=lambda each: (not each.passed, each.relative_error))


def _judged(
    module: str,
    replaces: tuple[str, ...],
    given: NDArray[Any],
    expected: NDArray[Any],
    tolerance: Tolerance,
) -> Boundary:
    error = np.abs(given.astype(np.float32) - expected)
    std = float(expected.std(dtype=np.float64))
    scale = std if std > 0 else 1.0
    within = error <= np.maximum(tolerance.atol * scale, tolerance.rtol * np.abs(expected))
    return Boundary(
        module=module,
        replaces=replaces,
        max_error=float(error.max()),
        mean_error=float(error.mean(dtype=np.float64)),
        std=std,
        passed=bool(within.all()),  # NaN is within no bound
    )
