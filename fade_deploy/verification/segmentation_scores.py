"""Segmentation scores of a data set: mean IoU, and Boundary IoU, which sees only what lies near an edge.

Source: Boundary IoU (Cheng et al., CVPR 2021), eq. 2 and the authors' ``mask_to_boundary``, whose default distance
is 2 % of the image diagonal. Both scores pool intersections and unions over the data set before they divide.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["IGNORED", "SegmentationScores", "boundary_labels"]

IGNORED = 255  # the label of pixels that don't count (mmseg: ignore_index)
_BOUNDARY_SHARE = 0.02  # of the diagonal (Cheng et al., sec. 4: dilation_ratio)

Labels: TypeAlias = NDArray[np.integer[Any]]
Mask: TypeAlias = NDArray[np.bool_]
Counts: TypeAlias = NDArray[np.int64]
Scores: TypeAlias = NDArray[np.float64]


class SegmentationScores:
    """Adds up a data set, one picture at a time.

    ``IoU_c = sum |P_c & T_c| / sum |P_c | T_c|`` with the pixel sets that were predicted (P) and are true (T) of
    class c; for the boundary IoU the sets are what :func:`boundary_labels` leaves of them. Pixels whose truth is
    ``IGNORED`` are taken out of both.

    Args:
        classes: Number of classes C; labels are 0 .. C-1.

    Raises:
        ValueError: There is none, or there are more than 255.
    """

    def __init__(self, classes: int) -> None:
        if not 0 < classes <= IGNORED:
            raise ValueError(f"a model of {classes} classes, expected 1 to {IGNORED}, since truths have 8 bits")
        self._classes = classes
        # Rows: intersection, union.
        self._regions = np.zeros((2, classes), np.int64)
        self._boundaries = np.zeros((2, classes), np.int64)

    def add(self, predicted: Labels, truth: Labels) -> None:
        """Count one picture.

        Args:
            predicted: Labels [H, W].
            truth: Labels [H, W], ``IGNORED`` where nothing is known.

        Raises:
            ValueError: The shapes differ, or there is a label of no class.
        """
        if predicted.ndim != 2 or predicted.shape != truth.shape:
            raise ValueError(f"labels are {predicted.shape} and {truth.shape}, expected one [H, W] for both")
        predicted = np.where(truth == IGNORED, IGNORED, predicted)
        for name, labels in (("predicted", predicted), ("truth", truth)):
            if np.any((labels != IGNORED) & ((labels < 0) | (labels >= self._classes))):
                raise ValueError(
                    f"{name} has labels {labels.min()} to {labels.max()}, expected 0 to {self._classes - 1}"
                )
        self._regions += _overlaps(predicted, truth, self._classes)
        self._boundaries += _overlaps(boundary_labels(predicted), boundary_labels(truth), self._classes)

    def iou(self) -> Scores:
        """IoU of each class, [C]; nan where the class was neither predicted nor true."""
        return _quotient(self._regions)

    def boundary_ious(self) -> Scores:
        """Boundary IoU of each class, [C]; nan where the class was neither predicted nor true."""
        return _quotient(self._boundaries)

    def mean_iou(self) -> float:
        """Mean of the classes' IoU, 0..1, over those that occur; nan if nothing was added."""
        return _mean(self.iou())

    def boundary_iou(self) -> float:
        """Mean of the classes' boundary IoU, 0..1, over those that occur; nan if nothing was added."""
        return _mean(self.boundary_ious())


def boundary_labels(labels: Labels) -> Labels:
    """Keep the labels near an edge, ``IGNORED`` elsewhere.

    With ``d = max(1, round(0.02 * sqrt(H**2 + W**2)))`` a pixel of class c is kept unless the square of 2d+1 pixels
    around it is all of class c; beyond the image there is no class. For each class that is its mask without the
    mask's d-fold erosion by a 3x3 square, after a border of zeros, as the authors compute it.

    Args:
        labels: [H, W].

    Returns:
        [H, W], dtype of ``labels``.
    """
    distance = max(1, round(_BOUNDARY_SHARE * float(np.hypot(*labels.shape))))
    # One erosion serves all classes: a square is of one label if each of its rows is, and its middle column.
    uniform_rows = _uniform_in_row(labels, distance)
    uniform_column = _uniform_in_row(labels.T, distance).T
    inside = uniform_column & _all_in_row(uniform_rows.T, distance, distance).T
    return np.where(inside, np.asarray(IGNORED, labels.dtype), labels)


def _uniform_in_row(labels: Labels, distance: int) -> Mask:
    """Whether x-d .. x+d lie in the image and have one label, [H, W]."""
    same_as_next = np.zeros(labels.shape, np.bool_)  # the last of a row has no next
    same_as_next[:, :-1] = labels[:, 1:] == labels[:, :-1]
    return _all_in_row(same_as_next, distance, distance - 1)


def _all_in_row(mask: Mask, before: int, after: int) -> Mask:
    """Whether x-before .. x+after lie in the image and are true, [H, W]."""
    length = before + after + 1
    sums = np.pad(mask, ((0, 0), (before + 1, after))).cumsum(axis=1, dtype=np.int32)
    all_true: Mask = sums[:, length:] - sums[:, :-length] == length
    return all_true


def _overlaps(predicted: Labels, truth: Labels, classes: int) -> Counts:
    """Intersection and union of each class, [2, C]."""
    intersection = _histogram(truth[predicted == truth], classes)
    return np.stack([intersection, _histogram(predicted, classes) + _histogram(truth, classes) - intersection])


def _histogram(labels: Labels, classes: int) -> Counts:
    return np.bincount(labels.ravel(), minlength=IGNORED + 1)[:classes]


def _quotient(counts: Counts) -> Scores:
    with np.errstate(invalid="ignore"):  # 0/0: nan, the class does not occur
        scores: Scores = counts[0] / counts[1]
    return scores


def _mean(scores: Scores) -> float:
    occurring = scores[~np.isnan(scores)]
    return float(occurring.mean()) if occurring.size else float("nan")
