"""The smallest set that mends, with few trials."""

from __future__ import annotations

import random

import pytest

from fade_deploy.verification.narrowing import smallest_mending

UNITS = [f"layer{i}" for i in range(64)]


@pytest.mark.parametrize(
    "needed",
    [[], ["layer0"], ["layer63"], ["layer17", "layer18"], ["layer3", "layer40", "layer41"], UNITS[::13], UNITS],
    ids=len,
)
def test_exactly_what_is_needed_is_found(needed: list[str]) -> None:
    trials: list[tuple[str, ...]] = []

    def mends(kept: tuple[str, ...]) -> bool:
        trials.append(kept)
        return set(needed) <= set(kept)

    assert smallest_mending(UNITS, mends) == tuple(needed)
    if 0 < len(needed) <= 3:
        assert len(trials) <= 2 + 2 * len(needed) * 7  # 2 k log2(64 / k), rounded up


def test_one_of_two_ways_is_enough() -> None:
    found = smallest_mending(UNITS, lambda kept: "layer5" in kept or {"layer50", "layer51"} <= set(kept))
    assert found in (("layer5",), ("layer50", "layer51"))


def test_what_can_not_be_mended_is_told() -> None:
    assert smallest_mending(UNITS, lambda kept: False) is None


@pytest.mark.parametrize("seed", range(20))
def test_what_is_found_has_been_tried_even_where_more_can_mend_less(seed: int) -> None:
    draw = random.Random(seed).random
    units = UNITS[:9]
    tried = {frozenset[str](): False, frozenset(units): True}
    found = smallest_mending(units, lambda kept: tried.setdefault(frozenset(kept), draw() < 0.5))
    assert found is not None
    assert tried[frozenset(found)]
