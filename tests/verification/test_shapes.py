"""The sizes that a verification covers, and the smallest one that still fails."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fade_deploy.recipe import Shape
from fade_deploy.verification.shapes import Bounds, covering, smallest_failing

DYNAMIC = Bounds(smallest=Shape(1, 32, 32), largest=Shape(4, 512, 768), multiple=32)
FIXED = Bounds(smallest=Shape(1, 125, 157), largest=Shape(1, 125, 157), multiple=32)


def test_the_covering_set_has_one_of_each_kind() -> None:
    found = covering(DYNAMIC)
    assert found[0] == DYNAMIC.smallest
    assert found[-1] == DYNAMIC.largest
    assert all(shape in DYNAMIC for shape in found)
    assert any(shape.height > shape.width for shape in found)
    assert any(shape.height < shape.width for shape in found)
    assert any(shape.batch > 1 for shape in found)
    primes = {3, 5, 7, 11, 13}
    assert any({shape.height // 32, shape.width // 32} <= primes for shape in found)
    assert len(set(found)) == len(found)


def test_the_covering_set_of_a_fixed_size_is_that_size() -> None:
    assert covering(FIXED) == (Shape(1, 125, 157),)


def test_the_covering_set_stays_within_a_narrow_profile() -> None:
    narrow = Bounds(smallest=Shape(2, 256, 256), largest=Shape(2, 256, 512), multiple=32)
    assert all(shape in narrow for shape in covering(narrow))


@pytest.mark.parametrize(
    ("shape", "taken"),
    [
        ("1x32x32", True),
        ("4x512x768", True),
        ("5x32x32", False),
        ("1x32x33", False),  # no multiple
        ("1x16x32", False),
        ("1x512x800", False),
    ],
)
def test_bounds_know_what_is_legal(shape: str, taken: bool) -> None:
    assert (Shape.parse(shape) in DYNAMIC) is taken


def test_two_files_take_what_both_take() -> None:
    other = Bounds(smallest=Shape(2, 64, 32), largest=Shape(8, 256, 1024), multiple=32)
    both = DYNAMIC.intersected(other)
    assert both == Bounds(smallest=Shape(2, 64, 32), largest=Shape(4, 256, 768), multiple=32)
    inside = Bounds(smallest=Shape(1, 64, 64), largest=Shape(1, 64, 64), multiple=32)
    assert DYNAMIC.intersected(inside) == inside.intersected(DYNAMIC) == inside
    assert DYNAMIC.intersected(FIXED) is None
    assert inside.intersected(FIXED) is None
    assert FIXED.intersected(FIXED) == FIXED
    apart = Bounds(smallest=Shape(8, 32, 32), largest=Shape(9, 64, 64), multiple=32)
    assert DYNAMIC.intersected(apart) is None


@pytest.mark.parametrize(
    ("fails", "smallest"),
    [
        (lambda s: True, "1x32x32"),
        (lambda s: s.height >= 96 and s.width >= 160, "1x96x160"),
        (lambda s: s.batch >= 3, "3x32x32"),
        (lambda s: s.height * s.width >= 512 * 768, "1x512x768"),
        (lambda s: s.sizes == (4, 512, 768), "4x512x768"),  # only what was found
        # The height can only shrink once the width has: a second round.
        (lambda s: s.height >= 320 or (s.width <= 64 and s.height >= 64), "1x64x32"),
    ],
)
def test_a_failing_shape_is_reduced(fails: Callable[[Shape], bool], smallest: str) -> None:
    tried: list[Shape] = []

    def recorded(shape: Shape) -> bool:
        assert shape in DYNAMIC
        tried.append(shape)
        return fails(shape)

    found = smallest_failing(Shape(4, 512, 768), DYNAMIC, recorded)
    assert str(found) == smallest
    assert fails(found)
    assert len(tried) == len(set(tried)) <= 30  # not twice, and by halving


def test_a_fixed_shape_stays() -> None:
    assert smallest_failing(Shape(1, 125, 157), FIXED, lambda _: True) == Shape(1, 125, 157)
