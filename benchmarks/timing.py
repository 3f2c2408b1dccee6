"""Fair times: runs of everything that is compared, interleaved round by round, and ratios within each round.

A machine drifts by 10 % within minutes, so times of two moments say little. Within a round everything meets the same
moment; the order rotates, so that nobody always follows the same neighbour. What is much slower than the rest joins
only some of the rounds, spread evenly, and its ratios are to the baseline of just those.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fade_deploy.timing.rounds import Round, percentile, seconds_of

__all__ = ["Quartiles", "interleaved", "joins", "quartiles", "rotated", "rounds_of_each"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quartiles:
    """Of ``count`` values."""

    first: float
    median: float
    third: float
    count: int


def quartiles(values: Sequence[float]) -> Quartiles:
    """First quartile, median and third quartile, by linear interpolation between the sorted values.

    Raises:
        ValueError: There are no values.
    """
    first, median, third = (percentile(values, percent) for percent in (25, 50, 75))
    return Quartiles(first=first, median=median, third=third, count=len(values))


def rounds_of_each(seconds: Mapping[str, float], *, budget: float, fewest: int, most: int) -> dict[str, int]:
    """How many rounds each joins, so that none takes more than its equal share of ``budget`` seconds.

    Never fewer than ``fewest`` nor more than ``most``, whatever the budget.
    """
    share = budget / len(seconds)
    return {name: min(most, max(fewest, int(share / each))) for name, each in seconds.items()}


def joins(index: int, *, count: int, rounds: int) -> bool:
    """Whether one that joins ``count`` of ``rounds`` joins the round of that index; evenly spread."""
    return (index + 1) * count // rounds != index * count // rounds


def rotated(names: Sequence[str], index: int) -> list[str]:
    """The names, starting with another one each round."""
    start = index % len(names)
    return [*names[start:], *names[:start]]


def interleaved(
    runs: Mapping[str, Callable[[], object]], *, baseline: str, budget: float, fewest: int, most: int
) -> list[Round]:
    """Run everything round by round and time each run.

    One round before them, which is not returned, warms up and says how long each takes. The baseline joins every round.

    Args:
        runs: Name -> one run.
        baseline: One of the names.
        budget: Seconds for all rounds together; met unless ``fewest`` asks for more.
        fewest: Rounds that each joins at least.
        most: Rounds at most.
    """
    names = list(runs)
    warm_up = {name: seconds_of(runs[name]) for name in names}
    counts = rounds_of_each(warm_up, budget=budget, fewest=fewest, most=most)
    rounds = max(counts.values())
    counts[baseline] = rounds
    return [
        {name: seconds_of(runs[name]) for name in rotated(names, i) if joins(i, count=counts[name], rounds=rounds)}
        for i in range(rounds)
    ]
