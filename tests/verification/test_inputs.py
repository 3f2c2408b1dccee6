"""Verification feeds pictures, not noise, in the form and at the shapes that were asked for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fade_deploy.errors import RecipeError
from fade_deploy.recipe import Recipe, Shape, load_recipe
from fade_deploy.verification.inputs import normalised, verification_inputs

SHAPES = (Shape(1, 32, 32), Shape(3, 32, 64), Shape(2, 45, 31))


def recipe(**changes: object) -> Recipe:
    return dataclasses.replace(load_recipe("segformer"), **changes)  # type: ignore[arg-type]


def halves(folder: Path) -> list[str]:
    """Two pictures of 80x40: red with a blue right half, and green."""
    red = np.zeros((40, 80, 3), np.uint8)
    red[:, :40, 0] = 255
    red[:, 40:, 2] = 255
    Image.fromarray(red).save(folder / "red.png")
    Image.new("RGB", (80, 40), (0, 255, 0)).save(folder / "green.png")
    return [str(folder / "red.png"), str(folder / "green.png")]


def test_normalisation_by_hand() -> None:
    picture = np.array([[[[10, 20, 30], [11, 22, 33]]]], np.uint8)  # [1, 1, 2, 3]
    expected = np.array([[[[4.5, 5.0]], [[4.5, 5.0]], [[3.375, 3.75]]]], np.float32)  # (x - 1) / 2, (x - 2) / 4, ...
    np.testing.assert_array_equal(normalised(picture, (1.0, 2.0, 3.0), (2.0, 4.0, 8.0)), expected)


@pytest.mark.parametrize("embed_preprocess", [False, True])
def test_every_input_has_the_form_that_the_file_takes(embed_preprocess: bool) -> None:
    inputs = list(verification_inputs(recipe(), SHAPES, embed_preprocess=embed_preprocess))
    assert [each.shape for each in inputs] == list(SHAPES)
    for each in inputs:
        n, h, w = each.shape.batch, each.shape.height, each.shape.width
        assert each.tensors["image"].shape == ((n, h, w, 3) if embed_preprocess else (n, 3, h, w))
        assert each.tensors["image"].dtype == (np.uint8 if embed_preprocess else np.float32)
        assert each.tensors["image"].flags.c_contiguous
        assert each.source == "sample pictures"


def test_both_forms_are_the_same_pictures() -> None:
    raw = verification_inputs(recipe(), SHAPES, embed_preprocess=True)
    ready = verification_inputs(recipe(), SHAPES, embed_preprocess=False)
    for pictures, batch in zip(raw, ready, strict=True):
        np.testing.assert_array_equal(
            normalised(pictures.tensors["image"], recipe().mean, recipe().std), batch.tensors["image"]
        )


def test_the_shipped_pictures_are_neither_flat_nor_noise() -> None:
    for each in verification_inputs(recipe(), [Shape(2, 64, 96)], embed_preprocess=True):
        for picture in each.tensors["image"].astype(np.float64):
            assert picture.std() > 30  # of 0..255
            steps = np.abs(np.diff(picture, axis=1)).mean()
            assert steps < picture.std() / 2  # neighbours are alike, which those of noise are not


def test_the_entries_of_a_batch_walk_the_pictures_and_mirror_every_second_round(tmp_path: Path) -> None:
    own = recipe(pictures=tuple(halves(tmp_path)))
    (each,) = verification_inputs(own, [Shape(4, 40, 80)], embed_preprocess=True)
    red, green, mirrored, green_again = each.tensors["image"]
    np.testing.assert_array_equal(red[:, 0, 0], 255)
    np.testing.assert_array_equal(red[:, -1, 2], 255)
    np.testing.assert_array_equal(green[..., 1], 255)
    np.testing.assert_array_equal(mirrored, red[:, ::-1])
    np.testing.assert_array_equal(green_again, green)


def test_successive_shapes_start_at_successive_pictures(tmp_path: Path) -> None:
    own = recipe(pictures=tuple(halves(tmp_path)))
    first, second = verification_inputs(own, [Shape(1, 40, 80), Shape(1, 40, 80)], embed_preprocess=True)
    assert first.tensors["image"][0, 0, 0].tolist() == [255, 0, 0]
    assert second.tensors["image"][0, 0, 0].tolist() == [0, 255, 0]


def test_pictures_are_cropped_to_the_ratio_and_not_squeezed(tmp_path: Path) -> None:
    own = recipe(pictures=tuple(halves(tmp_path)[:1]))
    (each,) = verification_inputs(own, [Shape(1, 40, 40)], embed_preprocess=True)
    # The middle 40 of 80 columns: a sharp edge in the middle, which squeezing would move nowhere but blur.
    np.testing.assert_array_equal(each.tensors["image"][0, :, :20, 0], 255)
    np.testing.assert_array_equal(each.tensors["image"][0, :, 20:, 2], 255)


def test_a_recipe_without_pictures_gets_seeded_noise_and_says_so() -> None:
    own = recipe(pictures=())
    first = list(verification_inputs(own, [Shape(1, 32, 32), Shape(1, 32, 32)], embed_preprocess=True))
    again = list(verification_inputs(own, [Shape(1, 32, 32), Shape(1, 32, 32)], embed_preprocess=True))
    assert [each.source for each in first] == ["noise", "noise"]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.tensors["image"], other.tensors["image"])
    assert not np.array_equal(first[0].tensors["image"], first[1].tensors["image"])
    assert (first[0].tensors["image"].min(), first[0].tensors["image"].max()) == (0, 255)


@pytest.mark.parametrize("content", [None, b"", b"not a picture", b"\x89PNG\r\n\x1a\n cut short"])
def test_a_bad_sample_picture_is_refused_before_anything_runs(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "bad.png").write_bytes(content)
    own = recipe(pictures=("pictures/coffee.jpg", str(tmp_path / "bad.png")))
    with pytest.raises(RecipeError, match=r"sample picture .*bad\.png.*mend the list"):
        verification_inputs(own, SHAPES, embed_preprocess=True)  # not only with the first `next`


@pytest.mark.parametrize("embed_preprocess", [False, True])
def test_a_matting_input_has_a_trimap_of_all_three_values(embed_preprocess: bool) -> None:
    for each in verification_inputs(load_recipe("a2u_matting"), SHAPES, embed_preprocess=embed_preprocess):
        trimap = each.tensors["trimap"]
        n, h, w = each.shape.sizes
        assert trimap.shape == ((n, h, w, 1) if embed_preprocess else (n, 1, h, w))
        assert trimap.dtype == (np.uint8 if embed_preprocess else np.float32)
        for one in trimap:
            values, counts = np.unique(one, return_counts=True)
            expected = np.array([0, 128, 255], np.uint8)
            np.testing.assert_array_equal(values, expected if embed_preprocess else expected / np.float32(255))
            assert counts.min() > 0.15 * h * w
