"""Bilinear and nearest resizing in numpy, with half-pixel centres and without antialiasing.

``out(i) = (1-t) * in(k) + t * in(k+1)`` along each axis, with ``k + t = (i + 0.5) * size_in / size_out - 0.5`` clamped
to the picture: what ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)`` and OpenCV's
``INTER_LINEAR`` compute, so that a served model sees and gives what it did in training.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["resize_bilinear", "resize_nearest", "resize_weights"]


def resize_bilinear(array: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize a picture or a stack of channels.

    Args:
        array: [H, W] or [H, W, C], channels last.
        height: Rows of the result.
        width: Columns of the result.

    Returns:
        [height, width] or [height, width, C]. Integers are rounded to the nearest (a half goes up) and keep their
        dtype: OpenCV, which counts in 1/2048, differs by at most one level. Floats become float32.
    """
    dtype = array.dtype if np.issubdtype(array.dtype, np.integer) else np.dtype(np.float32)
    if array.shape[:2] == (height, width):
        same: NDArray[Any] = array.astype(dtype)
        return same
    above, below, down = _taps(array.shape[0], height)
    left, right, across = _taps(array.shape[1], width)
    across = across.reshape(-1, *[1] * (array.ndim - 2))
    result = np.empty((height, width, *array.shape[2:]), dtype)
    for y in range(height):  # row by row: everything below stays in the processor's cache
        row = array[above[y]].astype(np.float32)
        if down[y] > 0:
            row += down[y] * (array[below[y]] - row)
        first = row[left]
        first += across * (row[right] - first)
        result[y] = first if dtype == np.float32 else np.floor(first + np.float32(0.5))
    return result


def resize_nearest(array: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """Resize labels: each output pixel takes the input pixel under its centre, so nothing shifts.

    Args:
        array: [H, W] or [H, W, C] of any dtype.
        height: Rows of the result.
        width: Columns of the result.
    """
    rows = (2 * np.arange(height) + 1) * array.shape[0] // (2 * height)  # integers: exact at every size
    columns = (2 * np.arange(width) + 1) * array.shape[1] // (2 * width)
    resized: NDArray[Any] = array[rows[:, None], columns]
    return resized


def resize_weights(size: int, *sizes: int) -> NDArray[np.float32]:
    """One axis of successive bilinear resizes, ``size`` to each of ``sizes`` in turn, as one matrix.

    Bilinear resizing is linear and separable, so ``out = A @ x @ B.T`` for any number of steps: exact but for rounding,
    and no picture of an intermediate size is ever held.

    Returns:
        [sizes[-1], size], banded: few neighbours have a weight; every row sums to 1. Worked out in float64.
    """
    weights = np.eye(size)
    for step in sizes:
        lower, upper, fraction = _taps(len(weights), step, np.float64)
        weights = weights[lower] * (1 - fraction[:, None]) + weights[upper] * fraction[:, None]
    return weights.astype(np.float32)


def _taps(size: int, new_size: int, dtype: Any = np.float32) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[Any]]:
    """For each output position the two input positions and the weight of the second."""
    centres = np.clip((np.arange(new_size) + 0.5) * (size / new_size) - 0.5, 0, size - 1)
    lower = np.floor(centres).astype(np.intp)
    return lower, np.minimum(lower + 1, size - 1), (centres - lower).astype(dtype)
