from __future__ import annotations

from itertools import pairwise

import pytest

from benchmarks.timing import interleaved, joins, quartiles, rotated, rounds_of_each
from fade_deploy.timing.rounds import paired_ratios


def test_quartiles_lie_between_the_sorted_values():
    found = quartiles([5.0, 1.0, 2.0, 4.0, 3.0])
    assert (found.first, found.median, found.third, found.count) == (2.0, 3.0, 4.0, 5)
    assert quartiles([1.0, 2.0]).median == 1.5
    assert quartiles([7.0]) == quartiles([7.0]).__class__(first=7.0, median=7.0, third=7.0, count=1)
    with pytest.raises(ValueError, match="at least one"):
        quartiles([])


def test_a_drifting_machine_leaves_the_ratio_as_it_is():
    rounds = [{"base": speed, "other": 2 * speed} for speed in (1.0, 1.5, 4.0)]
    assert quartiles(paired_ratios(rounds, "other", "base")).median == 2.0


def test_what_is_slow_joins_fewer_rounds():
    counts = rounds_of_each({"fast": 0.1, "slow": 2.0, "slowest": 90.0}, budget=30, fewest=3, most=25)
    assert counts == {"fast": 25, "slow": 5, "slowest": 3}


@pytest.mark.parametrize(("count", "rounds"), [(3, 25), (25, 25), (1, 7), (4, 10)])
def test_joined_rounds_are_as_many_as_asked_and_spread(count, rounds):
    joined = [i for i in range(rounds) if joins(i, count=count, rounds=rounds)]
    assert len(joined) == count
    gaps = {b - a for a, b in pairwise(joined)}
    assert len(gaps) <= 2
    assert not gaps or max(gaps) - min(gaps) <= 1


def test_each_round_starts_with_another_one():
    assert [rotated("abc", i)[0] for i in range(4)] == ["a", "b", "c", "a"]
    assert rotated("abc", 1) == ["b", "c", "a"]


def test_interleaved_warms_up_once_and_has_the_baseline_in_every_round():
    calls = []
    runs = {name: lambda name=name: calls.append(name) for name in ("base", "one", "two")}
    rounds = interleaved(runs, baseline="base", budget=1, fewest=1, most=4)
    assert calls[:3] == ["base", "one", "two"]  # the warm-up, which is in no round
    assert [list(entry) for entry in rounds] == [rotated(list(runs), i) for i in range(4)]
    assert all(seconds > 0 for entry in rounds for seconds in entry.values())
