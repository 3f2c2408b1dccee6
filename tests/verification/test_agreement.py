"""The comparison of a runtime with the reference, on outputs small enough to work out by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.common import TensorMetadata

from fade_deploy.recipe import Shape
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import SCORES, Agreement, compare, worst
from fade_deploy.verification.inputs import VerificationInput

TOLERANCE = Tolerance(atol=0.1, why="large enough to write down")
NAN, INF = math.nan, math.inf

# Scores of two classes for the four pixels of one row, [1, 2, 1, 4]. The leads are 1, 1, 0.0625 and -0.0625: the first
# two pixels are decided by more than the tolerance, the others are not. Labels 0, 1, 0, 1. Exact in float32.
PIXELS = np.array([[[[1.0, 0.0, 0.5, 0.5]], [[0.0, 1.0, 0.4375, 0.5625]]]], np.float32)
LABELS = np.array([[[0, 1, 0, 1]]], np.int64)


class Fixed(BaseRunner):
    """Gives the same outputs whatever goes in."""

    def __init__(self, name: str, **outputs: NDArray[Any]) -> None:
        super().__init__(name=name, prefix=name)
        self.outputs = outputs
        self.fed: list[NDArray[Any]] = []

    def get_input_metadata_impl(self) -> TensorMetadata:
        return TensorMetadata().add("image", dtype=np.dtype(np.float32), shape=(-1, 3, -1, -1))

    def infer_impl(self, feed_dict: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self.fed.append(feed_dict["image"])
        self.inference_time = 0.0
        return self.outputs


def batch(value: float = 0.0) -> VerificationInput:
    image = np.full((1, 3, 4, 16), value, np.float32)
    return VerificationInput(shape=Shape(1, 4, 16), source="by hand", tensors={"image": image})


def compared(
    given: NDArray[Any],
    expected: NDArray[Any] = PIXELS,
    *,
    scores: NDArray[Any] | None = None,
    tolerance: Tolerance = TOLERANCE,
) -> Agreement:
    reference = Fixed("reference", out=expected, **{SCORES: expected if scores is None else scores})
    (agreement,) = compare(reference, [Fixed("candidate", out=given)], [batch()], outputs=["out"], tolerance=tolerance)
    return agreement


def changed(**pixels: float) -> NDArray[np.float32]:
    """PIXELS with values added, ``c0p2=0.5`` to class 0 of pixel 2."""
    scores = PIXELS.copy()
    for where, value in pixels.items():
        scores[0, int(where[1]), 0, int(where[3])] += value
    return scores


def test_equal_outputs_agree_with_every_number_by_hand() -> None:
    agreement = compared(PIXELS)
    assert agreement == Agreement(
        candidate="candidate",
        output="out",
        shape="1x4x16",
        source="by hand",
        passed=True,
        max_error=0.0,
        mean_error=0.0,
        p999_error=0.0,
        reference_std=float(PIXELS.std()),
        labels_compared=2,
        labels_agreeing=2,
    )


def test_errors_are_measured_against_the_reference() -> None:
    agreement = compared(changed(c0p0=0.0625, c1p3=-0.03125))
    assert agreement.passed
    assert agreement.max_error == 0.0625
    assert agreement.mean_error == (0.0625 + 0.03125) / 8
    # Linear interpolation between the 7th and the 8th of eight sorted errors, at 0.999 * 7 = 6.993.
    assert agreement.p999_error == pytest.approx(0.03125 + 0.993 * 0.03125, rel=1e-12)
    assert agreement.reference_std == pytest.approx(math.sqrt((4 * 0.5**2 + 2 * 0.0625**2) / 8))  # mean 0.5


@pytest.mark.parametrize("error", [0.09375, -0.09375])
def test_an_error_within_the_tolerance_agrees(error: float) -> None:
    assert compared(changed(c0p1=error)).passed


@pytest.mark.parametrize("error", [0.125, -0.125, INF, -INF, NAN])
def test_an_error_above_the_tolerance_fails(error: float) -> None:
    agreement = compared(changed(c0p1=error))
    assert not agreement.passed
    assert agreement.labels_agreeing == (1 if error in (INF,) or math.isnan(error) else 2)


@pytest.mark.parametrize(
    ("reference", "given", "passed"),
    [
        (10.0, 10.9375, True),  # within 10 % of the reference, though far beyond atol
        (10.0, 11.0625, False),
        (9.0, 9.953125, False),  # 10 % of what was given, but not of the reference
        (0.5, 0.59375, True),  # within atol, though beyond 10 % of the reference
        (0.5, 0.625, False),
    ],
)
def test_the_bound_is_the_larger_of_atol_and_rtol_of_the_reference(
    reference: float, given: float, passed: bool
) -> None:
    tolerance = Tolerance(atol=0.1, rtol=0.1, why="by hand")
    expected = np.full((1, 2, 1, 1), reference, np.float32)
    assert compared(np.full_like(expected, given), expected, tolerance=tolerance).passed is passed


def test_a_label_may_change_within_the_margin() -> None:
    agreement = compared(changed(c0p2=-0.09375))  # now class 1 wins pixel 2, whose lead was 0.0625
    assert agreement.passed
    assert (agreement.labels_compared, agreement.labels_agreeing) == (2, 2)


def test_a_decided_label_that_changes_fails_though_every_score_is_within_the_tolerance() -> None:
    scores = np.array([[[[0.125]], [[0.0]]]], np.float32)  # a lead of 0.125, errors of 0.09375 against each other
    agreement = compared(np.array([[[[0.03125]], [[0.09375]]]], np.float32), scores)
    assert agreement.max_error == 0.09375
    assert (agreement.passed, agreement.labels_compared, agreement.labels_agreeing) == (False, 1, 0)


def test_a_relative_tolerance_widens_the_margin() -> None:
    tolerance = Tolerance(atol=0.0, rtol=0.1, why="by hand")
    scores = np.array([[[[10.0, 10.0]], [[9.5, 8.5]]]], np.float32)  # leads 0.5 and 1.5, tolerated 1
    agreement = compared(scores, scores, tolerance=tolerance)
    assert (agreement.labels_compared, agreement.labels_agreeing) == (1, 1)


# --- integer outputs: the labels themselves --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("labels", "agreeing", "passed"),
    [
        ([0, 1, 0, 1], 2, True),
        ([0, 1, 1, 0], 2, True),  # both undecided pixels differ
        ([1, 1, 0, 1], 1, False),
        ([1, 0, 1, 0], 0, False),
        ([0, 7, 0, 1], 1, False),  # no class at all
        ([0, -1, 0, 1], 1, False),
    ],
)
def test_labels_may_differ_where_the_reference_is_undecided_and_nowhere_else(
    labels: list[int], agreeing: int, passed: bool
) -> None:
    agreement = compared(np.array([[labels]]), LABELS, scores=PIXELS)
    assert agreement.passed is passed
    assert (agreement.labels_compared, agreement.labels_agreeing) == (2, agreeing)
    assert (agreement.max_error, agreement.mean_error, agreement.p999_error, agreement.reference_std) == (None,) * 4


def test_one_class_leaves_nothing_undecided() -> None:
    scores = np.zeros((1, 1, 1, 4), np.float32)
    agreement = compared(np.zeros((1, 1, 4), np.int64), np.zeros((1, 1, 4), np.int64), scores=scores)
    assert (agreement.passed, agreement.labels_compared, agreement.labels_agreeing) == (True, 4, 4)


# --- what can't be compared never passes -----------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [NAN, INF])
def test_a_reference_that_is_not_finite_proves_nothing(bad: float) -> None:
    scores = np.full_like(PIXELS, bad)
    assert not compared(scores, scores).passed
    labels = scores.argmax(1)
    assert not compared(labels, labels, scores=scores).passed


@pytest.mark.parametrize(
    "given",
    [
        PIXELS[..., :2],
        PIXELS[..., :1],  # would broadcast
        np.concatenate([PIXELS, PIXELS]),
        PIXELS.transpose(0, 1, 3, 2),
        PIXELS.astype(np.float64),
        PIXELS.astype(np.float16),
        PIXELS.ravel(),
    ],
    ids=["narrower", "one-pixel", "batch", "transposed", "float64", "float16", "no-classes"],
)
def test_another_shape_or_dtype_disagrees(given: NDArray[Any]) -> None:
    agreement = compared(given)
    assert not agreement.passed
    assert agreement.max_error is None


@pytest.mark.parametrize(
    "given", [LABELS.astype(np.int32), LABELS[..., :2], LABELS[0]], ids=["int32", "narrower", "no-batch"]
)
def test_labels_of_another_shape_or_dtype_disagree(given: NDArray[Any]) -> None:
    assert not compared(given, LABELS, scores=PIXELS).passed


# --- integers and booleans that are no labels ------------------------------------------------------------------------


def compared_exactly(given: NDArray[Any], expected: NDArray[Any]) -> Agreement:
    runners = Fixed("reference", out=expected), Fixed("candidate", out=given)
    loose = Tolerance(atol=100, rtol=100, why="floats may differ by so much; integers by nothing")
    (agreement,) = compare(runners[0], runners[1:], [batch()], outputs=["out"], tolerance=loose)
    assert (agreement.labels_compared, agreement.labels_agreeing) == (None, None)
    return agreement


@pytest.mark.parametrize(
    ("expected", "given", "largest"),
    [
        (np.array([3, -1, 7, 0], np.int64), np.array([3, -1, 7, 0], np.int64), 0),
        (np.array([3, -1, 7, 0], np.int64), np.array([3, 2, 6, 0], np.int64), 3),
        (np.array([2**62 + 1]), np.array([2**62]), 1),  # one number in float64
        (np.array([-(2**63), 0]), np.array([2**63 - 1, 0]), 2**64 - 1),
        (np.array([0, 9], np.uint8), np.array([255, 9], np.uint8), 255),
        (np.array([-128, 9], np.int8), np.array([127, 9], np.int8), 255),
        (np.array([True, False]), np.array([True, False]), 0),
        (np.array([True, False]), np.array([False, False]), 1),
        (np.array(5), np.array(5), 0),
        (np.array(5), np.array(7), 2),
    ],
)
def test_integers_and_booleans_must_be_equal(expected: NDArray[Any], given: NDArray[Any], largest: int) -> None:
    agreement = compared_exactly(given, expected)
    assert agreement.passed is (largest == 0)
    assert agreement.max_error == float(largest)
    assert agreement.mean_error is not None
    assert (agreement.mean_error == 0) is (largest == 0)


def test_the_mean_error_of_integers_is_by_hand() -> None:
    agreement = compared_exactly(np.array([1, 2, 3, 8]), np.array([1, 2, 3, 4]))
    assert (agreement.mean_error, agreement.reference_std) == (1.0, math.sqrt(1.25))


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_no_elements_prove_nothing(dtype: type) -> None:
    empty = np.zeros((0, 4), dtype)
    agreement = compared_exactly(empty, empty)
    assert (agreement.passed, agreement.max_error, agreement.reference_std) == (False, None, None)


@pytest.mark.parametrize(("given", "passed"), [(1.0625, True), (1.5, False)])
def test_one_number_without_axes_is_compared(given: float, passed: bool) -> None:
    runners = Fixed("reference", out=np.array(1.0, np.float32)), Fixed("candidate", out=np.array(given, np.float32))
    (agreement,) = compare(runners[0], runners[1:], [batch()], outputs=["out"], tolerance=TOLERANCE)
    assert (agreement.passed, agreement.max_error) == (passed, given - 1)


def test_scores_are_no_output_that_a_user_may_name() -> None:
    assert not SCORES.isprintable()  # as export_module asks of every name
    runners = [Fixed(name, class_scores=np.array([given])) for name, given in (("reference", 3), ("candidate", 4))]
    (agreement,) = compare(runners[0], runners[1:], [batch()], outputs=["class_scores"], tolerance=TOLERANCE)
    assert (agreement.passed, agreement.labels_compared) == (False, None)


# --- many inputs -----------------------------------------------------------------------------------------------------


def test_every_input_is_run_by_both_and_judged() -> None:
    reference = Fixed("reference", out=PIXELS, **{SCORES: PIXELS})
    candidate = Fixed("candidate", out=PIXELS)
    agreements = compare(reference, [candidate], [batch(1.0), batch(2.0)], outputs=["out"], tolerance=TOLERANCE)
    assert [agreement.passed for agreement in agreements] == [True, True]
    for runner in (reference, candidate):
        assert [float(image[0, 0, 0, 0]) for image in runner.fed] == [1.0, 2.0]


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    compared(changed(c0p1=1.0))
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_what_is_not_finite_is_text_in_json() -> None:
    for error, text in ((NAN, "nan"), (INF, "inf")):
        document = compared(changed(c0p1=error)).as_dict()
        assert json.loads(json.dumps(document, allow_nan=False))["max_error"] == text
    assert compared(PIXELS).as_dict()["max_error"] == 0.0


def test_the_worst_is_a_failure_before_an_error_before_a_label() -> None:
    fine, small = compared(PIXELS), compared(changed(c0p1=0.0625))
    wrong, nan = compared(changed(c0p1=0.5)), compared(changed(c0p1=NAN))
    assert worst([fine, small]) is small
    assert worst([wrong, small, fine]) is wrong
    assert worst([wrong, nan, fine]) is nan
    assert worst([nan, wrong, fine]) is nan
    right = compared(LABELS, LABELS, scores=PIXELS)
    one, two = (compared(np.array([[labels]]), LABELS, scores=PIXELS) for labels in ([1, 1, 0, 1], [1, 0, 0, 1]))
    assert worst([right, one, two]) is two
