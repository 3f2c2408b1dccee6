"""Fair times: everything that is compared runs in turn, round by round, and ratios are taken within rounds.

A machine drifts by 10 % within minutes, so times of two moments say little. Within a round all meet the same moment;
their order rotates, so that none always follows the same neighbour. What is slow joins only every second, fourth,
eighth ... round: of any two the slower one's rounds are then rounds of the other, and each pair can be compared.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

__all__ = ["Round", "interleaved", "paired_ratios", "percentile", "periods_of", "seconds_of", "warmed_up"]

Round = Mapping[str, float]  # name -> seconds, of those that joined

_WARM_UPS = 2  # onnxruntime plans its memory in the first run at a size, and allocates by the plan in the second
_NEAREST = 2**0.5  # half of the way to the next power of two
_SETTLING = 0.002  # seconds


def interleaved(runs: Mapping[str, Callable[[], object]], periods: Mapping[str, int], rounds: int) -> list[Round]:
    """Run everything round by round and time each run.

    Args:
        runs: Name -> one run.
        periods: Name -> every how many rounds it joins, from the first on.
        rounds: How many.
    """
    turns: Counter[tuple[str, ...]] = Counter()
    timed: list[Round] = []
    for index in range(rounds):
        joined = tuple(name for name in runs if index % periods[name] == 0)
        start = turns[joined] % len(joined)  # each set of names rotates by itself: none has a place of its own
        turns[joined] += 1
        timed.append({name: seconds_of(runs[name]) for name in (*joined[start:], *joined[:start])})
    return timed


def warmed_up(runs: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds that each takes, once it is warm."""
    for _ in range(_WARM_UPS - 1):
        for run in runs.values():
            run()
    return {name: seconds_of(run) for name, run in runs.items()}


def periods_of(each: Mapping[str, float], *, seconds: float, fewest: int, most: int) -> tuple[dict[str, int], int]:
    """Every how many rounds each joins, a power of two, and how many rounds there are.

    Each takes its equal share of ``seconds``, as nearly as powers of two allow, unless it would then join fewer than
    ``fewest`` rounds.

    Args:
        each: Name -> seconds of a run.
        seconds: Of all rounds together.
        fewest: Rounds that each joins at least.
        most: Rounds at most.
    """
    share = seconds / len(each)
    affordable = {name: min(most, max(fewest, int(share / (one + _SETTLING)))) for name, one in each.items()}
    rounds = max(affordable.values())
    periods = {}
    for name, count in affordable.items():
        period = 1
        while period * count * _NEAREST < rounds and -(-rounds // (2 * period)) >= fewest:
            period *= 2
        periods[name] = period
    return periods, rounds


def paired_ratios(rounds: Sequence[Round], name: str, baseline: str) -> list[float]:
    """Time of ``name`` by that of ``baseline``, in each round that both joined."""
    return [entry[name] / entry[baseline] for entry in rounds if name in entry and baseline in entry]


def percentile(values: Sequence[float], percent: float) -> float:
    """By linear interpolation between the sorted values; p99 of fewer than 100 lies between the two largest.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("percentile of no values, expected at least one")
    return float(np.percentile(np.asarray(values, np.float64), percent))


def seconds_of(run: Callable[[], object]) -> float:
    """Seconds of one run, after a pause in which the workers of the run before go to sleep."""
    time.sleep(_SETTLING)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
