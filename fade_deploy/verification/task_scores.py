"""Scores against the truth, of every run beside the reference's."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.verification.matting_scores import Convention, MattingScores, matting_scores
from fade_deploy.verification.segmentation_scores import SegmentationScores
from fade_deploy.verification.verification import TaskScores

__all__ = ["MattingTask", "SegmentationTask"]


class SegmentationTask:
    """mIoU and Boundary IoU of each run.

    Args:
        classes: Of the model.
        max_miou_drop: How far a run's mIoU may lie below the reference's, 0..1; None for no gate.
    """

    def __init__(self, classes: int, *, max_miou_drop: float | None) -> None:
        self._classes = classes
        self._gate = max_miou_drop
        self._scores: dict[str, SegmentationScores] = {}
        self._pictures: dict[str, int] = {}

    def add(self, run: str, labels: NDArray[Any], truth: NDArray[Any]) -> None:
        """Count one picture of one run; labels and truth are [H, W], as :class:`SegmentationScores` takes them."""
        scores = self._scores.setdefault(run, SegmentationScores(self._classes))
        scores.add(labels.astype(np.int64), truth.astype(np.int64))
        self._pictures[run] = self._pictures.get(run, 0) + 1

    def results(self, reference: str) -> tuple[TaskScores, ...]:
        """The reference's first."""
        found = {
            run: {"miou": scores.mean_iou(), "biou": scores.boundary_iou()} for run, scores in self._scores.items()
        }
        gates = {} if self._gate is None else {"miou": -self._gate}
        return _beside_reference(found, self._pictures, reference, lowest=gates)


class MattingTask:
    """SAD, MSE, gradient and connectivity errors of each run, in the convention of the papers' tables."""

    def __init__(self) -> None:
        self._scores: dict[str, list[MattingScores]] = {}

    def add(self, run: str, alpha: NDArray[Any], truth: NDArray[np.uint8], trimap: NDArray[np.uint8]) -> None:
        """Score one picture of one run: alpha in 0..1, all [H, W]."""
        scores = matting_scores(alpha, truth, trimap, convention=Convention.MATLAB)
        self._scores.setdefault(run, []).append(scores)

    def results(self, reference: str) -> tuple[TaskScores, ...]:
        """The reference's first; means over the pictures."""
        found = {run: _means(scores) for run, scores in self._scores.items()}
        return _beside_reference(found, {run: len(scores) for run, scores in self._scores.items()}, reference)


def _means(scores: list[MattingScores]) -> dict[str, float]:
    rows = [asdict(each) for each in scores]
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _beside_reference(
    found: Mapping[str, Mapping[str, float]],
    pictures: Mapping[str, int],
    reference: str,
    *,
    lowest: Mapping[str, float] | None = None,
) -> tuple[TaskScores, ...]:
    if not found:
        return ()
    own = found[reference]
    results = [TaskScores(run=reference, pictures=pictures[reference], scores=own, differences=None)]
    for run, scores in found.items():
        if run == reference:
            continue
        differences = {name: scores[name] - own[name] for name in scores}
        # A score that is no number proves nothing, so it does not pass a gate.
        passed = all(differences[name] >= bound for name, bound in (lowest or {}).items())
        passed = passed and not any(math.isnan(differences[name]) for name in lowest or {})
        results.append(
            TaskScores(run=run, pictures=pictures[run], scores=scores, differences=differences, passed=passed)
        )
    return tuple(results)
