"""Inputs that are the same bytes on every machine: their values are written down here."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from fade_deploy.contract import Task
from fade_deploy.recipe import Shape
from fade_deploy.verification.model_inputs import model_inputs, pictures_in
from fade_deploy.verification.seeded import seeded_inputs, seeded_pictures, seeded_positions, trimaps_of

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


def test_the_bytes_are_those_of_any_other_machine() -> None:
    pictures = seeded_pictures(Shape(2, 40, 50), 3)
    assert (pictures.shape, pictures.dtype) == ((2, 40, 50, 3), np.uint8)
    assert pictures.ravel()[:8].tolist() == [195, 89, 106, 148, 93, 146, 145, 125]
    assert hashlib.sha256(pictures.tobytes()).hexdigest()[:16] == "6fe6e0522687adee"
    assert seeded_positions(1000, 5, 0).tolist() == [75, 272, 704, 808, 863]


def test_another_seed_or_shape_is_another_picture() -> None:
    one = seeded_pictures(Shape(1, 32, 48), 0)
    assert not np.array_equal(one, seeded_pictures(Shape(1, 32, 48), 1))
    assert not np.array_equal(one, seeded_pictures(Shape(2, 32, 48), 0)[:1])
    both = seeded_pictures(Shape(2, 32, 48), 0)
    assert not np.array_equal(both[0], both[1])


def test_pictures_have_areas_and_edges() -> None:
    (picture,) = seeded_pictures(Shape(1, 64, 64), 0).astype(np.float64)
    inside = np.abs(np.diff(picture[:16, :16], axis=1)).mean()
    across = np.abs(picture[:, 16] - picture[:, 15]).mean()
    assert across > 1.5 * inside


def test_a_trimap_has_every_level() -> None:
    trimaps = trimaps_of(seeded_pictures(Shape(1, 96, 96), 0))
    shares = [float((trimaps == level).mean()) for level in (0, 128, 255)]
    assert sum(shares) == 1
    assert min(shares) > 0.1


@pytest.mark.parametrize(("total", "count"), [(10, 20), (5000, 2000), (1, 1)])
def test_positions_are_different_and_within(total: int, count: int) -> None:
    positions = seeded_positions(total, count, 0)
    assert len(set(positions.tolist())) == len(positions) <= count
    assert positions.min() >= 0
    assert positions.max() < total
    assert (np.diff(positions) > 0).all()
    if total <= count:
        assert len(positions) == total


@pytest.mark.parametrize("embed_preprocess", [False, True])
@pytest.mark.parametrize("task", list(Task))
def test_inputs_are_as_the_file_takes_them_and_can_be_read_back(task: Task, embed_preprocess: bool) -> None:
    shape = Shape(2, 32, 48)
    ((given, tensors),) = seeded_inputs(task, [shape], seed=5, mean=MEAN, std=STD, embed_preprocess=embed_preprocess)
    assert given == shape
    assert tensors.keys() == ({"image", "trimap"} if task is Task.MATTING else {"image"})
    assert {array.dtype for array in tensors.values()} == {np.dtype(np.uint8 if embed_preprocess else np.float32)}
    assert tensors["image"].shape == ((2, 32, 48, 3) if embed_preprocess else (2, 3, 32, 48))
    pictures, trimaps = pictures_in(tensors, mean=MEAN, std=STD)
    np.testing.assert_array_equal(pictures, seeded_pictures(shape, 5))
    if task is Task.MATTING:
        assert trimaps is not None
        np.testing.assert_array_equal(trimaps, trimaps_of(pictures))


def test_trimaps_are_scaled_to_one() -> None:
    pictures = np.zeros((1, 1, 3, 3), np.uint8)
    trimaps = np.array([[[0, 128, 255]]], np.uint8)
    tensors = model_inputs(pictures, trimaps, mean=MEAN, std=STD, embed_preprocess=False)
    np.testing.assert_array_equal(tensors["trimap"], np.array([[[[0, 128 / 255, 1]]]], np.float32))
