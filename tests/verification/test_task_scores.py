"""Scores against the truth, beside the reference's, and the gate on them."""

from __future__ import annotations

import numpy as np
import pytest

from fade_deploy.verification.matting_scores import Convention, matting_scores
from fade_deploy.verification.task_scores import MattingTask, SegmentationTask

TRUTH = np.array([[0, 0, 1, 1]], np.uint8)
RIGHT, WRONG = np.array([[0, 0, 1, 1]]), np.array([[0, 0, 0, 1]])  # IoU 1; (2/3 + 1/2) / 2


@pytest.mark.parametrize(
    ("gate", "passed"), [(None, True), (0.5, True), (5 / 12 + 1e-9, True), (5 / 12 - 1e-9, False), (0.0, False)]
)
def test_a_drop_of_the_mean_iou_is_held_to_its_gate(gate: float | None, passed: bool) -> None:
    task = SegmentationTask(2, max_miou_drop=gate)
    task.add("reference", RIGHT, TRUTH)
    task.add("candidate", WRONG, TRUTH)
    reference, candidate = task.results("reference")
    assert (reference.run, reference.scores["miou"], reference.differences) == ("reference", 1.0, None)
    assert candidate.differences is not None
    assert candidate.differences["miou"] == pytest.approx(-5 / 12)
    assert candidate.passed is passed
    assert (reference.passed, candidate.pictures) == (True, 1)


def test_a_better_run_passes() -> None:
    task = SegmentationTask(2, max_miou_drop=0.0)
    task.add("reference", WRONG, TRUTH)
    task.add("candidate", RIGHT, TRUTH)
    assert task.results("reference")[1].passed


def test_a_score_that_is_no_number_passes_no_gate() -> None:
    task = SegmentationTask(2, max_miou_drop=0.5)
    nothing = np.full((1, 4), 255, np.uint8)
    task.add("reference", RIGHT, nothing)
    task.add("candidate", RIGHT, nothing)
    assert not task.results("reference")[1].passed


def test_pictures_add_up() -> None:
    task = SegmentationTask(2, max_miou_drop=None)
    task.add("reference", RIGHT, TRUTH)
    task.add("reference", WRONG, TRUTH)
    (only,) = task.results("reference")
    assert only.pictures == 2
    assert only.scores["miou"] == pytest.approx((4 / 5 + 3 / 4) / 2)  # intersections and unions are pooled


def test_nothing_scored_is_no_score() -> None:
    assert SegmentationTask(2, max_miou_drop=None).results("reference") == ()
    assert MattingTask().results("reference") == ()


def test_matting_scores_are_means_over_pictures() -> None:
    truth = np.linspace(0, 255, 12 * 12).astype(np.uint8).reshape(12, 12)
    trimap = np.full((12, 12), 128, np.uint8)
    task = MattingTask()
    near, far = (np.clip(truth / 255 + shift, 0, 1) for shift in (0.01, 0.2))
    for alpha in (near, far):
        task.add("reference", truth / 255, truth, trimap)
        task.add("candidate", alpha, truth, trimap)
    reference, candidate = task.results("reference")
    assert reference.scores["sad"] == pytest.approx(0, abs=1e-12)
    singles = [matting_scores(alpha, truth, trimap, convention=Convention.MATLAB).sad for alpha in (near, far)]
    assert candidate.scores["sad"] == pytest.approx(sum(singles) / 2)
    assert candidate.differences is not None
    assert candidate.differences["sad"] > 0
    assert set(candidate.scores) == {"sad", "mse", "grad", "conn"}
