"""What runs in a process of its own: the times of all variants of a case together, the memory of a single one.

A variant that can't be measured is left out with its reason: something is not installed, or its result is wrong. What
is timed here has first been compared with the exported file in standard operators, which fade-export verified.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.operators import OperatorCase, OperatorVariant, prepared_operator
from benchmarks.runners import LeftOut, Runner
from benchmarks.timing import interleaved, quartiles
from benchmarks.variants import ModelCase, Runtime, Variant, prepared
from fade_deploy.timing.machine import load_average
from fade_deploy.timing.memory import MemoryUnknown, growth_while
from fade_deploy.timing.rounds import paired_ratios
from fade_deploy.tolerances import tolerance

__all__ = ["AnyCase", "AnyVariant", "Pace", "memory_growth", "times"]

AnyCase = ModelCase | OperatorCase
AnyVariant = Variant | OperatorVariant

_MILLISECONDS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How much time a case gets: seconds for its rounds, and their bounds for each variant."""

    seconds: float
    fewest: int
    most: int


def times(
    case: AnyCase, variants: list[AnyVariant], *, baseline: str, threads: int, folder: Path, pace: Pace
) -> dict[str, Any]:
    """Times of the variants, interleaved in this process.

    Returns:
        ``{"load": load average before, "variants": {name: {"ms": Quartiles, "ratio": Quartiles, "rounds": count} or
        {"left_out": reason}}}``; the ratios are to the baseline, within rounds.
    """
    torch.set_num_threads(threads)
    load = load_average()
    runners: dict[str, Runner] = {}
    expected: dict[str, NDArray[np.float32]] = {}
    results: dict[str, Any] = {}
    for variant in variants:
        try:
            runner = _prepared(variant, case, threads=threads, folder=folder)
            runner.run()
            check_agreement(runner.output(), expected.setdefault(variant.function, runner.output().copy()))
        except LeftOut as reason:
            results[variant.name] = {"left_out": str(reason)}
            continue
        runners[variant.name] = runner
    if baseline not in runners:
        raise RuntimeError(f"{case}: the baseline is left out: {results[baseline]['left_out']}")
    runs: Mapping[str, Callable[[], object]] = {name: runner.run for name, runner in runners.items()}
    rounds = interleaved(runs, baseline=baseline, budget=pace.seconds, fewest=pace.fewest, most=pace.most)
    for name in runners:
        milliseconds = [_MILLISECONDS * entry[name] for entry in rounds if name in entry]
        results[name] = {
            "ms": asdict(quartiles(milliseconds)),
            "ratio": asdict(quartiles(paired_ratios(rounds, name, baseline))),
        }
    return {"load": load, "variants": {variant.name: results[variant.name] for variant in variants}}


def memory_growth(case: AnyCase, variant: AnyVariant, *, threads: int, folder: Path) -> dict[str, Any]:
    """``{"mib": growth of the first run}`` or ``{"left_out": reason}``."""
    if variant.runtime is Runtime.COMPILED:
        return {"left_out": "the first run compiles"}
    torch.set_num_threads(threads)
    try:
        return {"mib": growth_while(_prepared(variant, case, threads=threads, folder=folder).run)}
    except (LeftOut, MemoryUnknown) as reason:
        return {"left_out": str(reason)}


def check_agreement(given: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Refuse a result that differs from the expected one, or that has numbers that are none.

    Raises:
        LeftOut: It does; the text has the error.
    """
    bound = tolerance("ORT_CPU_FP32")
    error = np.abs(given - expected)
    if not (error <= np.maximum(bound.atol, bound.rtol * np.abs(expected))).all():
        raise LeftOut(f"its result is wrong: off by up to {error.max():.1e}, allowed are {bound.atol:.0e}")


def _prepared(variant: AnyVariant, case: AnyCase, *, threads: int, folder: Path) -> Runner:
    if isinstance(case, ModelCase):
        assert isinstance(variant, Variant)
        return prepared(variant, case, threads=threads, folder=folder)
    assert isinstance(variant, OperatorVariant)
    return prepared_operator(variant, case, threads=threads, folder=folder)
