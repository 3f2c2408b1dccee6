"""Tensors of modules: which belong together, and which one leaves the tolerance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.boundaries import boundary_of, matched

TOLERANCE = Tolerance(atol=0.01, rtol=0.01, why="by hand")
UNIT = np.array([-1.0, 1.0], np.float32)  # of standard deviation 1


def filled(value: float, *shape: int) -> NDArray[np.float32]:
    return np.full(shape, value, np.float32)


def test_tensors_of_one_shape_belong_together() -> None:
    small, large = filled(1, 2), filled(2, 3)
    pairs = matched([small, large], [filled(5, 3), filled(6, 2), filled(7, 4)])
    assert [(float(given[0]), float(expected[0])) for given, expected in pairs] == [(6, 1), (5, 2)]


def test_of_several_the_last_computed_is_meant() -> None:
    ((given, _),) = matched([filled(0, 2)], [filled(1, 2), filled(2, 2)])
    assert given[0] == 2
    pairs = matched([filled(0, 2), filled(0, 2)], [filled(1, 2), filled(2, 2), filled(3, 2)])
    assert [float(given[0]) for given, _ in pairs] == [2, 3]


def test_integers_and_other_shapes_are_no_pair() -> None:
    assert matched([filled(0, 2)], [np.zeros(2, np.int64), filled(0, 1, 2)]) == []


@pytest.mark.parametrize(
    ("error", "passed"), [(0.0, True), (0.009, True), (0.02, False), (math.nan, False), (math.inf, False)]
)
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_the_bound_counts_in_standard_deviations(error: float, passed: bool, scale: float) -> None:
    expected = UNIT * np.float32(scale)
    given = expected + np.array([error * scale, 0], np.float32)
    found = boundary_of("layer", ("a", "b"), [(given, expected)], TOLERANCE)
    assert found.passed is passed
    assert (found.module, found.replaces) == ("layer", ("a", "b"))
    if math.isfinite(error):
        assert found.relative_error == pytest.approx(error, abs=1e-5)


def test_a_module_is_as_bad_as_its_worst_tensor() -> None:
    pairs: list[Any] = [(UNIT, UNIT), (UNIT + np.float32(0.5), UNIT), (UNIT + np.float32(0.1), UNIT)]
    assert boundary_of("layer", (), pairs, TOLERANCE).max_error == pytest.approx(0.5)


def test_float16_is_compared_as_it_is() -> None:
    found = boundary_of("layer", (), [(np.array([-1, np.inf], np.float16), UNIT)], TOLERANCE)
    assert not found.passed
