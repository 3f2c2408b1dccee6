"""Pictures of errors, masks and alpha, small enough to be checked by eye."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")

from fade_deploy.report.pictures import (
    DIFFERENCE,
    ENTROPY,
    colour_strip,
    coloured,
    data_uri,
    grey,
    heat_over,
    marked,
    mask_over,
    photo,
    shown_size,
)

BLACK = np.zeros((4, 4, 3), np.uint8)
CYAN = [0, 255, 255]


@pytest.mark.parametrize(
    ("given", "shown"),
    [((64, 64), (64, 64)), ((448, 448), (448, 448)), ((896, 448), (448, 224)), ((1, 4480), (1, 448))],
)
def test_a_picture_is_made_smaller_at_its_ratio_and_never_larger(
    given: tuple[int, int], shown: tuple[int, int]
) -> None:
    assert shown_size(*given) == shown


def test_a_single_error_survives_when_its_map_gets_smaller() -> None:
    error = np.zeros((400, 400), np.float32)
    error[123, 301] = 1.0
    glowing = heat_over(BLACK, error, high=1.0).any(axis=2)
    assert np.argwhere(glowing).tolist() == [[1, 3]]  # 123 * 4 // 400, 301 * 4 // 400


def test_a_small_map_covers_the_picture_cell_by_cell() -> None:
    error = np.array([[0.0, 1.0], [0.0, 0.0]], np.float32)
    glowing = heat_over(BLACK, error, high=1.0).any(axis=2)
    assert glowing.astype(int).tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


def test_larger_errors_glow_more_and_no_error_shows_the_picture() -> None:
    picture = np.full((1, 4, 3), 90, np.uint8)
    shown = heat_over(picture, np.array([[0.0, 0.01, 0.25, 1.0]], np.float32), high=1.0)
    assert shown[0, 0].tolist() == [30, 30, 30]  # a third of its brightness
    red = shown[0, :, 0].astype(int)
    assert red[1] < red[2] < red[3]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_cyan_even_where_nothing_else_is_wrong(value: float) -> None:
    error = np.zeros((4, 4), np.float32)
    error[2, 1] = value
    shown = heat_over(BLACK, error, high=0.0)
    assert shown[2, 1].tolist() == CYAN
    assert not np.delete(shown.reshape(16, 3), 9, axis=0).any()


def test_differing_labels_are_marked_where_they_are() -> None:
    different = np.zeros((8, 8), np.bool_)
    different[7, 0] = True
    shown = marked(BLACK, different)
    assert shown[3, 0].tolist() == list(DIFFERENCE)
    assert (shown == DIFFERENCE).all(axis=2).sum() == 1


def test_a_mask_of_another_size_tints_each_pixel_with_its_nearest_label() -> None:
    palette = np.array([[0, 0, 0], [250, 0, 0]], np.uint8)
    shown = mask_over(BLACK, np.array([[0, 1]], np.uint16), palette)
    assert shown[:, :2].max() == 0
    assert (shown[:, 2:] == [150, 0, 0]).all()  # six tenths of the colour


def test_alpha_is_grey_and_clipped_and_no_number_is_black() -> None:
    alpha = np.array([[-1.0, 0.5, 2.0, np.nan]], np.float32)
    assert grey(alpha, (1, 4)).tolist() == [[0, 128, 255, 0]]


def test_a_photo_is_averaged() -> None:
    picture = np.array([[[0, 0, 0], [100, 200, 50]]], np.uint8)
    assert photo(picture, (1, 1)).tolist() == [[[50, 100, 25]]]


def test_colours_run_from_the_maps_first_to_its_last_and_stop_there() -> None:
    strip = colour_strip(ENTROPY)
    assert strip.shape == (1, 256, 3)
    assert (coloured(np.array([-1.0, 0.0, 1.0, 2.0]), ENTROPY) == strip[0, [0, 0, -1, -1]]).all()


def test_a_png_keeps_every_pixel() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    uri = data_uri(pixels, is_photo=False)
    head, _, body = uri.partition(",")
    assert head == "data:image/png;base64"
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(body)))) == pixels).all()


def test_a_photo_is_a_jpeg_of_its_size() -> None:
    body = data_uri(np.zeros((5, 7, 3), np.uint8), is_photo=True).removeprefix("data:image/jpeg;base64,")
    image = Image.open(io.BytesIO(base64.b64decode(body)))
    assert (image.format, image.size) == ("JPEG", (7, 5))
