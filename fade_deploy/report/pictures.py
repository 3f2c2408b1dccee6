"""Pictures of what models gave, as pixels, and pixels as what a page can hold.

All are drawn at the size of :func:`shown_size`. Maps are brought to it so that nothing gets lost: a cell of the
picture has the largest error within it.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.optional import require

__all__ = [
    "DIFFERENCE",
    "ENTROPY",
    "GATE",
    "HEAT",
    "colour_strip",
    "coloured",
    "data_uri",
    "grey",
    "heat_over",
    "mask_over",
    "marked",
    "photo",
    "shown_size",
]

HEAT, GATE, ENTROPY = "inferno", "PuOr", "viridis"  # colour maps of matplotlib
DIFFERENCE = (255, 0, 200)  # of labels that differ; a colour that photographs rarely have
_NOT_FINITE = (0, 255, 255)
_LONG_SIDE = 448  # pixels; what a tile can show, and a page can hold
_QUALITY = 85  # of JPEG


def shown_size(height: int, width: int) -> tuple[int, int]:
    """Height and width at which a picture is drawn: its own, or smaller at its ratio."""
    scale = min(1.0, _LONG_SIDE / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def photo(picture: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A photo [H, W, 3] or a grey picture [H, W] at that size, averaged."""
    if picture.shape[:2] == size:
        return picture
    pillow = require("PIL.Image", extra="report")
    resized = pillow.fromarray(picture).resize((size[1], size[0]), pillow.Resampling.BOX)
    return np.asarray(resized)


def grey(alpha: NDArray[Any], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Alpha [H, W] in 0..1 at that size; white is foreground, and what is no number is black."""
    levels = np.nan_to_num(np.clip(alpha.astype(np.float32), 0, 1), nan=0.0)
    return photo(np.rint(levels * 255).astype(np.uint8), size)


def mask_over(picture: NDArray[np.uint8], labels: NDArray[Any], palette: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A photo [h, w, 3] tinted with the colours of its labels, of any size; every pixel has the nearest label."""
    height, width = picture.shape[:2]
    rows = (2 * np.arange(height) + 1) * labels.shape[0] // (2 * height)
    columns = (2 * np.arange(width) + 1) * labels.shape[1] // (2 * width)
    tint = palette[labels[rows][:, columns]].astype(np.uint16)
    blend: NDArray[np.uint16] = (tint * 6 + picture.astype(np.uint16) * 4 + 5) // 10
    return blend.astype(np.uint8)


def marked(picture: NDArray[np.uint8], where: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """A dimmed photo [h, w, 3] on which the true cells of a map of any size are painted."""
    out = _dimmed(picture)
    out[_by_maximum(where, picture.shape[0], picture.shape[1])] = DIFFERENCE
    return out.astype(np.uint8)


def heat_over(picture: NDArray[np.uint8], error: NDArray[np.floating[Any]], *, high: float) -> NDArray[np.uint8]:
    """A dimmed photo [h, w, 3] that glows where errors are.

    Args:
        picture: At its drawn size.
        error: Of 0 or more, [any, any]; what is not finite is painted in cyan.
        high: The error that glows most; 0 for a picture without errors. Brightness goes with the square root, so that
            small errors are seen beside it.
    """
    found = _by_maximum(error, picture.shape[0], picture.shape[1]).astype(np.float64)
    finite = np.isfinite(found)
    levels = np.sqrt(np.clip(np.where(finite, found, 0) / high, 0, 1)) if high > 0 else np.zeros(found.shape)
    opacity = np.minimum(0.85, 1.15 * levels)[..., None]  # the picture is seen through all of it
    glow = coloured(levels, HEAT)
    out: NDArray[np.float64] = _dimmed(picture) * (1 - opacity) + glow * opacity
    out[~finite] = _NOT_FINITE
    return np.rint(out).astype(np.uint8)


def coloured(values: NDArray[np.floating[Any]], colours: str) -> NDArray[np.uint8]:
    """Values 0..1 of any shape in the colours of a map: uint8 [..., 3]."""
    table = require("matplotlib", extra="report").colormaps[colours](np.arange(256), bytes=True)[:, :3]
    indices = np.rint(np.clip(np.nan_to_num(values), 0, 1) * 255).astype(np.intp)
    return np.asarray(table[indices], np.uint8)


def colour_strip(colours: str) -> NDArray[np.uint8]:
    """All colours of a map from low to high, [1, 256, 3]."""
    return coloured(np.linspace(0, 1, 256)[None], colours)


def data_uri(pixels: NDArray[np.uint8], *, is_photo: bool) -> str:
    """A picture that needs no file: PNG, or JPEG for a photo, which is a tenth of the size."""
    image = require("PIL.Image", extra="report").fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    if is_photo:
        image.save(buffer, format="JPEG", quality=_QUALITY, subsampling=0, optimize=True)  # thin coloured lines stay
    else:
        image.save(buffer, format="PNG", optimize=True)
    kind = "jpeg" if is_photo else "png"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def _dimmed(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Grey, at a third of its brightness, [h, w, 3]."""
    brightness = picture.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return np.repeat(brightness[..., None] / 3, 3, axis=2)


def _by_maximum(values: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    """A map at another size: the largest of the cells that fall together, or the nearest where there are fewer."""
    for axis, size in enumerate((height, width)):
        starts = np.arange(size) * values.shape[axis] // size
        values = np.maximum.reduceat(values, starts, axis=axis)  # equal starts give the cell itself
    return values
