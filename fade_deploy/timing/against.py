"""Two benchmarks of one machine: what got faster or slower, beyond noise.

``ratio = median(now) / median(before)`` with an interval from resampled blocks of runs: neighbouring runs meet the
same moment of the machine, so single ones are not independent. What an interval of one sitting can't show is how far
the machine drifts between two; that is the margin.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.errors import InputError

__all__ = ["MARGIN", "Against", "Change", "Verdict", "change_of", "earlier_benchmark", "earlier_times"]

MARGIN = 0.1  # milliseconds of whole models vary by 10 % between runs of an idle machine
_RESAMPLES = 2000
_INTERVAL = (0.5, 99.5)  # percent: 99 % of the resampled ratios lie within


class Verdict(StrEnum):
    """Of a change."""

    FASTER = "faster"
    SLOWER = "slower"
    SAME = "no difference"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One candidate at one shape, then and now."""

    name: str
    shape: str
    before_ms: float  # median
    now_ms: float
    ratio: float  # now by before; above 1 is slower
    low: float  # interval of the ratio
    high: float
    verdict: Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Against:
    """Everything that two benchmarks have in common."""

    file: str  # the earlier one
    date: str
    margin: float
    changes: tuple[Change, ...]
    notes: tuple[str, ...]

    @property
    def slower(self) -> tuple[Change, ...]:
        """What got slower beyond noise."""
        return tuple(change for change in self.changes if change.verdict is Verdict.SLOWER)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def change_of(name: str, shape: str, before: Sequence[float], now: Sequence[float], *, margin: float) -> Change:
    """Compare two samples of seconds, each in the order of its runs.

    Slower where even the low end of the interval is above ``1 + margin``, faster where the high end is below
    ``1 / (1 + margin)``.

    Args:
        name: Of the candidate.
        shape: Of the input.
        before: Of the earlier benchmark.
        now: Of this one.
        margin: What the machine alone may do, as a share: 0.1 for 10 %.
    """
    draws = np.random.default_rng(0)  # the same verdict whenever the same two are compared
    ratios = _resampled_medians(now, draws) / _resampled_medians(before, draws)
    low, high = (float(edge) for edge in np.percentile(ratios, _INTERVAL))
    verdict = Verdict.SAME
    if low > 1 + margin:
        verdict = Verdict.SLOWER
    elif high < 1 / (1 + margin):
        verdict = Verdict.FASTER
    before_median, now_median = float(np.median(before)), float(np.median(now))
    return Change(
        name=name,
        shape=shape,
        before_ms=1000 * before_median,
        now_ms=1000 * now_median,
        ratio=now_median / before_median,
        low=low,
        high=high,
        verdict=verdict,
    )


def earlier_benchmark(path: Path, *, form: int) -> dict[str, Any]:
    """Read the document of an earlier benchmark.

    Raises:
        InputError: It can't be read, or is no benchmark of this form.
    """
    remedy = "give a file that fade-bench wrote with -o"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"--against {path} can't be read ({error.strerror or error}): {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"--against {path} is not JSON ({error}): {remedy}") from error
    stated = document.get("form") if isinstance(document, dict) else None
    if stated != form:
        raise InputError(f"--against {path} has form {stated}, expected {form}: measure the earlier version again")
    fault = _fault(document)
    if fault:
        raise InputError(f"--against {path} {fault}, expected what fade-bench writes: {remedy}")
    return dict(document)


def earlier_times(document: Mapping[str, Any]) -> dict[tuple[str, str], list[float]]:
    """(candidate, shape) -> seconds of every run."""
    return {
        (str(candidate["name"]), str(case["shape"])): [float(one) for one in case["seconds"]]
        for candidate in document["candidates"]
        for case in candidate["cases"]
    }


def _fault(document: Mapping[str, Any]) -> str:
    """What is wrong with the fields that a comparison reads; empty when nothing is."""
    for name, kind in (("threads", int), ("machine", dict), ("date", str), ("versions", dict), ("candidates", list)):
        if not isinstance(document.get(name), kind):
            return f"has no '{name}'"
    try:
        times = earlier_times(document)
    except (KeyError, TypeError, ValueError, OverflowError):
        return "has a candidate without times"
    if not times:
        return "has no times"
    if any(not seconds or not all(0 < one < math.inf for one in seconds) for seconds in times.values()):
        return "has times that are not positive numbers"
    return ""


def _resampled_medians(seconds: Sequence[float], draws: np.random.Generator) -> NDArray[np.float64]:
    """Medians of resampled runs: blocks of neighbours, drawn from a ring, about the cube root of their number long."""
    values = np.asarray(seconds, np.float64)
    length = max(1, round(values.size ** (1 / 3)))
    blocks = -(-values.size // length)
    starts = draws.integers(0, values.size, (_RESAMPLES, blocks, 1))
    indices = (starts + np.arange(length)).reshape(_RESAMPLES, -1)[:, : values.size] % values.size
    medians: NDArray[np.float64] = np.median(values[indices], axis=1)
    return medians
