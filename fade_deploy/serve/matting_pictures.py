"""Pictures of matting: the trimap that goes in, the matte that comes out, the cut-out over a new background.

Files are written elsewhere (atomically). Needs numpy and Pillow.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fade_deploy.errors import InputError
from fade_deploy.optional import require
from fade_deploy.serve.matting_predictor import three_levels
from fade_deploy.serve.pictures import PILLOW_EXTRA, read_picture

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["alpha_picture", "cutout_picture", "read_background", "read_grey", "read_trimap"]


def read_trimap(path: Path) -> NDArray[np.uint8]:
    """Read a trimap by the rule of the demo: colour channels averaged, values other than 0 and 255 become 128.

    Modes, orientation and damage are handled as in :func:`read_picture`.

    Returns:
        uint8 [H, W]: 0 background, 128 unknown, 255 foreground.

    Raises:
        InputError: As :func:`read_picture`.
        MissingDependency: Pillow is not installed.
    """
    return three_levels(read_grey(path))


def read_grey(path: Path) -> NDArray[np.float64]:
    """A picture's colour channels averaged, [H, W] in 0..255; raises as :func:`read_picture`."""
    grey: NDArray[np.float64] = read_picture(path).mean(axis=2)
    return grey


def read_background(text: str, height: int, width: int) -> NDArray[np.uint8]:
    """A new background: one colour, or a picture that covers the size at its own ratio, cropped around its centre.

    Args:
        text: A colour as Pillow's ImageColor knows it (``white``, ``#00ff7f``, ``rgb(0, 255, 127)``), else the path of
            a picture.
        height: In pixels.
        width: In pixels.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        InputError: It is neither a colour nor a picture, or the colour is not opaque.
        MissingDependency: Pillow is not installed.
    """
    colours = require("PIL.ImageColor", extra=PILLOW_EXTRA)
    try:
        colour = colours.getrgb(text)
    except ValueError:
        return _covering(text, height, width)
    if (len(colour) == 4 and colour[3] != 255) or not all(0 <= level <= 255 for level in colour):
        raise InputError(
            f"background '{text}' is transparent or beyond 255, expected an opaque colour such as white or #00ff7f"
        )
    return np.broadcast_to(np.array(colour[:3], np.uint8), (height, width, 3))


def alpha_picture(alpha: NDArray[np.uint8]) -> Image.Image:
    """An alpha matte uint8 [H, W] as an 8-bit grey picture; white is foreground."""
    image: Image.Image = require("PIL.Image", extra=PILLOW_EXTRA).fromarray(alpha)
    return image


def cutout_picture(picture: NDArray[np.uint8], alpha: NDArray[np.uint8], background: NDArray[np.uint8]) -> Image.Image:
    """``a * picture + (1 - a) * background`` with ``a = alpha / 255``, rounded to the nearest level.

    The picture's own colours are used and no foreground is estimated: where a pixel mixes foreground and old
    background, as in hair, some of the old background's colour stays.

    Args:
        picture: uint8 [H, W, 3], RGB.
        alpha: uint8 [H, W].
        background: uint8 [H, W, 3], RGB.
    """
    weight = alpha[..., None].astype(np.uint16)
    blend = weight * picture + (255 - weight) * background  # at most 255 * 255: fits 16 bits
    blend += 127  # a 255th has no exact half, so this rounds to the nearest
    image: Image.Image = require("PIL.Image", extra=PILLOW_EXTRA).fromarray((blend // 255).astype(np.uint8))
    return image


def _covering(path: str, height: int, width: int) -> NDArray[np.uint8]:
    try:
        pixels = read_picture(Path(path))
    except InputError as error:
        raise InputError(f"background {error}, or give a colour such as white or #00ff7f") from error
    image = require("PIL.Image", extra=PILLOW_EXTRA).fromarray(pixels)
    return np.array(require("PIL.ImageOps", extra=PILLOW_EXTRA).fit(image, (width, height)))
