"""The language of shape profiles, and what a file makes of them."""

from __future__ import annotations

import pytest

from fade_deploy.engines.profile import PictureInput, ShapeProfile
from fade_deploy.errors import ExportError
from fade_deploy.recipe import Shape

DYNAMIC = PictureInput(name="image", dimensions=("batch", 3, "height", "width"), channels_last=False)
PICTURES = PictureInput(name="image", dimensions=("batch", "height", "width", 3), channels_last=True)
FIXED = PictureInput(name="image", dimensions=(1, 3, 512, 512), channels_last=False)


def test_three_sizes_are_read_in_order():
    profile = ShapeProfile.parse("1x256x320:4x512x640:8x1024x1280")
    assert profile.shapes == (Shape(1, 256, 320), Shape(4, 512, 640), Shape(8, 1024, 1280))
    assert str(profile) == "1x256x320:4x512x640:8x1024x1280"
    assert profile.as_dict() == {"min": "1x256x320", "opt": "4x512x640", "max": "8x1024x1280"}


def test_one_size_fixes_all_three():
    profile = ShapeProfile.parse("2x512x512")
    assert profile.is_fixed
    assert str(profile) == "2x512x512"
    assert profile.shapes == (Shape(2, 512, 512),) * 3


@pytest.mark.parametrize(
    "text", ["", "1x256x256:4x512x512", "1x3x256x256", "0x256x256", "1x256", "1x256x256:a:b", "1x2.5x3", "1x256x256::"]
)
def test_what_is_no_profile_is_told_with_an_example(text):
    with pytest.raises(ExportError, match=r"give NxHxW:NxHxW:NxHxW .* for example 1x256x256:4x512x512:8x1024x1024"):
        ShapeProfile.parse(text)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("4x256x256:1x512x512:8x1024x1024", "batches 4, 1, 8"),
        ("1x512x256:1x256x512:1x1024x1024", "heights 512, 256, 1024"),
        ("1x256x256:1x512x512:1x1024x384", "widths 256, 512, 384"),
    ],
)
def test_sizes_that_do_not_grow_are_named(text, named):
    with pytest.raises(ExportError, match=named):
        ShapeProfile.parse(text)


def test_sizes_become_the_shapes_of_each_input():
    profile = ShapeProfile.parse("1x64x96:2x128x160:4x256x320")
    assert profile.sizes_for(DYNAMIC) == ((1, 3, 64, 96), (2, 3, 128, 160), (4, 3, 256, 320))
    assert profile.sizes_for(PICTURES) == ((1, 64, 96, 3), (2, 128, 160, 3), (4, 256, 320, 3))


@pytest.mark.parametrize(
    ("text", "given", "message"),
    [
        ("1x250x256:1x512x512:1x512x512", DYNAMIC, "the height 250, model.onnx takes multiples of 32: give 256"),
        ("1x256x256:1x512x500:1x512x512", PICTURES, "the width 500, model.onnx takes multiples of 32: give 512"),
        ("1x256x8:1x512x512:1x512x512", DYNAMIC, "the width 8, model.onnx takes multiples of 32: give 32"),
        ("1x256x256:1x512x512:1x512x512", FIXED, "the height 256, model.onnx has a fixed height of 512"),
        ("1x512x512:1x512x512:2x512x512", FIXED, "the batch 2, model.onnx has a fixed batch of 1"),
    ],
)
def test_a_size_that_the_file_refuses_is_one_line(text, given, message):
    with pytest.raises(ExportError, match=message):
        ShapeProfile.parse(text).check([given], multiple=32, name="model.onnx")


@pytest.mark.parametrize(
    ("multiple", "told"),
    [
        (16, "1x64x64:1x512x512:4x1024x1024"),
        (32, "1x128x128:1x512x512:4x1024x1024"),
        (96, "1x384x384:1x480x480:4x960x960"),
        (256, "1x512x512:1x512x512:4x1024x1024"),
        (1024, "1x1024x1024:1x1024x1024:4x2048x2048"),
    ],
)
def test_the_default_is_in_order_and_of_the_file_s_multiple(multiple, told):
    profile = ShapeProfile.default(multiple)
    assert str(profile) == told
    assert ShapeProfile.parse(told) == profile
    profile.check([DYNAMIC], multiple=multiple, name="model.onnx")
