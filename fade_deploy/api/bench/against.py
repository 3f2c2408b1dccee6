"""A benchmark compared with an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fade_deploy.api.bench.options import BenchOptions
from fade_deploy.timing.against import Against, Verdict, change_of, earlier_times
from fade_deploy.timing.benchmark import Benchmark

__all__ = ["compared_with"]

_FEW = 20  # runs below which an interval of the median says little


def compared_with(earlier: Mapping[str, Any], now: Benchmark, options: BenchOptions) -> Against:
    """Compare every candidate and shape that both have.

    Args:
        earlier: From :func:`fade_deploy.timing.against.earlier_benchmark`, with at least one of them.
        now: Just measured.
        options: Of it.
    """
    before = earlier_times(earlier)
    measured = {
        (candidate.name, str(case.shape)): case.seconds for candidate in now.candidates for case in candidate.cases
    }
    shared = [key for key in measured if key in before]
    changes = tuple(change_of(*key, before[key], measured[key], margin=options.margin) for key in shared)
    notes = [
        f"not compared, in one of the two only: {name} at {shape}"
        for name, shape in sorted(before.keys() ^ measured.keys())
    ]
    if changed := _changed_versions(earlier["versions"], now.versions):
        notes.append(f"other versions than then: {', '.join(changed)}")
    few = min(len(times) for key in shared for times in (before[key], measured[key]))
    if few < _FEW:
        notes.append(f"a candidate has as few as {few} runs in one of the two: give both more --seconds")
    if len(changes) > 1 and all(change.verdict is Verdict.SLOWER for change in changes):
        notes.append("everything got slower: look at the machine first, at its load and at what else runs there")
    return Against(
        file=str(options.against), date=earlier["date"], margin=options.margin, changes=changes, notes=tuple(notes)
    )


def _changed_versions(before: Mapping[str, Any], now: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
