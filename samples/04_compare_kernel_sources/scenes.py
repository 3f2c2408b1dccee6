"""Composed pictures for two tasks: small grey things to reconstruct, and shapes over photographs to segment.

The photographs lie inside the installed scikit-image wheel, each in the public domain or CC0 by its docstring; nothing
is downloaded. The pictures to reconstruct are like Fashion-MNIST's in kind: one grey, textured thing on black.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import skimage.data
from PIL import Image, ImageDraw

__all__ = ["CLASSES", "HELD_OUT", "PALETTE", "TRAINING", "Compose", "compose_many", "shapes", "thing"]

CLASSES = ("background", "stripes", "dots", "checks")  # what a shape is made of; its outline tells nothing
PALETTE = ((40, 44, 52), (66, 133, 244), (251, 188, 5), (234, 67, 53))
# Public domain: astronaut, rocket, hubble_deep_field. CC0: the others, of which four are grey.
TRAINING = ("astronaut", "chelsea", "rocket", "hubble_deep_field", "retina", "brick", "gravel")
HELD_OUT = ("coffee", "camera", "grass")  # never seen in training

_FINE = 4  # outlines are drawn this much finer, so that their edges blend as a camera's would
_TRIES = 5  # places tried for a shape before it is left out

# (rng, photographs, side in pixels) -> picture, uint8 [side, side] or [side, side, 3], and its truth of the same side
Compose: TypeAlias = Callable[[np.random.Generator, Sequence[Image.Image], int], tuple[np.ndarray, np.ndarray]]


def compose_many(compose: Compose, names: Sequence[str], *, seed: int, count: int, side: int) -> tuple:
    """Pictures [count, side, side, ...] and truths of photographs by the names of scikit-image's functions."""
    photos = [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]
    rng = np.random.default_rng(seed)
    pairs = [compose(rng, photos, side) for _ in range(count)]
    return np.stack([picture for picture, _ in pairs]), np.stack([truth for _, truth in pairs])


def thing(rng: np.random.Generator, photos: Sequence[Image.Image], side: int) -> tuple[np.ndarray, np.ndarray]:
    """One grey thing with a texture, stripes and perhaps a hole on black, [side, side]; its truth is itself."""
    angles = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    waves = sum(rng.normal(0, 0.14 / k) * np.cos(k * angles + rng.uniform(0, 6.3)) for k in range(1, 7))
    # Square-ish to round, wide to narrow: the outline of a bag, a shirt, a shoe.
    square = np.maximum(np.abs(np.cos(angles)), np.abs(np.sin(angles))) ** -rng.uniform(0, 1)
    outline = np.stack([np.cos(angles), np.sin(angles)], 1) * (square * (1 + waves))[:, None]
    outline *= rng.uniform(0.55, 1.0, 2) * 0.44 * side / np.abs(outline).max(0)
    drawn = [(outline, True)]
    if rng.random() < 0.4:
        centre, size = rng.uniform(-0.15, 0.15, 2) * side, rng.uniform(0.04, 0.12) * side
        drawn.append((centre + size * np.stack([np.cos(angles), np.sin(angles)], 1), False))
    grey = _crop(rng, photos, side).mean(2)
    grey = rng.uniform(90, 200) + rng.uniform(0.3, 1.2) * (grey - grey.mean())
    y, x = np.mgrid[:side, :side]
    turn, period = rng.uniform(0, np.pi), rng.uniform(3, 9)  # pixels
    stripes = np.sin(2 * np.pi * (x * np.cos(turn) + y * np.sin(turn)) / period)
    grey += (rng.random() < 0.5) * rng.uniform(10, 60) * stripes
    picture = (np.clip(grey, 20, 255) * _coverage(drawn, side)).astype(np.uint8)
    return picture, picture


