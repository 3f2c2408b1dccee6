"""Every number of an output's errors, on arrays small enough to work out by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fade_deploy.verification.measures import HISTOGRAM_EDGES, Measures, is_collapsed, measures_of


def measured(given: Any, expected: Any, *, class_axis: bool = False) -> Measures:
    return measures_of(np.asarray(given, np.float32), np.asarray(expected, np.float32), class_axis=class_axis)


def test_every_number_by_hand() -> None:
    found = measured([[1.0, 2.5, 3.0, 4.0]], [[1.0, 2.0, 3.0, 5.0]])
    assert (found.values, found.max_error, found.mean_error) == (4, 1.0, 0.375)
    assert found.p50_error == 0.25  # of 0, 0, 0.5, 1 sorted: between the second and the third
    assert found.p99_error == pytest.approx(0.5 + 0.97 * 0.5)  # at 0.99 * 3 = 2.97
    assert found.p999_error == pytest.approx(0.5 + 0.997 * 0.5)
    # 1 + 5 + 9 + 20 = 35; |a|^2 = 1 + 6.25 + 9 + 16; |b|^2 = 1 + 4 + 9 + 25
    assert found.cosine == pytest.approx(35 / math.sqrt(32.25 * 39))
    assert found.psnr == pytest.approx(10 * math.log10(4**2 / ((0.25 + 1) / 4)))  # the range is 5 - 1
    assert (found.nan, found.inf, found.collapsed) == (0, 0, False)
    assert sum(found.histogram) == 4


def test_equal_outputs_have_no_error() -> None:
    found = measured([[1.0, 2.0]], [[1.0, 2.0]])
    assert (found.max_error, found.psnr, found.cosine) == (0.0, math.inf, pytest.approx(1.0))
    assert found.histogram[0] == 2  # zeros are counted in the first bin


def test_each_error_is_in_the_bin_of_its_size() -> None:
    found = measured([[1.0 + 2**-7]], [[1.0]])  # 0.0078
    (place,) = np.flatnonzero(found.histogram)
    assert HISTOGRAM_EDGES[place] <= 2**-7 < HISTOGRAM_EDGES[place + 1]


def test_what_is_not_finite_is_counted_and_the_rest_measured() -> None:
    found = measured([[math.nan, math.inf, -math.inf, 2.0]], [[1.0, 1.0, 1.0, 1.0]])
    assert (found.nan, found.inf, found.max_error) == (1, 2, 1.0)
    nothing = measured([[math.nan]], [[1.0]])
    assert nothing.nan == 1
    assert math.isnan(nothing.max_error)
    assert json.loads(json.dumps(nothing.as_dict(), allow_nan=False))["max_error"] == "nan"


def test_zeros_have_no_direction() -> None:
    assert math.isnan(measured([[0.0, 0.0]], [[1.0, 2.0]]).cosine)


def test_percentiles_are_numpys() -> None:
    generator = np.random.default_rng(0)
    given, expected = (generator.standard_normal((3, 7, 11)).astype(np.float32) for _ in range(2))
    found = measures_of(given, expected, class_axis=False)
    error = np.abs(given - expected)
    for share, value in ((50, found.p50_error), (99, found.p99_error), (99.9, found.p999_error)):
        assert value == pytest.approx(np.percentile(error, share), rel=1e-6)


@pytest.mark.parametrize("shape", [(2, 3), (1, 4, 3)])
def test_other_shapes_and_nothing_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected one shape with values"):
        measures_of(np.zeros(shape, np.float32), np.zeros((1, 2, 3), np.float32), class_axis=False)
    with pytest.raises(ValueError, match="expected one shape with values"):
        measures_of(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.float32), class_axis=False)


# --- collapse --------------------------------------------------------------------------------------------------------

SCORES = np.array([[[[1.0, 0.0, 1.0]], [[0.0, 1.0, 0.0]]]], np.float32)  # labels 0, 1, 0


def flat(value: float) -> NDArray[np.float32]:
    return np.full((1, 1, 1, 3), value, np.float32)


ALPHA = np.array([[[[0.0, 0.5, 1.0]]]], np.float32)


@pytest.mark.parametrize(
    ("given", "expected", "class_axis", "collapsed"),
    [
        (SCORES, SCORES, True, False),
        (SCORES * 0.01, SCORES, True, False),  # weak, yet of the same labels
        (SCORES * [[[[1]], [[0]]]], SCORES, True, True),  # class 0 everywhere
        (flat(0.5), ALPHA, False, True),
        (ALPHA * 0.5, ALPHA, False, False),
        (flat(0.5), flat(1.0), False, False),  # so does the reference
        (np.concatenate([ALPHA, flat(0)]), np.concatenate([ALPHA, ALPHA]), False, True),  # one entry of the batch
        (np.array([[2, 2, 2]]), np.array([[0, 1, 0]]), False, True),
        (np.array([[1, 0, 1]]), np.array([[0, 1, 0]]), False, False),  # wrong, yet not one thing
        (flat(math.nan), ALPHA, False, False),  # counted on its own
        (SCORES * math.nan, SCORES, True, False),
    ],
)
def test_one_thing_everywhere_is_seen(
    given: NDArray[Any], expected: NDArray[Any], class_axis: bool, collapsed: bool
) -> None:
    assert is_collapsed(given, expected, class_axis=class_axis) is collapsed
