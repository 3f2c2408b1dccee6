"""Resizing against a pencil, then against torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fade_deploy.serve.resize import resize_bilinear, resize_nearest, resize_weights
from fade_deploy.tolerances import tolerance

# in, out: both ways, odd, one pixel, a ratio that is no power of two, and the sizes of SegFormer's logits
SIZES = [
    ((5, 7), (5, 7)),
    ((5, 7), (20, 28)),
    ((5, 7), (11, 3)),
    ((64, 48), (9, 31)),
    ((1, 1), (3, 4)),
    ((1, 6), (4, 1)),
    ((128, 171), (512, 704)),
    ((333, 500), (512, 769)),
]


def by_torch(array: np.ndarray, size: tuple[int, int], dtype: torch.dtype = torch.float32) -> np.ndarray:
    """[H, W, C] through torch.nn.functional.interpolate."""
    planes = torch.from_numpy(array).permute(2, 0, 1)[None].to(dtype)
    return F.interpolate(planes, size, mode="bilinear", align_corners=False)[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([0, 4], [0, 1, 3, 4]),  # centres at -1/4 (clamped), 1/4, 3/4, 5/4 (clamped)
        ([0, 4, 8, 12], [2, 10]),  # centres at 1/2 and 5/2
        ([0, 3, 9], [0.75, 7.5]),  # 3 -> 2: centres at 1/4 and 7/4
        ([8, 2], [8, 5, 2]),  # 2 -> 3: centres at -1/6, 1/2, 7/6
        ([0, 8, 16, 24, 32, 40], [8, 32]),  # 6 -> 2: centres at 1 and 4; no averaging over the other pixels
        ([7], [7, 7, 7]),
    ],
)
def test_bilinear_agrees_with_the_pencil(given: list[float], expected: list[float]) -> None:
    row = np.array([given], np.float32)
    wanted = np.array([expected], np.float32)
    np.testing.assert_array_equal(resize_bilinear(row, 1, len(expected)), wanted)
    np.testing.assert_array_equal(resize_bilinear(row.T, len(expected), 1), wanted.T)


@pytest.mark.parametrize(("size", "new_size"), SIZES)
def test_bilinear_of_floats_is_that_of_torch(size: tuple[int, int], new_size: tuple[int, int]) -> None:
    array = np.random.default_rng(1).random((*size, 3), dtype=np.float32)
    bound = tolerance("OPERATOR_FP32")
    resized = resize_bilinear(array, *new_size)
    assert resized.dtype == np.float32
    np.testing.assert_allclose(resized, by_torch(array, new_size, torch.float64), rtol=bound.rtol, atol=bound.atol)


@pytest.mark.parametrize(("size", "new_size"), SIZES)
def test_bilinear_of_bytes_rounds_to_the_nearest_level(size: tuple[int, int], new_size: tuple[int, int]) -> None:
    array = np.random.default_rng(2).integers(0, 256, (*size, 3), dtype=np.uint8)
    resized = resize_bilinear(array, *new_size)
    assert resized.dtype == np.uint8
    exact = by_torch(array, new_size, torch.float64)
    # half a level, and what float32 sums of levels up to 255 may add to it
    assert np.abs(resized - exact).max() <= 0.5 + 255 * tolerance("OPERATOR_FP32").atol


def test_a_half_level_goes_up() -> None:
    np.testing.assert_array_equal(resize_bilinear(np.array([[0, 1, 2, 3]], np.uint8), 1, 2), [[1, 3]])


def test_a_picture_of_the_right_size_is_copied() -> None:
    array = np.random.default_rng(3).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    resized = resize_bilinear(array, 5, 6)
    np.testing.assert_array_equal(resized, array)
    assert not np.shares_memory(resized, array)


def test_greys_without_a_channel_axis_are_resized_alike() -> None:
    array = np.random.default_rng(4).random((6, 5), dtype=np.float32)
    np.testing.assert_array_equal(resize_bilinear(array, 9, 4), resize_bilinear(array[..., None], 9, 4)[..., 0])


@pytest.mark.parametrize(
    ("given", "expected"),
    [([1, 2], [1, 1, 2, 2]), ([1, 2, 3], [1, 2, 3]), ([1, 2, 3, 4, 5, 6], [2, 5]), ([1, 2, 3], [1, 1, 2, 3, 3])],
)
def test_nearest_takes_the_pixel_under_the_centre(given: list[int], expected: list[int]) -> None:
    row = np.array([given], np.int64)
    np.testing.assert_array_equal(resize_nearest(row, 1, len(expected)), [expected])
    np.testing.assert_array_equal(resize_nearest(row.T, len(expected), 1), np.array([expected]).T)


@pytest.mark.parametrize(("size", "new_size"), SIZES)
def test_nearest_is_nearest_exact_of_torch(size: tuple[int, int], new_size: tuple[int, int]) -> None:
    array = np.random.default_rng(5).integers(0, 150, size)
    expected = F.interpolate(torch.from_numpy(array)[None, None].double(), new_size, mode="nearest-exact")[0, 0].numpy()
    np.testing.assert_array_equal(resize_nearest(array, *new_size), expected)


def test_weights_of_two_steps_are_the_two_steps() -> None:
    array = np.random.default_rng(6).random((16, 22, 3), dtype=np.float32)
    steps = [(64, 96), (61, 83)]
    expected = by_torch(by_torch(array, steps[0], torch.float64), steps[1], torch.float64)
    down = resize_weights(16, 64, 61)
    across = resize_weights(22, 96, 83)
    bound = tolerance("OPERATOR_FP32")
    result = np.einsum("yh,xw,hwc->yxc", down, across, array)
    np.testing.assert_allclose(result, expected, rtol=bound.rtol, atol=bound.atol)
    at_once = by_torch(array, steps[1], torch.float64)
    assert np.abs(at_once - expected).max() > 100 * bound.atol  # one resize is something else
