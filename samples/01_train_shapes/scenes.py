"""Composed pictures: seven kinds of shapes, each filled from a photograph, laid over another photograph.

Thin structures (fence, wire, ring) and sharp corners (star, crescent, cross) are among them, because edges are what
an upsampler can get right or wrong. The photographs lie inside the installed scikit-image wheel, each in the public
domain or CC0 by its docstring; nothing is downloaded.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np
import skimage.data
from PIL import Image, ImageDraw

__all__ = ["CLASSES", "HELD_OUT", "PALETTE", "TRAINING", "compose", "photographs"]

CLASSES = ("background", "disc", "ring", "star", "cross", "crescent", "fence", "wire")
PALETTE = (
    (40, 44, 52),
    (66, 133, 244),
    (0, 188, 190),
    (251, 188, 5),
    (234, 67, 53),
    (171, 71, 188),
    (52, 168, 83),
    (255, 112, 210),
)
# Public domain: astronaut, rocket, hubble_deep_field. CC0: the others, of which four are grey.
TRAINING = ("astronaut", "chelsea", "rocket", "hubble_deep_field", "retina", "brick", "gravel")
HELD_OUT = ("coffee", "camera", "grass")  # never seen in training

_FINE = 4  # shapes are drawn this much finer, so that their edges blend as a camera's would
_AREA_PER_SHAPE = 4500  # pixels of picture; leaves about four fifths of it to the background
_RADIUS = (16.0, 34.0)  # pixels
_THICKNESS = (3.5, 7.0)  # pixels, of wires and of the bars of fences
_MOST_OVER_OTHERS = 0.1  # of a new shape: some are occluded, few beyond recognition
_TRIES = 5  # places tried for a shape, and colours tried for its fill


def photographs(names: Sequence[str]) -> list[Image.Image]:
    """Read photographs of scikit-image, by the names of their functions, as RGB."""
    return [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]


def compose(
    rng: np.random.Generator, photos: Sequence[Image.Image], height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Compose one picture.

    Args:
        rng: Decides everything; the same state composes the same picture.
        photos: RGB photographs to cut the background and the fills from.
        height: H in pixels, 64 or more.
        width: W in pixels, 64 or more.

    Returns:
        The picture, uint8 [H, W, 3], and its labels, uint8 [H, W], indices of ``CLASSES``. A pixel belongs to the
        topmost shape that covers at least half of it.
    """
    picture = _crop(rng, photos, height, width)
    labels = np.zeros((height, width), np.uint8)
    for kind in rng.integers(1, len(CLASSES), size=max(1, round(height * width / _AREA_PER_SHAPE))):
        coverage = _coverage(rng, CLASSES[kind])
        for _ in range(_TRIES):
            # Half a radius at least lies in the picture on each side, so that what is seen still tells the shape.
            reach, margin = coverage.shape[0] // 2, coverage.shape[0] // 6
            top, left = (int(rng.integers(margin, side - margin)) - reach for side in (height, width))
            seen = coverage[max(0, -top) : height - top, max(0, -left) : width - left]
            window = np.s_[max(0, top) : top + coverage.shape[0], max(0, left) : left + coverage.shape[1]]
            inside = seen >= 0.5
            if np.count_nonzero(labels[window][inside]) <= _MOST_OVER_OTHERS * np.count_nonzero(inside):
                below = picture[window]
                fill = _fill(rng, photos, below[inside].mean(0), *seen.shape) if inside.any() else below
                below += seen[:, :, None] * (fill - below)
                labels[window][inside] = kind
                break
    picture += rng.normal(0.0, rng.uniform(0.0, 6.0), picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), labels


def _crop(rng: np.random.Generator, photos: Sequence[Image.Image], height: int, width: int) -> np.ndarray:
    """A random part of a random photograph, perhaps mirrored, brought to [height, width, 3], float 0..255."""
    photo = photos[rng.integers(len(photos))]
    share = rng.uniform(0.35, 1.0) * min(photo.width / width, photo.height / height)
    left, top = rng.uniform(0, photo.width - share * width), rng.uniform(0, photo.height - share * height)
    box = (left, top, left + share * width, top + share * height)
    pixels = np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR, box, reducing_gap=1.5), np.float64)
    return pixels[:, :: rng.choice((-1, 1))].copy()


