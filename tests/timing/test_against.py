"""A verdict needs a change beyond the noise of both benchmarks and beyond what the machine alone does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fade_deploy.errors import InputError
from fade_deploy.timing.against import Change, Verdict, change_of, earlier_benchmark, earlier_times


def runs(median: float, spread: float, count: int = 60, seed: int = 0) -> list[float]:
    """Seconds around a median."""
    draws = np.random.default_rng(seed).normal(0, spread, count)
    return list(median * np.exp(draws - np.median(draws)))


def change(before: list[float], now: list[float], margin: float = 0.1) -> Change:
    return change_of("a", "1x64x64", before, now, margin=margin)


@pytest.mark.parametrize(
    ("factor", "spread", "margin", "verdict"),
    [
        (1.0, 0.02, 0.1, Verdict.SAME),
        (1.3, 0.02, 0.1, Verdict.SLOWER),
        (0.7, 0.02, 0.1, Verdict.FASTER),
        (1.08, 0.02, 0.1, Verdict.SAME),  # beyond the noise, within the margin
        (1.08, 0.02, 0.03, Verdict.SLOWER),
        (1 / 1.08, 0.02, 0.03, Verdict.FASTER),
        (1.3, 1.0, 0.1, Verdict.SAME),  # beyond the margin, within the noise
    ],
)
def test_a_verdict_needs_both(factor: float, spread: float, margin: float, verdict: Verdict) -> None:
    found = change(runs(0.02, spread), runs(0.02 * factor, spread, seed=1), margin)
    assert found.verdict is verdict
    assert found.low <= found.ratio <= found.high
    assert found.ratio == pytest.approx(factor, rel=1e-3)
    assert (found.before_ms, found.now_ms) == (
        pytest.approx(20, rel=1e-3),
        pytest.approx(20 * factor, rel=1e-3),
    )


def test_the_same_two_give_the_same_interval() -> None:
    before, now = runs(1, 0.1), runs(1.05, 0.1, seed=1)
    assert change(before, now) == change(before, now)


def test_runs_that_drift_together_widen_the_interval() -> None:
    """A slow minute is one event, not thirty: shuffled, the same times would look far more certain."""
    drifting = [1.0] * 42 + [1.5] * 18
    shuffled = list(np.random.default_rng(3).permutation(drifting))
    drifted, mixed = change(runs(1, 0.001), drifting), change(runs(1, 0.001), shuffled)
    assert drifted.ratio == mixed.ratio
    assert drifted.high > 1.4
    assert mixed.high < 1.1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_few_runs_are_no_obstacle(count: int) -> None:
    assert change(runs(1, 0, count), runs(2, 0, count)).verdict is Verdict.SLOWER


DOCUMENT: dict[str, Any] = {
    "form": 1,
    "threads": 1,
    "machine": {},
    "date": "2026-01-01 00:00 UTC",
    "versions": {},
    "candidates": [{"name": "a", "cases": [{"shape": "1x64x64", "seconds": [0.1, 0.2]}]}],
}


def with_seconds(seconds: list[float]) -> str:
    """The text of a benchmark with these times."""
    return json.dumps({**DOCUMENT, "candidates": [{"name": "a", "cases": [{"shape": "s", "seconds": seconds}]}]})


def test_times_are_read_by_candidate_and_shape(tmp_path: Path) -> None:
    path = tmp_path / "old.json"
    path.write_text(json.dumps(DOCUMENT))
    assert earlier_times(earlier_benchmark(path, form=1)) == {("a", "1x64x64"): [0.1, 0.2]}


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("no json", "is not JSON"),
        ("[]", "has form None, expected 1"),
        (json.dumps({**DOCUMENT, "form": 2}), "has form 2, expected 1"),
        (json.dumps({**DOCUMENT, "threads": "one"}), "has no 'threads'"),
        (json.dumps({**DOCUMENT, "candidates": [{"name": "a"}]}), "a candidate without times"),
        (json.dumps({**DOCUMENT, "candidates": ["a"]}), "a candidate without times"),
        (json.dumps({**DOCUMENT, "candidates": []}), "has no times"),
        (with_seconds([]), "not positive numbers"),
        (with_seconds([0]), "not positive numbers"),
        (with_seconds([0.1, float("nan")]), "not positive numbers"),
        (with_seconds([0.1, float("inf")]), "not positive numbers"),
        (with_seconds([10**400]), "a candidate without times"),
    ],
)
def test_what_is_no_benchmark_is_refused_in_one_line(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "old.json"
    path.write_text(text)
    with pytest.raises(InputError, match=fault) as refused:
        earlier_benchmark(path, form=1)
    assert "\n" not in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        earlier_benchmark(tmp_path / "none.json", form=1)
