"""Reconstruction scores of one picture: PSNR, SSIM, MAE, MSE and RMSE.

Source: SSIM is Wang et al., IEEE TIP 2004, eq. 13 with the window and constants of its sec. III-C. FADE (Lu et al.,
IJCV 2024) does not print its constants; its "MSE" column fits the root, ``10**(-PSNR / 20)``, so both are given.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

__all__ = ["ReconstructionScores", "reconstruction_scores"]

_WINDOW = 11  # pixels
_SIGMA = 1.5  # of the window's Gaussian, pixels
_K1, _K2 = 0.01, 0.03

Picture: TypeAlias = NDArray[np.floating[Any]]
Channels: TypeAlias = NDArray[np.float64]  # [H, W, C]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconstructionScores:
    """Scores of one picture; a data set's are their means over its pictures."""

    psnr: float  # dB; infinite for equal pictures
    ssim: float  # -1..1, 1 for equal pictures
    mae: float
    mse: float
    rmse: float


def reconstruction_scores(output: Picture, truth: Picture, *, data_range: float = 1.0) -> ReconstructionScores:
    """Score one picture x against the true y over all pixels and channels.

    ``mae = mean |x - y|``, ``mse = mean (x - y)**2``, ``rmse = sqrt(mse)``, ``psnr = 10 log10(L**2 / mse)``;
    ``ssim = mean (2 mx my + c1) (2 sxy + c2) / ((mx**2 + my**2 + c1) (sx**2 + sy**2 + c2))``, with the means m,
    variances s**2 and covariance sxy under a Gaussian of 11x11 pixels, sigma 1.5 and sum 1, at every place where it
    lies inside the picture, of each channel; ``c1 = (0.01 L)**2``, ``c2 = (0.03 L)**2``.

    Args:
        output: [H, W] or [H, W, C], floating; H and W at least 11. Not clipped.
        truth: Shape of ``output``, floating.
        data_range: L, largest possible value minus smallest; 1 for pictures in 0..1.

    Raises:
        ValueError: The shapes differ or are none of the above, or a dtype is not floating.
    """
    for name, picture in (("output", output), ("truth", truth)):
        if not np.issubdtype(picture.dtype, np.floating):
            raise ValueError(f"{name} is {picture.dtype}, expected floating")
    if output.shape != truth.shape or output.ndim not in (2, 3) or output.size == 0:
        raise ValueError(
            f"output and truth are {output.shape} and {truth.shape}, expected one [H, W] or [H, W, C] for both"
        )
    if min(output.shape[:2]) < _WINDOW:
        raise ValueError(f"pictures are {output.shape}, expected H and W of at least {_WINDOW}, the window of SSIM")
    if not data_range > 0:
        raise ValueError(f"data_range is {data_range}, expected more than 0")
    x, y = (np.atleast_3d(picture).astype(np.float64) for picture in (output, truth))
    mse = float(np.square(x - y).mean())
    return ReconstructionScores(
        psnr=10 * math.log10(data_range**2 / mse) if mse else math.inf,
        ssim=_ssim(x, y, data_range),
        mae=float(np.abs(x - y).mean()),
        mse=mse,
        rmse=math.sqrt(mse),
    )


def _ssim(x: Channels, y: Channels, data_range: float) -> float:
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_x, mean_y = _windowed(x), _windowed(y)
    variance_x = _windowed(x * x) - mean_x**2
    variance_y = _windowed(y * y) - mean_y**2
    covariance = _windowed(x * y) - mean_x * mean_y
    similarity = ((2 * mean_x * mean_y + c1) * (2 * covariance + c2)) / (
        (mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2)
    )
    return float(similarity.mean())


def _windowed(values: Channels) -> Channels:
    """Gaussian mean of every window inside, [H-10, W-10, C]."""
    offsets = np.arange(_WINDOW) - _WINDOW // 2
    weights = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    columns = sliding_window_view(values, _WINDOW, axis=0) @ weights
    means: Channels = sliding_window_view(columns, _WINDOW, axis=1) @ weights
    return means
