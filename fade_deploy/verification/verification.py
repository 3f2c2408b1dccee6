"""The result of a verification: who was compared with whom, on what, and what was found.

Frozen and complete: the tables, the JSON document and the HTML report are made of nothing else.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.recipe import Shape
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import Agreement
from fade_deploy.verification.measures import Measures, json_number

__all__ = [
    "Band",
    "Comparison",
    "KeptPicture",
    "Reduced",
    "Run",
    "TaskScores",
    "UsedInput",
    "Verification",
    "measured_on",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One way to run one file."""

    name: str  # of its own in this verification
    file: str  # as it was given
    runtime: str  # what computes, with its version
    sha256: str
    precision: str = "fp32"  # of the weights and most of the arithmetic
    tolerance: str = ""  # name or number of the bound that it is held to; empty for the reference


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptPicture:
    """The first entry of an input's batch, with what each run made of it."""

    picture: NDArray[np.uint8]  # [H, W, 3], RGB
    trimap: NDArray[np.uint8] | None  # [H, W]
    results: Mapping[str, NDArray[Any]]  # run -> labels uint16 [h, w], or alpha float32 [H, W]
    errors: Mapping[str, NDArray[np.float32]]  # run -> largest absolute error over the channels, [h, w]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedInput:
    """One batch that all were run on."""

    name: str  # of its own in this verification
    shape: Shape
    source: str  # a picture's path, "sample pictures", or "seed N"
    kept: KeptPicture | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Errors of alpha where the trimap says that the model decides, against the reference's alpha."""

    pixels: int
    max_error: float
    mean_error: float

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "pixels": self.pixels,
            "max_error": json_number(self.max_error),
            "mean_error": json_number(self.mean_error),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One output of one run on one input, against the reference."""

    run: str
    input: str
    output: str
    passed: bool
    reason: str  # why not, in a few words; empty where it passed
    agreement: Agreement | None  # None where the run itself failed
    measures: Measures | None = None  # None for labels, and where shape or dtype differ
    band: Band | None = None  # of matting

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": self.run,
            "input": self.input,
            "output": self.output,
            "passed": self.passed,
            "reason": self.reason,
            **(self.measures.as_dict() if self.measures else {}),
            "agreement": self.agreement.as_dict() if self.agreement else None,
            "unknown_band": self.band.as_dict() if self.band else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskScores:
    """Scores of one run against the truth, over all pictures that have one."""

    run: str
    pictures: int
    scores: Mapping[str, float]  # miou, biou (0..1, more is better); sad, mse, grad, conn (less is better)
    differences: Mapping[str, float] | None  # run minus reference; None of the reference
    passed: bool = True

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "run": self.run,
            "pictures": self.pictures,
            "scores": {name: json_number(value) for name, value in self.scores.items()},
            "differences": self.differences and {name: json_number(value) for name, value in self.differences.items()},
            "passed": self.passed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reduced:
    """The smallest shape at which the worst comparison still fails."""

    shape: Shape
    command: str  # shows it


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """Everything that a verification found."""

    task: str
    head: str
    reference: Run
    runs: tuple[Run, ...]  # those that were compared with it
    inputs: tuple[UsedInput, ...]
    comparisons: tuple[Comparison, ...]
    bounds: Mapping[str, Tolerance]  # run -> what it was held to
    scores: tuple[TaskScores, ...] = ()
    worst: Comparison | None = None  # that failed, else with the largest error
    command: str = ""  # that shows the worst alone; empty where all passed
    reduced: Reduced | None = None
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    palette: tuple[tuple[int, ...], ...] = ()
    about: Mapping[str, Any] = field(default_factory=dict)  # python, numpy, machine: where it was measured

    @property
    def passed(self) -> bool:
        """Whether every comparison and every gate on scores held."""
        return all(found.passed for found in self.comparisons) and all(scored.passed for scored in self.scores)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; pictures are left out."""
        return {
            "passed": self.passed,
            "task": self.task,
            "head": self.head,
            "reference": _run(self.reference),
            "runs": [_run(run) for run in self.runs],
            "inputs": [{"name": i.name, "shape": str(i.shape), "source": i.source} for i in self.inputs],
            "tolerances": {
                run: {"atol": bound.atol, "rtol": bound.rtol, "why": bound.why} for run, bound in self.bounds.items()
            },
            "comparisons": [comparison.as_dict() for comparison in self.comparisons],
            "scores": [scores.as_dict() for scores in self.scores],
            "worst": self.worst and {"run": self.worst.run, "input": self.worst.input, "output": self.worst.output},
            "command": self.command,
            "reduced": self.reduced and {"shape": str(self.reduced.shape), "command": self.reduced.command},
            "notes": list(self.notes),
            "measured_on": dict(self.about),
        }


def _run(run: Run) -> dict[str, str]:
    return {
        "name": run.name,
        "file": run.file,
        "runtime": run.runtime,
        "sha256": run.sha256,
        "precision": run.precision,
        "tolerance": run.tolerance,
    }


def measured_on() -> dict[str, str]:
    """The machine and what every comparison needs, for :attr:`Verification.about`."""
    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
    }
