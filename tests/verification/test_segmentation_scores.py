"""Scores of segmentation: pencil cases first, then another implementation of the erosion."""

import math

import numpy as np
import pytest
from skimage.morphology import erosion

from fade_deploy.verification.segmentation_scores import IGNORED, SegmentationScores, boundary_labels

_ = IGNORED  # drawn pictures below read better with one letter


def scores_of(classes: int, *pairs: tuple[list[list[int]], list[list[int]]]) -> SegmentationScores:
    scores = SegmentationScores(classes)
    for predicted, truth in pairs:
        scores.add(np.array(predicted), np.array(truth))
    return scores


def test_iou_is_the_hand_counted_quotient():
    predicted = [[0, 0, 1], [0, 1, 1]]
    truth = [[0, 0, 0], [1, 1, 1]]
    # Class 0: both say it in 2 pixels, either in 4. Class 1: both in 2, either in 4.
    scores = scores_of(2, (predicted, truth))
    assert scores.iou().tolist() == [2 / 4, 2 / 4]
    assert scores.mean_iou() == 0.5


def test_pixels_are_pooled_over_pictures_before_dividing():
    small = ([[1]], [[1]])  # class 1: 1 of 1
    large = ([[0, 0, 0, 1]], [[1, 1, 1, 1]])  # class 0: 0 of 3; class 1: 1 of 4
    scores = scores_of(2, small, large)
    # Pooled: class 0: 0/3, class 1: 2/5. A mean over pictures would give class 1 (1 + 1/4) / 2.
    assert scores.iou().tolist() == [0.0, 2 / 5]
    assert scores.mean_iou() == pytest.approx(1 / 5)


def test_class_that_never_occurs_does_not_count():
    scores = scores_of(3, ([[0, 2]], [[0, 2]]))
    assert math.isnan(scores.iou()[1])
    assert scores.mean_iou() == 1.0


def test_ignored_pixels_count_for_no_class():
    # Without the ignored pixel class 1 would have a union of 2.
    scores = scores_of(2, ([[0, 1, 1]], [[0, 1, _]]))
    assert scores.iou().tolist() == [1.0, 1.0]


def test_nothing_added_scores_nan():
    assert math.isnan(SegmentationScores(2).mean_iou())
    assert math.isnan(SegmentationScores(2).boundary_iou())


def test_boundary_is_one_pixel_wide_in_small_pictures_and_the_border_counts():
    # 2 % of the diagonal of 5x6 rounds to 0, so d = 1.
    labels = np.array(
        [
            [0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1],
            [0, 0, 0, 0, 1, 1],
        ]
    )
    expected = [
        [0, 0, 0, 0, 1, 1],
        [0, _, _, 0, 1, 1],
        [0, _, _, 0, 1, 1],
        [0, _, _, 0, 1, 1],
        [0, 0, 0, 0, 1, 1],
    ]
    assert boundary_labels(labels).tolist() == expected


def test_corner_neighbour_of_another_class_is_near_an_edge():
    labels = np.zeros((7, 7), int)
    labels[2, 2] = 1
    kept = boundary_labels(labels)
    assert kept[3, 3] == 0  # touches the pixel of class 1 by its corner alone
    assert kept[4, 4] == _


def test_width_of_the_boundary_is_two_percent_of_the_diagonal():
    # 90x120: the diagonal is 150, d = 3; a picture of one class keeps a frame of 3 pixels.
    kept = boundary_labels(np.zeros((90, 120), np.uint8))
    assert np.count_nonzero(kept == 0) == 90 * 120 - 84 * 114
    assert np.all(kept[3:-3, 3:-3] == _)


def test_boundary_iou_is_the_hand_counted_quotient():
    truth = np.zeros((6, 6), int)
    truth[:, 3:] = 1
    predicted = np.zeros((6, 6), int)
    predicted[:, 4:] = 1  # the edge is one column late
    # d = 1. Truth keeps of class 0 all of columns 0..2 but the 4 inner pixels of column 1: 14; so of class 1.
    # Prediction keeps of class 0 columns 0..3 but 4 inner pixels each of columns 1 and 2: 16; of class 1 all 12.
    # Class 0 shares columns 0 (6) and of 1 and 2 the two border pixels each: 6 + 2 + 2 = 10; either: 14 + 16 - 10.
    # Class 1 shares columns 4 (2 border pixels) and 5 (6): 8; either: 14 + 12 - 8.
    scores = scores_of(2, (predicted.tolist(), truth.tolist()))
    assert scores.boundary_ious().tolist() == [10 / 20, 8 / 18]
    assert scores.boundary_iou() == pytest.approx((10 / 20 + 8 / 18) / 2)
    # 18 pixels are class 0 in truth, 24 in the prediction, 18 in both.
    assert scores.iou().tolist() == [18 / 24, 12 / 18]


def test_boundary_is_mask_minus_eroded_mask_for_every_class():
    rng = np.random.default_rng(0)
    # Blocks of 12 pixels, so that something is left inside; 60x91: the diagonal is 109.0, d = 2.
    labels = np.repeat(np.repeat(rng.integers(0, 4, (5, 8)), 12, 0), 12, 1)[:60, :91]
    kept = boundary_labels(labels)
    for c in range(4):
        mask = np.pad(labels == c, 1).astype(np.uint8)
        eroded = erosion(erosion(mask, np.ones((3, 3))), np.ones((3, 3)))
        np.testing.assert_array_equal(kept == c, (mask - eroded)[1:-1, 1:-1] == 1)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(3, 2\)"):
        SegmentationScores(2).add(np.zeros((2, 3), int), np.zeros((3, 2), int))


@pytest.mark.parametrize("label", [-1, 2, 254])
def test_label_of_no_class_is_refused(label):
    with pytest.raises(ValueError, match="predicted has labels"):
        SegmentationScores(2).add(np.array([[0, label]]), np.array([[0, 1]]))


def test_prediction_of_255_is_a_miss_and_no_class():
    # Class 1: never in both, once in either.
    assert scores_of(2, ([[0, IGNORED]], [[0, 1]])).iou().tolist() == [1.0, 0.0]


@pytest.mark.parametrize("classes", [0, 256])
def test_more_classes_than_a_truth_can_name_are_refused(classes):
    with pytest.raises(ValueError, match=f"a model of {classes} classes, expected 1 to 255"):
        SegmentationScores(classes)
