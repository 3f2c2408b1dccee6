"""Matting scores of one picture: SAD, MSE, gradient and connectivity error, in both conventions that are published.

Source: Rhemann et al., CVPR 2009 (the errors), in the two forms in which papers print them: the MATLAB evaluation of
Deep Image Matting (Xu et al., CVPR 2017), whose numbers stand in the tables, and the Python of the IndexNet and A2U
repositories, whose numbers stand in their training logs.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from fade_deploy.contract import UNKNOWN

__all__ = ["Convention", "MattingScores", "matting_scores"]

_SIGMA = 1.4  # of the gradient's Gaussian, in both conventions
_MATLAB_RADIUS = 4  # where exp(-r^2 / 2 sigma^2) / (sqrt(2 pi) sigma) has fallen to gaussgradient.m's 0.01, rounded up
_PYTHON_RADIUS = 6  # 4 sigma, rounded: scipy.ndimage.gaussian_filter's default
_LEVELS = 10  # thresholds 0.1, 0.2 .. 1.0
_LEAST_DISTANCE = 0.15  # theta: less than this above its level counts as connected

Alpha: TypeAlias = NDArray[np.uint8] | NDArray[np.floating[Any]]
Trimap: TypeAlias = NDArray[np.uint8]
Image: TypeAlias = NDArray[np.float64]
Mask: TypeAlias = NDArray[np.bool_]


class Convention(StrEnum):
    """Whose numbers to be comparable with."""

    MATLAB = "matlab"  # the papers' tables
    PYTHON = "python"  # the repositories' training logs


@dataclass(frozen=True, slots=True, kw_only=True)
class MattingScores:
    """Errors of one picture, 0 for a perfect alpha; a data set's are their means over its pictures."""

    sad: float  # thousands of pixels of full error
    mse: float  # 0..1; nan if no pixel is unknown
    grad: float
    conn: float


def matting_scores(alpha: Alpha, truth: Alpha, trimap: Trimap, *, convention: Convention) -> MattingScores:
    r"""Score one picture over its unknown region U, with p and t the two alphas in 0..1.

    ``sad = sum_U |p - t| / 1000``, ``mse = mean_U (p - t)**2``;
    ``grad = sum_U (|grad p'| - |grad t'|)**2 / s`` with p' and t' stretched so that each spans 0..1, by derivatives of
    a Gaussian of sigma 1.4; ``conn = sum_U |phi(p) - phi(t)| / 1000`` with ``phi(a) = 1 - d * [d >= 0.15]`` and
    ``d = a - l``. Of the thresholds 0, 0.1 .. 1.0, l is the last before the first at which the pixel lies outside the
    largest 4-connected component of ``p >= threshold and t >= threshold``; thresholds without a component are passed
    over, and l is 1 where there is no such first. That is as published: where p falls short of 1 everywhere, what
    belongs to its last component has l = 1.

    ===========================  ==================================  ==================================
    \                            MATLAB                              PYTHON
    ===========================  ==================================  ==================================
    p, t in sad, mse, conn       as they are                         stretched, each to span 0..1
    derivative                   9x9, divided by its L2 norm         13x13, of a Gaussian of sum 1
    beyond the picture           the nearest pixel                   the picture mirrored
    s                            1000                                10
    among largest components     the leftmost, then topmost          the topmost, then leftmost
    ===========================  ==================================  ==================================

    So sad, mse and (but for such ties) conn agree where both alphas span 0..1. MATLAB's grad is about 0.97 of PYTHON's:
    ``8 pi sigma**4 / 100`` for Gaussians that are not cut off. A constant alpha stretches to 0, as OpenCV's does.
    Without an unknown pixel mse is nan, the others 0.

    Args:
        alpha: Prediction, [H, W], uint8 in 0..255 or floating in 0..1, with the trimap's 0 and 255 already merged in
            if that is wanted: the known region counts in the stretch, in the gradient and in the components. Tables
            were computed from 8-bit pictures, logs from floats.
        truth: [H, W], either dtype.
        trimap: [H, W], uint8; U is where it is 128.
        convention: MATLAB for the papers' tables, PYTHON for the repositories' logs.

    Returns:
        The scores; the inputs are left as they are.

    Raises:
        ValueError: A shape, a dtype or a value is none of the above.
    """
    convention = Convention(convention)
    _check_pictures(alpha, truth, trimap)
    unknown = trimap == UNKNOWN
    predicted, true = _unit("alpha", alpha), _unit("truth", truth)
    stretched_predicted, stretched_true = _stretched(predicted), _stretched(true)
    if convention is Convention.PYTHON:
        predicted, true = stretched_predicted, stretched_true
    error = (predicted - true)[unknown]
    steepness = _gradient(stretched_predicted, convention) - _gradient(stretched_true, convention)
    return MattingScores(
        sad=float(np.abs(error).sum()) / 1000,
        mse=float(np.square(error).mean()) if error.size else float("nan"),
        grad=float(np.square(steepness[unknown]).sum()) / (1000 if convention is Convention.MATLAB else 10),
        conn=_connectivity_error(predicted, true, unknown, convention),
    )


