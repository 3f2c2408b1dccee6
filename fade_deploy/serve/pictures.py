"""Pictures in and out of a prediction: reading a photo, labels as an indexed PNG, labels laid over the photo.

Files are written elsewhere (atomically); here a picture ends as bytes. Needs numpy and Pillow.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.errors import InputError
from fade_deploy.optional import require

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["PILLOW_EXTRA", "label_picture", "overlay_picture", "palette_for", "png_bytes", "read_picture"]

PILLOW_EXTRA = "ort-cpu"  # the extra that brings Pillow along with a runtime
# What Pillow's decoders raise on damaged data, depending on the format.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error)


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a photo as the training pipeline does, upright.

    The EXIF orientation is applied. Any mode becomes RGB: grey is repeated, 16-bit grey is scaled to 8 bits, an alpha
    channel is dropped and not composited (as OpenCV's colour reader did in training). Of an animation: the first frame.

    Returns:
        uint8 [H, W, 3], RGB.

    Raises:
        InputError: Missing, not a picture, damaged, of floating-point pixels, or so large that it may be an attack.
        MissingDependency: Pillow is not installed.
    """
    pillow = require("PIL.Image", extra=PILLOW_EXTRA)
    orient = require("PIL.ImageOps", extra=PILLOW_EXTRA).exif_transpose
    remedy = "give a picture such as a JPEG or PNG"
    try:
        with pillow.open(path) as image:
            upright = orient(image)
        return _rgb(upright, path)
    except (pillow.DecompressionBombError, pillow.DecompressionBombWarning) as error:
        raise InputError(f"{path} has too many pixels ({error}); expected a photo: scale it down first") from error
    except require("PIL", extra=PILLOW_EXTRA).UnidentifiedImageError as error:
        raise InputError(f"{path} is not a picture that Pillow can read: {remedy}") from error
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.strerror:  # from the system, not from a decoder
            raise InputError(f"{path} can't be read ({error.strerror}): {remedy}") from error
        reason = " ".join(str(error).split())
        raise InputError(f"{path} is damaged or of an unknown kind ({reason}): save it again as JPEG or PNG") from error


def palette_for(classes: int, given: Sequence[Sequence[int]] = ()) -> NDArray[np.uint8]:
    """One colour a class: the given palette, or PASCAL VOC's where there is none.

    VOC's colormap deals the bits of the class number to red, green and blue in turn, highest colour bit first; all
    colours are distinct, and class 0 is black.

    Returns:
        uint8 [classes, 3].

    Raises:
        InputError: The given palette has colours for fewer classes.
    """
    if len(given) > 0:
        if len(given) < classes:
            raise InputError(
                f"the palette has {len(given)} colours, expected {classes}, one a class: give more, or none"
            )
        return np.asarray(given, np.uint8).reshape(-1, 3)[:classes]
    numbers = np.arange(classes)
    colours = np.zeros((classes, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= ((numbers >> (3 * bit + channel) & 1) << (7 - bit)).astype(np.uint8)
    return colours


def label_picture(labels: NDArray[Any], palette: NDArray[np.uint8]) -> Image.Image:
    """Labels as a picture for people and for programs: the pixels *are* the class numbers, the palette colours them.

    Args:
        labels: Class numbers, [H, W].
        palette: [classes, 3], see :func:`palette_for`.

    Returns:
        Mode ``P``; for more than 256 classes, which a palette can't hold, 16-bit grey (``I;16``) without colours.
    """
    _check_labels(labels, palette)
    pillow = require("PIL.Image", extra=PILLOW_EXTRA)
    if len(palette) > 256:
        image: Image.Image = pillow.fromarray(labels.astype(np.uint16))
    else:
        image = pillow.fromarray(labels.astype(np.uint8))
        image.putpalette(palette.tobytes())  # turns grey into mode P
    return image


def overlay_picture(
    picture: NDArray[np.uint8], labels: NDArray[Any], palette: NDArray[np.uint8], opacity: float = 0.55
) -> Image.Image:
    """The photo tinted with the colours of its labels, class 0 too.

    Each pixel is blended on its own, at the photo's size and without smoothing, so a wire one pixel wide stays one.

    Args:
        picture: uint8 [H, W, 3], RGB.
        labels: Class numbers of the same height and width.
        palette: [classes, 3].
        opacity: Of the colours, 0..1 (in steps of 1/256).

    Raises:
        ValueError: Sizes disagree, a label has no colour, or ``opacity`` is outside 0..1.
    """
    _check_labels(labels, palette)
    if picture.shape != (*labels.shape, 3):
        raise ValueError(f"picture has shape {picture.shape}, expected {(*labels.shape, 3)} as its labels have")
    if not 0 <= opacity <= 1:
        raise ValueError(f"opacity is {opacity}, expected 0..1")
    weight = round(opacity * 256)
    tint = palette.astype(np.uint16) * weight + 128  # at most 255 * 256 + 128: fits 16 bits
    blend = tint[labels]
    blend += picture.astype(np.uint16) * (256 - weight)
    image: Image.Image = require("PIL.Image", extra=PILLOW_EXTRA).fromarray((blend >> 8).astype(np.uint8))
    return image


def png_bytes(image: Image.Image) -> bytes:
    """The picture encoded as PNG: lossless, so class numbers survive."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def _rgb(image: Image.Image, path: Path) -> NDArray[np.uint8]:
    if image.mode == "F":
        raise InputError(f"{path} has floating-point pixels, expected 8 or 16 bits a channel: save it as JPEG or PNG")
    if image.mode.startswith("I"):  # 16-bit grey; Pillow itself would clip it at 255
        grey = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return np.repeat(((grey + 128) // 257).astype(np.uint8)[..., None], 3, axis=2)
    return np.array(image.convert("RGB"))


def _check_labels(labels: NDArray[Any], palette: NDArray[np.uint8]) -> None:
    if labels.ndim != 2 or (labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < len(palette)):
        raise ValueError(
            f"labels {labels.shape} are not class numbers [H, W] below {len(palette)}, the palette's colours"
        )
