"""Pictures as a model takes them, and back. Needs only numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["model_inputs", "normalised", "pictures_in", "trimaps_in"]


def normalised(pictures: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W]: ``(x - mean) / std``."""
    scaled = (pictures.astype(np.float32) - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def model_inputs(
    pictures: NDArray[np.uint8],
    trimaps: NDArray[np.uint8] | None,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    embed_preprocess: bool,
) -> dict[str, NDArray[Any]]:
    """Pictures [N, H, W, 3] and, for matting, trimaps [N, H, W] as a file takes them, by input name.

    ``image`` normalised float32 [N, 3, H, W] and ``trimap / 255`` float32 [N, 1, H, W]; with embedded preprocessing
    both as they are, uint8 [N, H, W, C].
    """
    if embed_preprocess:
        tensors: dict[str, NDArray[Any]] = {"image": pictures}
        return tensors if trimaps is None else {**tensors, "trimap": trimaps[..., None]}
    tensors = {"image": normalised(pictures, mean, std)}
    return tensors if trimaps is None else {**tensors, "trimap": trimaps[:, None] / np.float32(255)}


def pictures_in(
    tensors: Mapping[str, NDArray[Any]], *, mean: Sequence[float], std: Sequence[float]
) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None]:
    """What :func:`model_inputs` was given: pictures [N, H, W, 3] and trimaps [N, H, W] or None."""
    image = tensors["image"]
    if image.dtype == np.uint8:
        return image, trimaps_in(tensors)
    levels = image.transpose(0, 2, 3, 1).astype(np.float64) * np.asarray(std) + np.asarray(mean)
    return _rounded(levels), trimaps_in(tensors)


def trimaps_in(tensors: Mapping[str, NDArray[Any]]) -> NDArray[np.uint8] | None:
    """The trimaps [N, H, W] that :func:`model_inputs` was given; None where there are none."""
    trimap = tensors.get("trimap")
    if trimap is None:
        return None
    return trimap[..., 0] if trimap.dtype == np.uint8 else _rounded(trimap[:, 0].astype(np.float64) * 255)


def _rounded(levels: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)
