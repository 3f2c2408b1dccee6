"""A benchmark compared with an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fade_deploy.api.bench.options import BenchOptions
from fade_deploy.errors import InputError
from fade_deploy.timing.against import Against, Change, Verdict, change_of, earlier_times
from fade_deploy.timing.benchmark import Benchmark

__all__ = ["compared_with"]

_FEW = 20  # runs below which an interval of the median says little


def compared_with(earlier: Mapping[str, Any], now: Benchmark, options: BenchOptions) -> Against:
    """Every candidate and shape that both have.

    Args:
        earlier: From :func:`fade_deploy.timing.against.earlier_benchmark`.
        now: Just measured.
        options: Of it.

    Raises:
        InputError: They have none in common.
    """
    before = earlier_times(earlier)
    changes = tuple(
        change_of(candidate.name, str(case.shape), before[key], case.seconds, margin=options.margin)
        for candidate in now.candidates
        for case in candidate.cases
        if (key := (candidate.name, str(case.shape))) in before
    )
    if not changes:
        raise InputError(
            f"--against {options.against} has none of these candidates at these shapes, it has "
            f"{', '.join(f'{name} at {shape}' for name, shape in before)}: give the same files, --shapes and --batches"
        )
    measured = {(candidate.name, str(case.shape)) for candidate in now.candidates for case in candidate.cases}
    return Against(
        file=str(options.against),
        date=earlier["date"],
        margin=options.margin,
        changes=changes,
        notes=tuple(_notes(earlier, now, before.keys() ^ measured, changes, before)),
    )


def _notes(
    earlier: Mapping[str, Any],
    now: Benchmark,
    in_one: set[tuple[str, str]],
    changes: tuple[Change, ...],
    before: Mapping[tuple[str, str], list[float]],
) -> list[str]:
    notes = [f"not compared, in one of the two only: {name} at {shape}" for name, shape in sorted(in_one)]
    changed = [
        f"{name} {earlier['versions'].get(name, 'none')} -> {now.versions.get(name, 'none')}"
        for name in sorted(earlier["versions"].keys() | now.versions.keys())
        if earlier["versions"].get(name) != now.versions.get(name)
    ]
    if changed:
        notes.append(f"other versions than then: {', '.join(changed)}")
    few = min(len(times) for times in before.values())
    if few < _FEW:
        notes.append(f"the earlier benchmark has as few as {few} runs of a candidate: give both more --seconds")
    if len(changes) > 1 and all(change.verdict is Verdict.SLOWER for change in changes):
        notes.append("everything got slower: look at the machine first, at its load and at what else runs there")
    return notes