def shapes(rng: np.random.Generator, photos: Sequence[Image.Image], side: int) -> tuple[np.ndarray, np.ndarray]:
    """Patterned shapes over a photograph, RGB [side, side, 3], and labels, indices of ``CLASSES``."""
    picture = _crop(rng, photos, side)
    labels = np.zeros((side, side), np.uint8)
    for kind in rng.integers(1, len(CLASSES), size=3):
        for _ in range(_TRIES):
            radius = rng.uniform(0.18, 0.3) * side
            middle = rng.uniform(0.7 * radius - side / 2, side / 2 - 0.7 * radius, 2)
            coverage = _coverage([(middle + radius * points, fills) for points, fills in _outlines(rng)], side)
            inside = coverage >= 0.5
            if not labels[inside].any():
                light, dark = rng.uniform(0, 255, 3), rng.uniform(0, 255, 3)
                light += np.clip(110 - (light - dark).mean(), 0, None)  # a pattern is seen by its brightness
                fill = np.clip(dark + _pattern(rng, CLASSES[kind], side)[:, :, None] * (light - dark), 0, 255)
                picture += coverage[:, :, None] * (fill - picture)
                labels[inside] = kind
                break
    picture += rng.normal(0, rng.uniform(0, 6), picture.shape)
    return np.clip(picture, 0, 255).astype(np.uint8), labels


def _pattern(rng: np.random.Generator, kind: str, side: int) -> np.ndarray:
    """A turned pattern with a period of 4 to 7 pixels, float [side, side] in 0..1."""
    turn, pace = rng.uniform(0, np.pi), 2 * np.pi / rng.uniform(4, 7)
    y, x = np.mgrid[:side, :side] * pace
    u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if kind == "stripes":
        level = np.sin(u)
    elif kind == "dots":
        level = np.cos(u) + np.cos(v) - 0.7
    else:
        level = 2 * np.sin(u) * np.sin(v)
    return np.clip(0.5 + level, 0, 1)


def _outlines(rng: np.random.Generator) -> list[tuple[np.ndarray, bool]]:
    """A disc, star, ring or cross as polygons [points, 2] in the unit circle, and whether each fills or clears."""
    outline = rng.choice(("disc", "star", "ring", "cross"))
    if outline == "star":
        return [(_circle(rng, np.where(np.arange(10) % 2, rng.uniform(0.4, 0.5), 1.0)), True)]
    if outline == "cross":
        a, b = rng.uniform(0.2, 0.35), 0.95
        corners = [(a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a), (-a, -b), (a, -b), (a, -a)]
        turn = rng.uniform(0, np.pi)
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        return [(np.array([*corners, (b, -a), (b, a)]) @ matrix, True)]
    disc = [(_circle(rng, np.ones(48)), True)]
    return disc if outline == "disc" else [*disc, (_circle(rng, np.full(48, rng.uniform(0.4, 0.6))), False)]


def _circle(rng: np.random.Generator, radii: np.ndarray) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, len(radii), endpoint=False) + rng.uniform(0, 6.3)
    return radii[:, None] * np.stack([np.cos(angles), np.sin(angles)], 1)


def _coverage(drawn: Sequence[tuple[np.ndarray, bool]], side: int) -> np.ndarray:
    """How much of each pixel polygons around the picture's middle cover, float [side, side] in 0..1."""
    canvas = Image.new("L", (side * _FINE, side * _FINE))
    draw = ImageDraw.Draw(canvas)
    for outline, fills in drawn:
        points = (outline + side / 2) * _FINE
        draw.polygon([(x, y) for x, y in points], fill=255 if fills else 0)
    return np.asarray(canvas.resize((side, side), Image.Resampling.BOX), np.float64) / 255


def _crop(rng: np.random.Generator, photos: Sequence[Image.Image], side: int) -> np.ndarray:
    """A random square of a random photograph, perhaps mirrored, float [side, side, 3] in 0..255."""
    photo = photos[rng.integers(len(photos))]
    share = rng.uniform(0.2, 0.9) * min(photo.size)
    left, top = rng.uniform(0, photo.width - share), rng.uniform(0, photo.height - share)
    box = (left, top, left + share, top + share)
    pixels = np.asarray(photo.resize((side, side), Image.Resampling.BILINEAR, box, reducing_gap=1.5), np.float64)
    return pixels[:, :: rng.choice((-1, 1))].copy()


if __name__ == "__main__":
    # A few pictures and masks in the layout that `compare.py --paper` expects, to try it without the data set.
    folder = Path(sys.argv[1])
    pictures, labels = compose_many(shapes, TRAINING, seed=0, count=8, side=96)
    for part, arrays in (("images", pictures), ("masks", 255 * (labels > 0).astype(np.uint8))):
        (folder / part).mkdir(parents=True, exist_ok=True)
        for index, array in enumerate(arrays):
            Image.fromarray(array).save(folder / part / f"shapes{index}.png")
