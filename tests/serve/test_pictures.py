"""Pictures in and out: modes, orientation, damage; the label PNG and the overlay."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fade_deploy.errors import InputError
from fade_deploy.serve.pictures import label_picture, overlay_picture, palette_for, png_bytes, read_picture

RGB = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3) * 4


def saved(folder: Path, image: Image.Image, name: str = "picture.png", **options: object) -> Path:
    path = folder / name
    image.save(path, **options)
    return path


def test_rgb_is_read_as_it_is(tmp_path: Path) -> None:
    picture = read_picture(saved(tmp_path, Image.fromarray(RGB)))
    assert picture.dtype == np.uint8
    np.testing.assert_array_equal(picture, RGB)
    picture[0, 0] = 0  # not a read-only view of Pillow's memory


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "LAB", "I;16", "I;16B", "I"])
def test_any_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    path = saved(tmp_path, Image.new(mode, (5, 4)), name="picture.tif")
    with Image.open(path) as image:
        assert image.mode == mode  # TIFF keeps them all
    picture = read_picture(path)
    assert picture.shape == (4, 5, 3)
    assert picture.dtype == np.uint8


def test_transparency_is_dropped_and_not_composited(tmp_path: Path) -> None:
    alpha = np.zeros((4, 5, 1), np.uint8)  # fully transparent
    picture = read_picture(saved(tmp_path, Image.fromarray(np.concatenate([RGB, alpha], axis=2))))
    np.testing.assert_array_equal(picture, RGB)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_to_8_bits(tmp_path: Path, suffix: str) -> None:
    deep = np.array([[0, 257, 128 * 257, 65535]], np.uint16)
    picture = read_picture(saved(tmp_path, Image.fromarray(deep), name=f"deep.{suffix}"))
    np.testing.assert_array_equal(picture, np.repeat([[[0], [1], [128], [255]]], 3, axis=2))


@pytest.mark.parametrize(
    ("orientation", "shown"),
    [(1, RGB), (2, RGB[:, ::-1]), (3, RGB[::-1, ::-1]), (6, np.rot90(RGB, -1)), (8, np.rot90(RGB))],
)
def test_exif_orientation_is_honoured(tmp_path: Path, orientation: int, shown: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_picture(saved(tmp_path, Image.fromarray(RGB), exif=exif)), shown)


def one_line(error: pytest.ExceptionInfo[InputError], path: Path) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert str(path) in text
    return text


@pytest.mark.parametrize(
    "content", [b"", b"hello", bytes(100), b"\x89PNG\r\n\x1a\n"], ids=["empty", "text", "zeros", "head"]
)
def test_what_is_no_picture_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        read_picture(path)
    assert "not a picture" in one_line(error, path)


def test_a_missing_picture_and_a_folder_are_one_clear_line(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "no.jpg", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(InputError) as error:
            read_picture(path)
        assert reason in one_line(error, path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "tiff", "webp", "gif", "bmp"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_truncated_picture_is_one_clear_line(tmp_path: Path, kind: str, part: float) -> None:
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format=kind)
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * part)])
    with pytest.raises(InputError) as error:
        read_picture(path)
    one_line(error, path)


def test_a_decompression_bomb_is_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, Image.fromarray(RGB))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    with pytest.raises(InputError) as error:
        read_picture(path)
    assert "too many pixels" in one_line(error, path)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("F", (5, 4)), name="depth.tif")
    with pytest.raises(InputError, match="floating-point"):
        read_picture(path)


def test_the_generated_palette_is_that_of_pascal_voc() -> None:
    expected = [[0, 0, 0], [128, 0, 0], [0, 128, 0], [128, 128, 0], [0, 0, 128], [128, 0, 128], [0, 128, 128]]
    expected += [[128, 128, 128], [64, 0, 0], [192, 0, 0]]
    np.testing.assert_array_equal(palette_for(10), expected)


def test_generated_colours_are_distinct() -> None:
    assert len(np.unique(palette_for(1000), axis=0)) == 1000


def test_a_given_palette_is_used_and_a_short_one_refused() -> None:
    given = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    np.testing.assert_array_equal(palette_for(2, given), given[:2])
    with pytest.raises(InputError, match="3 colours, expected 4"):
        palette_for(4, given)


@pytest.mark.parametrize("classes", [2, 3, 16, 17, 150, 256])
def test_the_pixels_of_a_label_png_are_the_class_numbers(classes: int) -> None:
    labels = np.random.default_rng(classes).integers(0, classes, (23, 17))
    palette = palette_for(classes)
    read = Image.open(io.BytesIO(png_bytes(label_picture(labels, palette))))
    assert read.mode == "P"
    np.testing.assert_array_equal(np.asarray(read), labels)
    np.testing.assert_array_equal(np.asarray(read.convert("RGB")), palette[labels])


def test_more_than_256_classes_are_16_bit_grey() -> None:
    labels = np.array([[0, 256], [999, 3]], np.uint16)
    read = Image.open(io.BytesIO(png_bytes(label_picture(labels, palette_for(1000)))))
    assert read.mode in ("I;16", "I")  # the latter from Pillow 10 and 11
    np.testing.assert_array_equal(np.asarray(read), labels)


def test_the_overlay_blends_every_class_and_keeps_a_wire_crisp() -> None:
    picture = np.full((5, 6, 3), 200, np.uint8)
    labels = np.zeros((5, 6), np.uint8)
    labels[:, 2] = 1
    blended = np.asarray(overlay_picture(picture, labels, np.array([[0, 0, 100], [255, 0, 0]], np.uint8), opacity=0.5))
    np.testing.assert_array_equal(blended[:, 2], np.tile([228, 100, 100], (5, 1)))  # 227.5, 100, 100
    np.testing.assert_array_equal(blended[:, [0, 1, 3, 4, 5]], np.tile([100, 100, 150], (5, 5, 1)))


def test_opacity_0_is_the_photo_and_1_the_colours() -> None:
    labels = np.random.default_rng(1).integers(0, 9, (4, 5))
    palette = palette_for(9)
    np.testing.assert_array_equal(np.asarray(overlay_picture(RGB, labels, palette, opacity=0)), RGB)
    np.testing.assert_array_equal(np.asarray(overlay_picture(RGB, labels, palette, opacity=1)), palette[labels])


def test_white_on_white_stays_white() -> None:
    white = np.full((2, 2, 3), 255, np.uint8)
    overlay = overlay_picture(white, np.zeros((2, 2), np.uint8), np.full((1, 3), 255, np.uint8))
    np.testing.assert_array_equal(np.asarray(overlay), white)


def test_labels_without_a_colour_are_refused() -> None:
    for labels in (np.array([[0, 2]]), np.array([[-1, 0]]), np.array([0, 1])):
        with pytest.raises(ValueError, match="not class numbers"):
            label_picture(labels, palette_for(2))
    with pytest.raises(ValueError, match="picture has shape"):
        overlay_picture(RGB, np.zeros((5, 4), np.uint8), palette_for(2))