def _check_pictures(alpha: Alpha, truth: Alpha, trimap: Trimap) -> None:
    shapes = [picture.shape for picture in (alpha, truth, trimap)]
    if len(set(shapes)) > 1 or alpha.ndim != 2 or alpha.size == 0:
        raise ValueError(
            f"alpha, truth and trimap are {shapes[0]}, {shapes[1]} and {shapes[2]}, expected one [H, W] for all"
        )
    if trimap.dtype != np.uint8:
        raise ValueError(f"trimap is {trimap.dtype}, expected uint8")


def _unit(name: str, alpha: Alpha) -> Image:
    """Alpha in 0..1."""
    if alpha.dtype == np.uint8:
        return alpha / np.float64(255)
    if not np.issubdtype(alpha.dtype, np.floating):
        raise ValueError(f"{name} is {alpha.dtype}, expected uint8 in 0..255 or floating in 0..1")
    if not (alpha.min() >= 0 and alpha.max() <= 1):  # so that nan is refused too
        raise ValueError(f"{name} has values {alpha.min()} to {alpha.max()}, expected 0 to 1 for {alpha.dtype}")
    return alpha.astype(np.float64)


def _stretched(alpha: Image) -> Image:
    low, high = alpha.min(), alpha.max()
    return (alpha - low) / (high - low) if high > low else np.zeros_like(alpha)


def _gradient(alpha: Image, convention: Convention) -> Image:
    """Magnitude of the smoothed gradient, [H, W]."""
    matlab = convention is Convention.MATLAB
    radius = _MATLAB_RADIUS if matlab else _PYTHON_RADIUS
    offsets = np.arange(-radius, radius + 1)
    gaussian = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    gaussian /= gaussian.sum()
    derivative = gaussian * offsets / _SIGMA**2
    if matlab:  # the L2 norm of the 9x9 kernel is the product of its factors'
        gaussian /= np.linalg.norm(gaussian)
        derivative /= np.linalg.norm(derivative)
    padded = np.pad(alpha, radius, mode="edge" if matlab else "symmetric")
    return np.hypot(_filtered(padded, derivative, gaussian), _filtered(padded, gaussian, derivative))


def _filtered(padded: Image, down: Image, across: Image) -> Image:
    """Correlate with the outer product of two kernels where it lies inside."""
    columns = sliding_window_view(padded, down.size, axis=0) @ down
    filtered: Image = sliding_window_view(columns, across.size, axis=1) @ across
    return filtered


def _connectivity_error(predicted: Image, true: Image, unknown: Mask, convention: Convention) -> float:
    # float32 like both originals: in float64 a float32 alpha of 0.7 would lie below the threshold 0.7.
    alphas = predicted.astype(np.float32), true.astype(np.float32)
    both = np.minimum(*alphas)
    level = np.ones(both.shape, np.float32)
    inside = np.ones(both.shape, np.bool_)  # in the component of every threshold so far
    for step in range(1, _LEVELS + 1):
        reached = both >= step / _LEVELS
        if not reached.any():
            break  # nor will a higher threshold have a component
        # Both languages take the first of the largest components; MATLAB numbers them down the columns.
        component = _largest_component(reached.T).T if convention is Convention.MATLAB else _largest_component(reached)
        level[inside & ~component] = (step - 1) / _LEVELS
        inside &= component
    connected = [_connected_share(alpha - level)[unknown] for alpha in alphas]
    return float(np.abs(connected[0] - connected[1]).sum(dtype=np.float64)) / 1000


def _connected_share(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    """phi, [H, W]."""
    return 1 - np.where(distance >= _LEAST_DISTANCE, distance, 0)


def _largest_component(mask: Mask) -> Mask:
    """The largest 4-connected component of a mask that has one; of several the first in reading order, [H, W]."""
    flat = np.pad(mask, ((0, 0), (1, 1))).ravel()  # a column of zeros on either side keeps runs in their rows
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    starts, ends = edges[::2], edges[1::2]
    roots = _roots(starts, ends, mask.shape[1] + 2)
    largest = roots == np.bincount(roots, weights=ends - starts).argmax()
    steps = np.zeros(flat.size, np.int8)
    steps[starts[largest]] = 1
    steps[ends[largest]] = -1
    return steps.cumsum(dtype=np.int8).astype(np.bool_).reshape(mask.shape[0], -1)[:, 1:-1]


def _roots(starts: NDArray[np.intp], ends: NDArray[np.intp], width: int) -> NDArray[np.intp]:
    """For each run of pixels the first run that is connected with it, [runs]."""
    # The runs of the row above that overlap a run follow each other.
    first = np.searchsorted(ends, starts - width, side="right")
    counts = np.searchsorted(starts, ends - width, side="left") - first
    lower = np.repeat(np.arange(starts.size), counts)
    upper = np.arange(lower.size) - np.repeat(counts.cumsum() - counts - first, counts)
    roots = np.arange(starts.size)
    while True:
        one, other = roots[lower], roots[upper]
        apart = one != other
        if not apart.any():
            return roots
        # A root that gets several new parents keeps one; the others' turn comes in a later round.
        roots[np.maximum(one, other)[apart]] = np.minimum(one, other)[apart]
        while np.any((shortened := roots[roots]) != roots):
            roots = shortened
