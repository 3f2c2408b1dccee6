"""A verdict and its reason for every way in which an output can be wrong."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fade_deploy.contract import Head
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import SCORES
from fade_deploy.verification.comparing import compared, kept_picture, worst_of
from fade_deploy.verification.verification import Comparison

TOLERANCE = Tolerance(atol=0.1, why="large enough to write down")
LOGITS = np.array([[[[1.0, 0.0, 0.5]], [[0.0, 1.0, 0.4375]]]], np.float32)  # labels 0, 1, and 0 by a hair
ALPHA = np.array([[[[0.0, 0.25, 0.75, 1.0]]]], np.float32)
TRIMAP = np.array([[[0, 128, 128, 255]]], np.uint8)


def found(given: NDArray[Any], expected: NDArray[Any] = LOGITS, head: Head = Head.LOGITS, **more: Any) -> Comparison:
    return compared(
        {head.output: given},
        {head.output: expected, **more.get("scores", {})},
        run="candidate",
        input_name="1x1x3",
        shape="1x1x3",
        source="by hand",
        head=head,
        tolerance=TOLERANCE,
        trimaps=more.get("trimaps"),
    )


def changed(array: NDArray[Any], place: tuple[int, ...], value: float) -> NDArray[Any]:
    copy = array.copy()
    copy[place] = value
    return copy


def test_what_agrees_has_no_reason() -> None:
    same = found(LOGITS)
    assert (same.passed, same.reason) == (True, "")
    assert same.measures is not None
    assert same.agreement is not None
    assert same.agreement.labels_compared == 2  # the third leads by less than the tolerance


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (changed(LOGITS, (0, 0, 0, 0), 1.5), "max error 5.0e-01, tolerated 0.1 or 0 of the value"),
        (changed(LOGITS, (0, 0, 0, 0), math.nan), "1 NaN and 0 infinite values"),
        (changed(LOGITS, (0, 0, 0, 0), -math.inf), "0 NaN and 1 infinite values"),
        (LOGITS[..., :2], "is float32 [1, 2, 1, 2], the reference float32 [1, 2, 1, 3]"),
        (LOGITS.astype(np.float64), "is float64 [1, 2, 1, 3], the reference float32 [1, 2, 1, 3]"),
        (LOGITS * np.float32([[[[1]], [[0]]]]) + np.float32([[[[1]], [[0]]]]), "says one thing everywhere"),
    ],
)
def test_each_fault_is_named(given: NDArray[Any], reason: str) -> None:
    comparison = found(given)
    assert (comparison.passed, comparison.reason) == (False, reason)


def test_a_collapse_fails_whatever_the_tolerance() -> None:
    flat = np.full_like(ALPHA, 0.5)
    loose = compared(
        {"alpha": flat},
        {"alpha": ALPHA},
        run="c",
        input_name="i",
        shape="1x1x4",
        source="by hand",
        head=Head.ALPHA,
        tolerance=Tolerance(atol=10, why="anything"),
        trimaps=TRIMAP,
    )
    assert (loose.passed, loose.reason) == (False, "says one thing everywhere")


def test_labels_without_scores_must_be_equal() -> None:
    labels = np.array([[[0, 1, 0]]], np.int64)
    assert found(labels, labels, Head.LABELS).passed
    other = found(np.array([[[0, 1, 1]]], np.int64), labels, Head.LABELS)
    assert (other.passed, other.reason) == (False, "1 of 3 values differ")
    assert other.measures is None


def test_labels_with_scores_may_differ_where_the_reference_is_undecided() -> None:
    labels = np.array([[[0, 1, 0]]], np.int64)
    with_scores = {"scores": {SCORES: LOGITS}}
    assert found(np.array([[[0, 1, 1]]], np.int64), labels, Head.LABELS, **with_scores).passed
    wrong = found(np.array([[[1, 1, 0]]], np.int64), labels, Head.LABELS, **with_scores)
    assert (wrong.passed, wrong.reason) == (False, "1 of 2 decided labels differ")


def test_the_unknown_band_is_measured_on_its_own() -> None:
    given = ALPHA + np.float32([[[[0.0625, 0.03125, 0.015625, 0.0625]]]])
    band = found(given, ALPHA, Head.ALPHA, trimaps=TRIMAP).band
    assert band is not None
    assert (band.pixels, band.max_error, band.mean_error) == (2, 0.03125, (0.03125 + 0.015625) / 2)
    nothing = found(given, ALPHA, Head.ALPHA, trimaps=np.zeros_like(TRIMAP)).band
    assert nothing is not None
    assert (nothing.pixels, nothing.max_error) == (0, 0.0)


def test_a_missing_output_fails() -> None:
    comparison = compared(
        {"logits": LOGITS},
        {"probs": LOGITS},
        run="c",
        input_name="i",
        shape="1x1x3",
        source="by hand",
        head=Head.PROBS,
        tolerance=TOLERANCE,
        trimaps=None,
    )
    assert (comparison.passed, comparison.reason) == (False, "has no output 'probs'")


def test_the_worst_is_a_failed_run_then_a_failure_then_an_error() -> None:
    fine, small = found(LOGITS), found(changed(LOGITS, (0, 0, 0, 0), 1.0625))
    wrong, nan = found(changed(LOGITS, (0, 0, 0, 0), 1.5)), found(changed(LOGITS, (0, 0, 0, 0), math.nan))
    dead = Comparison(run="r", input="i", output="logits", passed=False, reason="can't run it", agreement=None)
    assert worst_of([]) is None
    assert worst_of([fine, small]) is small
    assert worst_of([small, wrong, fine]) is wrong
    assert worst_of([wrong, nan]) is nan
    assert worst_of([nan, dead, wrong]) is dead


def test_a_report_gets_labels_and_errors_of_the_first_picture() -> None:
    picture = np.zeros((1, 3, 3), np.uint8)
    outputs = {"reference": {"logits": LOGITS}, "candidate": {"logits": changed(LOGITS, (0, 1, 0, 0), 1.5)}}
    kept = kept_picture(picture, None, outputs, head=Head.LOGITS)
    assert kept.results["reference"].tolist() == [[0, 1, 0]]
    assert kept.results["candidate"].tolist() == [[1, 1, 0]]
    assert kept.errors["candidate"].tolist() == [[1.5, 0, 0]]
    assert not kept.errors["reference"].any()
    alphas = kept_picture(picture, TRIMAP[0], {"r": {"alpha": ALPHA * 2}}, head=Head.RAW)
    assert alphas.results["r"].tolist() == [[0, 0.5, 1, 1]]  # as a picture can show it
