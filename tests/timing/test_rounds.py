"""Who runs when, and what is made of the times."""

from __future__ import annotations

import itertools

import pytest

from fade_deploy.timing import rounds
from fade_deploy.timing.rounds import interleaved, paired_ratios, percentile, periods_of, warmed_up


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "_SETTLING", 0.0)


def test_equal_ones_share_the_time_equally() -> None:
    assert periods_of({"a": 0.1, "b": 0.1}, seconds=2, fewest=5, most=100) == ({"a": 1, "b": 1}, 10)


def test_slow_ones_join_every_second_or_fourth_round() -> None:
    periods, count = periods_of({"quick": 0.01, "slow": 0.02, "slower": 0.04}, seconds=2.41, fewest=5, most=1000)
    assert (periods, count) == ({"quick": 1, "slow": 2, "slower": 4}, 80)


@pytest.mark.parametrize("slow", [0.013, 0.2, 0.77, 100.0])
def test_nobody_joins_fewer_than_the_fewest_nor_more_than_the_most(slow: float) -> None:
    periods, count = periods_of({"quick": 1e-6, "slow": slow}, seconds=2, fewest=5, most=64)
    assert count == 64
    for period in periods.values():
        assert 5 <= -(-count // period) <= 64


def test_nobody_takes_much_more_than_its_share_beyond_the_fewest() -> None:
    each = {"a": 0.003, "b": 0.017, "c": 0.11}
    periods, count = periods_of(each, seconds=9, fewest=5, most=10_000)
    for name, one in each.items():
        joined = -(-count // periods[name])
        assert joined <= 5 or (joined - 1) * one <= 3 * 2**0.5


def test_each_round_starts_with_another_and_slow_ones_meet_all() -> None:
    log: list[str] = []
    runs = {name: lambda name=name: log.append(name) for name in "abcd"}
    timed = interleaved(runs, {"a": 1, "b": 1, "c": 2, "d": 4}, 16)
    assert len(timed) == 16
    orders, at = [], 0
    for entry in timed:
        orders.append("".join(log[at : at + len(entry)]))
        at += len(entry)
    assert orders[:5] == ["abcd", "ab", "abc", "ba", "bcda"]  # each set of names rotates by itself
    full = [order for order in orders if len(order) == 4]
    assert {order[0] for order in full} == set("abcd")
    assert all("c" in entry for entry in timed if "d" in entry)  # whoever is slower meets whoever is quicker


def test_ratios_are_taken_within_rounds() -> None:
    timed = [{"a": 1.0, "b": 2.0}, {"a": 10.0}, {"a": 4.0, "b": 2.0}]
    assert paired_ratios(timed, "b", "a") == [2.0, 0.5]
    assert paired_ratios(timed, "a", "a") == [1.0, 1.0, 1.0]


def test_the_first_run_is_no_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count()
    monkeypatch.setattr(rounds.time, "perf_counter", lambda: float(next(ticks)))
    calls: list[str] = []
    assert warmed_up({"a": lambda: calls.append("a")}) == {"a": 1.0}
    assert calls == ["a", "a"]


def test_percentiles_interpolate() -> None:
    assert percentile([4.0, 1.0, 2.0, 3.0], 50) == 2.5
    assert percentile([1.0, 2.0], 99) == pytest.approx(1.99)
    assert percentile([7.0], 90) == 7.0
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 50)
