"""The result of a benchmark: who ran what, how long each single run took, and what it took besides.

Frozen and complete: the tables, the JSON document and the HTML report are made of nothing else, and a later benchmark
compares itself with it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from fade_deploy.recipe import Shape
from fade_deploy.timing.accuracy import Accuracy
from fade_deploy.timing.against import Against
from fade_deploy.timing.machine import Machine
from fade_deploy.timing.polygraphy_times import PolygraphyTimes
from fade_deploy.timing.rounds import percentile

__all__ = ["FORM", "Benchmark", "Candidate", "CaseTimes", "Memory", "Placement"]

FORM = 1  # of what is written; another one is not read


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What one process grew by, in which nothing else ran; a number is None where the system does not tell it."""

    load_mib: float | None  # by loading the file
    run_mib: float | None  # by the first run, at its peak, inputs aside, output included
    gpu_mib: float | None  # in use on the GPU after that run more than before loading; None without one
    reason: str = ""  # why a number is not known


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseTimes:
    """One candidate at one input shape."""

    shape: Shape
    seconds: tuple[float, ...]  # of every timed run, in order
    ratios: tuple[float, ...]  # to the baseline, within each round that both joined; all 1 of the baseline
    memory: Memory
    accuracy: Accuracy

    def milliseconds(self, percent: float) -> float:
        """A percentile of the latency."""
        return 1000 * percentile(self.seconds, percent)

    @property
    def pictures_per_second(self) -> float:
        """``batch / median``."""
        return self.shape.batch / percentile(self.seconds, 50)

    def ratio(self, percent: float) -> float:
        """A percentile of the paired ratios."""
        return percentile(self.ratios, percent)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "shape": str(self.shape),
            "runs": len(self.seconds),
            "ms": {f"p{percent}": round(self.milliseconds(percent), 4) for percent in (50, 90, 99)},
            "pictures_per_second": round(self.pictures_per_second, 3),
            "ratio": {
                name: round(self.ratio(percent), 4)
                for name, percent in (("first_quartile", 25), ("median", 50), ("third_quartile", 75))
            },
            "memory": asdict(self.memory),
            "accuracy": self.accuracy.as_dict(),
            "seconds": [round(one, 7) for one in self.seconds],
            "ratios": [round(one, 5) for one in self.ratios],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Which provider onnxruntime gave each node to, after basic optimisation of the graph."""

    nodes: Mapping[str, int]  # provider -> nodes
    native: int  # nodes that run as our own operators


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One way to run one file."""

    name: str  # of its own in this benchmark
    file: str  # as it was given
    runtime: str  # what computes, with its version
    precision: str  # of the weights and most of the arithmetic
    sha256: str
    file_bytes: int
    load_seconds: tuple[float, ...]  # each in a process of its own, imports aside, the file being in the disk cache
    placement: Placement | None  # None of what is not onnxruntime, or is before 1.24
    cases: tuple[CaseTimes, ...]

    @property
    def load(self) -> float:
        """Seconds, median."""
        return percentile(self.load_seconds, 50)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "name": self.name,
            "file": self.file,
            "runtime": self.runtime,
            "precision": self.precision,
            "sha256": self.sha256,
            "file_bytes": self.file_bytes,
            "load_seconds": [round(one, 4) for one in self.load_seconds],
            "placement": self.placement and {"nodes": dict(self.placement.nodes), "native": self.placement.native},
            "cases": [case.as_dict() for case in self.cases],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """Everything that was measured."""

    candidates: tuple[Candidate, ...]
    baseline: str  # candidate that the ratios are to
    reference: str  # candidate whose output the others' are compared with
    shapes: tuple[Shape, ...]
    threads: int
    budget: float  # seconds for the timed runs of a shape
    machine: Machine
    load: float  # average of the minute before
    versions: Mapping[str, str]
    date: str
    polygraphy: tuple[PolygraphyTimes, ...] = ()
    against: Against | None = None
    notes: tuple[str, ...] = ()

    @property
    def doubts(self) -> tuple[str, ...]:
        """Outputs that are not finite or can't be compared, a sentence each: speed says nothing of those."""
        found = []
        for candidate in self.candidates:
            for accuracy in (case.accuracy for case in candidate.cases):
                if accuracy.reason:
                    found.append(f"{candidate.name} is not compared with {self.reference}: {accuracy.reason}")
                elif accuracy.max_error is not None and math.isnan(accuracy.max_error):
                    names = dict.fromkeys((candidate.name, self.reference))
                    found.append(f"the output of {' or of '.join(names)} has values that are not finite")
        return tuple(dict.fromkeys(found))

    @property
    def passed(self) -> bool:
        """Whether nothing got slower than in the benchmark it was compared with, if it was."""
        return self.against is None or not self.against.slower

    def as_dict(self) -> dict[str, Any]:
        """For JSON, and for a later benchmark to compare itself with."""
        return {
            "form": FORM,
            "baseline": self.baseline,
            "reference": self.reference,
            "shapes": [str(shape) for shape in self.shapes],
            "threads": self.threads,
            "seconds": self.budget,
            "machine": self.machine.as_dict(),
            "load_average": self.load,
            "versions": dict(self.versions),
            "date": self.date,
            "candidates": [candidate.as_dict() for candidate in self.candidates],
            "polygraphy": [times.as_dict() for times in self.polygraphy],
            "against": self.against and self.against.as_dict(),
            "notes": list(self.notes),
        }
