"""Trimaps of every mode, backgrounds, and the cut-out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fade_deploy.errors import InputError
from fade_deploy.serve.matting_pictures import alpha_picture, cutout_picture, read_background, read_trimap


def saved(folder: Path, image: Image.Image, name: str = "trimap.png", **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def test_every_grey_between_black_and_white_is_unknown(tmp_path: Path) -> None:
    greys = np.arange(256, dtype=np.uint8).reshape(4, 64)
    trimap = read_trimap(saved(tmp_path, Image.fromarray(greys)))
    assert trimap.dtype == np.uint8
    np.testing.assert_array_equal(trimap.ravel(), [0] + [128] * 254 + [255])


def test_colours_are_averaged(tmp_path: Path) -> None:
    colours = [[0, 0, 0], [255, 255, 255], [0, 0, 1], [255, 254, 255], [128, 128, 128], [255, 0, 0]]
    trimap = read_trimap(saved(tmp_path, Image.fromarray(np.array([colours], np.uint8))))
    np.testing.assert_array_equal(trimap, [[0, 255, 128, 128, 128, 128]])


def test_a_palette_counts_by_its_colours(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], np.uint8))
    image.putpalette(bytes([255, 255, 255, 0, 0, 0, 128, 128, 128]))
    assert image.mode == "P"
    np.testing.assert_array_equal(read_trimap(saved(tmp_path, image)), [[255, 0, 128]])


def test_two_levels_are_a_trimap_too(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    np.testing.assert_array_equal(read_trimap(saved(tmp_path, image)), [[0, 255]])


def test_16_bits_are_scaled_to_8(tmp_path: Path) -> None:
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    np.testing.assert_array_equal(read_trimap(saved(tmp_path, Image.fromarray(deep))), [[0, 128, 128, 255]])


@pytest.mark.parametrize("transparent", [0, 90, 255])
def test_transparency_does_not_count(tmp_path: Path, transparent: int) -> None:
    image = np.array([[[0, 0, 0, transparent], [255, 255, 255, transparent], [9, 9, 9, transparent]]], np.uint8)
    np.testing.assert_array_equal(read_trimap(saved(tmp_path, Image.fromarray(image))), [[0, 255, 128]])


def test_the_orientation_is_honoured(tmp_path: Path) -> None:
    levels = np.array([[0, 128, 255], [255, 0, 0]], np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, Image.fromarray(levels), exif=exif)
    np.testing.assert_array_equal(read_trimap(path), np.rot90(levels, -1))


def test_a_missing_trimap_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.png can't be read"):
        read_trimap(tmp_path / "no.png")


@pytest.mark.parametrize(
    ("text", "colour"),
    [
        ("white", (255, 255, 255)),
        ("SeaGreen", (46, 139, 87)),
        ("#00ff7f", (0, 255, 127)),
        ("#0f7", (0, 255, 119)),
        ("rgb(1, 2, 3)", (1, 2, 3)),
        ("rgba(1, 2, 3, 255)", (1, 2, 3)),
    ],
)
def test_a_background_is_a_colour(text: str, colour: tuple[int, int, int]) -> None:
    background = read_background(text, 2, 3)
    assert background.dtype == np.uint8
    np.testing.assert_array_equal(background, np.tile(np.array(colour, np.uint8), (2, 3, 1)))


def test_a_wide_background_loses_its_sides_and_a_tall_one_its_ends(tmp_path: Path) -> None:
    wide = np.random.default_rng(0).integers(0, 256, (10, 40, 3), dtype=np.uint8)
    path = saved(tmp_path, Image.fromarray(wide), "wide.png")
    np.testing.assert_array_equal(read_background(str(path), 10, 16), wide[:, 12:28])
    path = saved(tmp_path, Image.fromarray(wide.transpose(1, 0, 2)), "tall.png")
    np.testing.assert_array_equal(read_background(str(path), 16, 10), wide.transpose(1, 0, 2)[12:28])


@pytest.mark.parametrize(("height", "width"), [(1, 1), (30, 20), (1, 50), (300, 7)])
def test_a_background_covers_any_size(tmp_path: Path, height: int, width: int) -> None:
    image = Image.new("RGB", (12, 9), "orange")
    background = read_background(str(saved(tmp_path, image, "orange.png")), height, width)
    np.testing.assert_array_equal(background, np.tile(np.array([255, 165, 0], np.uint8), (height, width, 1)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sea-gren", "sea-gren can't be read"),
        ("#12345", "#12345 can't be read"),
        ("", "can't be read"),
        ("n" * 300, "File name too long"),
        ("a\0b", "embedded null"),
        ("#00ff7f80", "transparent"),
        ("rgb(300, 0, 0)", "beyond 255"),
    ],
)
def test_what_is_no_background_is_one_clear_line(text: str, told: str) -> None:
    with pytest.raises(InputError, match=told) as error:
        read_background(text, 2, 3)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith("background ")
    assert str(error.value).endswith("colour such as white or #00ff7f")


def test_the_cutout_is_rounded_to_the_nearest_level() -> None:
    rng = np.random.default_rng(1)
    alpha = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 100, axis=1)
    picture, background = rng.integers(0, 256, (2, 256, 100, 3), dtype=np.uint8)
    share = alpha[..., None] / 255
    expected = np.rint(share * picture + (1 - share) * background)
    cutout = cutout_picture(picture, alpha, background)
    assert cutout.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(cutout), expected)


def test_the_extremes_of_a_cutout_are_exact() -> None:
    white, black = np.full((1, 3, 3), 255, np.uint8), np.zeros((1, 3, 3), np.uint8)
    alpha = np.array([[0, 128, 255]], np.uint8)
    np.testing.assert_array_equal(np.asarray(cutout_picture(white, alpha, white)), white)
    np.testing.assert_array_equal(np.asarray(cutout_picture(white, alpha, black))[..., 0], alpha)
    np.testing.assert_array_equal(np.asarray(cutout_picture(black, alpha, white))[..., 0], 255 - alpha)


def test_alpha_is_8_bit_grey() -> None:
    alpha = np.arange(6, dtype=np.uint8).reshape(2, 3)
    assert alpha_picture(alpha).mode == "L"
    np.testing.assert_array_equal(np.asarray(alpha_picture(alpha)), alpha)