def _fill(
    rng: np.random.Generator, photos: Sequence[Image.Image], below: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Texture of a photograph, moved to that of a few random colours which is farthest from the mean colour below."""
    hues, saturations, values = rng.random(_TRIES), rng.uniform(0.3, 1.0, _TRIES), rng.uniform(0.2, 1.0, _TRIES)
    colours = [255 * np.array(colorsys.hsv_to_rgb(*hsv)) for hsv in zip(hues, saturations, values, strict=True)]
    colour = max(colours, key=lambda c: float(np.abs(c - below).sum()))
    texture = _crop(rng, photos, height, width)
    return np.clip(colour + rng.uniform(0.3, 0.8) * (texture - texture.mean((0, 1))), 0, 255)


def _coverage(rng: np.random.Generator, kind: str) -> np.ndarray:
    """How much of each pixel one randomly turned shape covers, float [S, S] in 0..1."""
    radius = rng.uniform(*_RADIUS)
    thickness = rng.uniform(*_THICKNESS) / radius  # the outlines below live in units of the radius
    angle = rng.uniform(0, 2 * np.pi)
    turn = radius * _FINE * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    side = 2 * (int(1.5 * radius) + 2)  # the longest shape, a wire, reaches 1.5 radii
    canvas = Image.new("L", (side * _FINE, side * _FINE))
    draw = ImageDraw.Draw(canvas)
    for outline, solid in _outlines(rng, kind, thickness):
        points = outline @ turn.T + side * _FINE / 2
        draw.polygon([(x, y) for x, y in points], fill=255 if solid else 0)
    return np.asarray(canvas.resize((side, side), Image.Resampling.BOX), np.float64) / 255


def _outlines(rng: np.random.Generator, kind: str, thickness: float) -> list[tuple[np.ndarray, bool]]:
    """Polygons [points, 2] of a shape in the unit circle, in drawing order, and whether each fills or clears."""
    if kind == "disc":
        return [(_circle(1.0) * (1.0, rng.uniform(0.8, 1.0)), True)]
    if kind == "ring":
        return [(_circle(1.0), True), (_circle(rng.uniform(0.65, 0.85)), False)]
    if kind == "star":
        points = 2 * int(rng.integers(5, 7))
        radii = np.where(np.arange(points) % 2, rng.uniform(0.35, 0.45), 1.0)
        return [(_circle(1.0, points) * radii[:, None], True)]
    if kind == "cross":
        half = rng.uniform(0.12, 0.22)
        return [(_bar(-1, 1, 0, half), True), (_bar(-1, 1, 0, half)[:, ::-1], True)]
    if kind == "crescent":
        inner = rng.uniform(0.75, 0.85)
        aside = np.array([1.15 - inner + rng.uniform(0.0, 0.2), 0.0])
        return [(_circle(1.0), True), (_circle(inner) + aside, False)]
    if kind == "fence":
        most = 1 + int(1.5 / (2.2 * thickness))  # leaves gaps wider than the bars
        bars = np.linspace(-0.75, 0.75, int(np.clip(most, 3, rng.integers(4, 7))))
        upright = [(_bar(-0.75, 0.75, x, thickness / 2), True) for x in bars]
        return upright + [(_bar(-0.9, 0.9, y, thickness / 2)[:, ::-1], True) for y in (-0.4, 0.4)]
    x = np.linspace(-1.4, 1.4, 60)
    y = rng.uniform(0.1, 0.35) * np.sin(rng.uniform(1.5, 5.0) * x + rng.uniform(0, 6.3))
    line = np.stack([x, y], 1)
    along = np.gradient(line, axis=0)
    across = along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1, keepdims=True) * thickness / 2
    return [(np.concatenate([line + across, (line - across)[::-1]]), True)]


def _circle(radius: float, points: int = 72) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def _bar(start: float, end: float, middle: float, half: float) -> np.ndarray:
    """An upright rectangle; swap its columns for one that lies."""
    return np.array([[middle - half, start], [middle + half, start], [middle + half, end], [middle - half, end]])


if __name__ == "__main__":
    # Chosen for its looks, prediction included: over the coffee cup the network does worse, see the README.
    example, _ = compose(np.random.default_rng(2_000_005), photographs(HELD_OUT), 384, 512)
    Image.fromarray(example).save("scene.jpg", quality=92)
