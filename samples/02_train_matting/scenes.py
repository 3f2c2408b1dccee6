"""Composed pictures for matting: things with strands, holes and soft edges, laid over a photograph.

``image = alpha*foreground + (1-alpha)*background``, both sides textured by photographs, and never by the same one.
The photographs lie inside the installed scikit-image wheel, each in the public domain or CC0 by its docstring; nothing
is downloaded.
"""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import skimage.data
from PIL import Image, ImageDraw, ImageFilter
from scipy.ndimage import distance_transform_edt

__all__ = ["HELD_OUT", "TRAINING", "UNKNOWN", "Scene", "compose", "photographs"]

# Public domain: astronaut, rocket, hubble_deep_field. CC0: the others, of which four are grey.
TRAINING = ("astronaut", "chelsea", "rocket", "hubble_deep_field", "retina", "brick", "gravel")
HELD_OUT = ("coffee", "camera", "grass")  # never seen in training
UNKNOWN = 128  # of a trimap; 0 is background, 255 foreground

_FINE = 4  # outlines are drawn this much finer, so that a strand may be thinner than a pixel
_AREA_PER_THING = 9000  # pixels of picture
_RADIUS = (24.0, 52.0)  # pixels
_UNKNOWN_WIDTH = (1.0, 8.0)  # pixels around everything uncertain
_TRIES = 5  # colours tried for a fill


@dataclass(frozen=True, slots=True)
class Scene:
    """One picture, uint8 [H, W, 3], its trimap (0, 128, 255) and its true alpha (0..255), both uint8 [H, W]."""

    image: np.ndarray
    trimap: np.ndarray
    alpha: np.ndarray


def photographs(names: Sequence[str]) -> list[Image.Image]:
    """Read photographs of scikit-image, by the names of their functions, as RGB."""
    return [Image.fromarray(getattr(skimage.data, name)()).convert("RGB") for name in names]


def compose(
    rng: np.random.Generator,
    photos: Sequence[Image.Image],
    height: int,
    width: int,
    kinds: Sequence[str] | None = None,
) -> Scene:
    """Compose one picture.

    Args:
        rng: Decides everything; the same state composes the same picture.
        photos: Two or more RGB photographs: one is the background, the others fill what is laid over it.
        height: H in pixels, 64 or more.
        width: W in pixels, 64 or more.
        kinds: What to lay over the photograph, some of ``hair fur net lace rings veil blob``; None: at random.
    """
    order = rng.permutation(len(photos))
    picture = _crop(rng, photos[order[0]], height, width)
    alpha = np.zeros((height, width))
    if kinds is None:
        kinds = rng.choice(list(_KINDS), size=max(1, round(height * width / _AREA_PER_THING)))
    for kind in kinds:
        coverage = _coverage(rng, kind)
        # The middle lies in the picture, so that a quarter at least is seen.
        top, left = (int(rng.integers(0, side)) - coverage.shape[0] // 2 for side in (height, width))
        seen = coverage[max(0, -top) : height - top, max(0, -left) : width - left]
        window = np.s_[max(0, top) : top + coverage.shape[0], max(0, left) : left + coverage.shape[1]]
        below = picture[window]
        fill = _fill(rng, photos[rng.choice(order[1:])], below.mean((0, 1)), *seen.shape)
        below += seen[:, :, None] * (fill - below)
        alpha[window] += seen * (1 - alpha[window])
    picture += rng.normal(0.0, rng.uniform(0.0, 3.0), picture.shape)
    exact = np.round(255 * alpha).astype(np.uint8)
    return Scene(np.clip(picture, 0, 255).astype(np.uint8), _trimap(exact, rng.uniform(*_UNKNOWN_WIDTH)), exact)


def _trimap(alpha: np.ndarray, width: float) -> np.ndarray:
    """Unknown is what is neither 0 nor 255, and all within ``width`` pixels of it, so every edge."""
    sure = (alpha == 0) | (alpha == 255)
    return np.where(distance_transform_edt(sure) <= width, UNKNOWN, alpha).astype(np.uint8)


def _crop(rng: np.random.Generator, photo: Image.Image, height: int, width: int) -> np.ndarray:
    """A random part of a photograph, perhaps mirrored, brought to [height, width, 3], float 0..255."""
    share = rng.uniform(0.35, 1.0) * min(photo.width / width, photo.height / height)
    left, top = rng.uniform(0, photo.width - share * width), rng.uniform(0, photo.height - share * height)
    box = (left, top, left + share * width, top + share * height)
    pixels = np.asarray(photo.resize((width, height), Image.Resampling.BILINEAR, box, reducing_gap=1.5), np.float64)
    return pixels[:, :: rng.choice((-1, 1))].copy()


def _fill(rng: np.random.Generator, photo: Image.Image, below: np.ndarray, height: int, width: int) -> np.ndarray:
    """Texture of a photograph, moved to that of a few random colours which is farthest from the mean colour below."""
    hues, saturations, values = rng.random(_TRIES), rng.uniform(0.0, 0.8, _TRIES), rng.uniform(0.1, 1.0, _TRIES)
    colours = [255 * np.array(colorsys.hsv_to_rgb(*hsv)) for hsv in zip(hues, saturations, values, strict=True)]
    colour = max(colours, key=lambda c: float(np.abs(c - below).sum()))
    texture = _crop(rng, photo, height, width)
    return np.clip(colour + rng.uniform(0.3, 0.9) * (texture - texture.mean((0, 1))), 0, 255)


def _coverage(rng: np.random.Generator, kind: str) -> np.ndarray:
    """How much of each pixel one thing covers, float [S, S] in 0..1."""
    radius = rng.uniform(*_RADIUS)
    side = 2 * int(1.25 * radius) + 2  # hair reaches 1.25 radii
    canvas = Image.new("L", (side * _FINE, side * _FINE))
    draw = ImageDraw.Draw(canvas)
    for outline, solid in _KINDS[kind](rng, radius):
        draw.polygon([(x, y) for x, y in (outline + side / 2) * _FINE], fill=255 if solid else 0)
    defocus = rng.uniform(1.5, 5.0) if kind == "blob" else max(0.0, rng.uniform(-2.0, 1.5))
    small = canvas.resize((side, side), Image.Resampling.BOX).filter(ImageFilter.GaussianBlur(defocus))
    coverage = np.asarray(small, np.float64) / 255
    return coverage * _folds(rng, side) if kind == "veil" else coverage


def _folds(rng: np.random.Generator, side: int) -> np.ndarray:
    """Opacity of thin cloth, smooth waves between 0.1 and 0.9, float [side, side]."""
    y, x = np.mgrid[:side, :side]
    direction, wave = rng.uniform(0, 2 * np.pi), 2 * np.pi / rng.uniform(12, 40)
    along = wave * (np.cos(direction) * x + np.sin(direction) * y)
    low, high = np.sort(rng.uniform(0.1, 0.9, 2))
    return low + (high - low) * (0.5 + 0.5 * np.sin(along + rng.uniform(0.5, 2) * np.sin(0.37 * along)))


# Polygons in pixels from the middle, in drawing order, and whether each fills or clears.
Outlines = list[tuple[np.ndarray, bool]]


def _hair(rng: np.random.Generator, radius: float) -> Outlines:
    """A head with long strands that fly apart from tufts."""
    outlines = [(_blob(rng, 0.55 * radius), True)]
    tufts = rng.uniform(0, 2 * np.pi, rng.integers(3, 9))
    for tuft in rng.choice(tufts, rng.integers(60, 160)):
        angle, bend = tuft + rng.normal(0, 0.25), rng.normal(0, 0.5)
        outlines.append((_strand(rng, angle, bend, 0.4 * radius, radius * rng.uniform(0.75, 1.25)), True))
    return outlines


def _fur(rng: np.random.Generator, radius: float) -> Outlines:
    """A body with short hair all around."""
    shape = _blob(rng, 0.8 * radius)
    outlines = [(shape, True)]
    lean = rng.normal(0, 0.4)
    for x, y in shape[rng.integers(0, len(shape), rng.integers(120, 260))]:
        reach, angle = np.hypot(x, y), np.arctan2(y, x) + rng.normal(0, 0.03)
        longest = reach + radius * rng.uniform(0.05, 0.3)
        outlines.append((_strand(rng, angle, lean + rng.normal(0, 0.2), 0.85 * reach, longest), True))
    return outlines


def _net(rng: np.random.Generator, radius: float) -> Outlines:
    """Threads in two directions in a frame."""
    gap, thickness = rng.uniform(5, 13), rng.uniform(0.4, 1.8)
    turn, ends = _turn(rng.uniform(0, np.pi)), np.linspace(-0.8, 0.8, 24) * radius
    outlines: Outlines = []
    for place in np.arange(-0.8 * radius, 0.8 * radius, gap):
        line = np.stack([ends, place + rng.uniform(0, 0.15) * gap * np.sin(ends / gap + rng.uniform(0, 6))], 1)
        outlines += [(_stroke(line @ turn, thickness), True), (_stroke(line[:, ::-1] @ turn, thickness), True)]
    frame = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * 0.8 * radius
    for start, end in pairwise(frame):
        outlines.append((_stroke(np.stack([start, end]) @ turn, rng.uniform(2, 5)), True))
    return outlines


def _lace(rng: np.random.Generator, radius: float) -> Outlines:
    """Cloth with rows of round holes, a few of them with a smaller disc inside."""
    gap = rng.uniform(6, 14)
    hole, dot, turn = gap * rng.uniform(0.3, 0.46), rng.uniform(0, 0.6), _turn(rng.uniform(0, np.pi))
    outlines = [(_blob(rng, radius), True)]
    steps = np.arange(-radius, radius, gap)
    for row, y in enumerate(0.87 * steps):
        for x in steps + (row % 2) * gap / 2:
            if np.hypot(x, y) < 0.8 * radius:
                middle = np.array([x, y]) @ turn
                outlines.append((middle + _circle(hole), False))
                if dot > 0.4:
                    outlines.append((middle + _circle(dot * hole), True))
    return outlines


def _rings(rng: np.random.Generator, radius: float) -> Outlines:
    """A chain of thin rings."""
    step, thickness = radius * rng.uniform(0.3, 0.5), rng.uniform(0.6, 3.5)
    line = np.arange(-0.8 * radius, 0.8 * radius, step)
    middles = np.stack([line, 0.4 * radius * np.sin(line / radius * rng.uniform(1, 4))], 1)
    closed = np.append(_circle(1.0), _circle(1.0)[:1], 0)
    return [
        (_stroke((middle + closed * step * (0.7, rng.uniform(0.3, 0.7))) @ turn, thickness), True)
        for turn in [_turn(rng.uniform(0, np.pi))]
        for middle in middles
    ]


def _single_blob(rng: np.random.Generator, radius: float) -> Outlines:
    return [(_blob(rng, radius * rng.uniform(0.5, 1.0)), True)]


_KINDS: dict[str, Callable[[np.random.Generator, float], Outlines]] = {
    "hair": _hair,
    "fur": _fur,
    "net": _net,
    "lace": _lace,
    "rings": _rings,
    "veil": _single_blob,  # partly transparent
    "blob": _single_blob,  # out of focus
}


def _blob(rng: np.random.Generator, radius: float) -> np.ndarray:
    """A smooth closed outline about ``radius`` from the middle, [200, 2]."""
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    bumps = sum(rng.normal(0, 0.12 / k) * np.sin(k * angles + rng.uniform(0, 6.3)) for k in range(1, 6))
    return _circle(radius, 200) * (1 + np.clip(bumps, -0.4, 0.2))[:, None]


def _strand(rng: np.random.Generator, angle: float, bend: float, start: float, end: float) -> np.ndarray:
    """A hair that leaves the middle at ``angle`` and bends aside, thinning to its tip."""
    share = np.linspace(0, 1, 12)
    angles = angle + bend * share**2 + 0.03 * np.sin(share * rng.uniform(4, 14))
    line = np.stack([np.cos(angles), np.sin(angles)], 1) * (start + (end - start) * share)[:, None]
    return _stroke(line, rng.uniform(0.4, 1.5) * (1 - 0.8 * share))


def _stroke(line: np.ndarray, thickness: float | np.ndarray) -> np.ndarray:
    """The outline of a line [points, 2] drawn with a pen of so many pixels."""
    along = np.gradient(line, axis=0)
    across = along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1, keepdims=True)
    across *= np.broadcast_to(thickness, len(line))[:, None] / 2
    return np.concatenate([line + across, (line - across)[::-1]])


def _circle(radius: float, points: int = 48) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return radius * np.stack([np.cos(angles), np.sin(angles)], 1)


def _turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


if __name__ == "__main__":
    # Chosen for its looks, prediction included: see the README for what goes wrong in others.
    example = compose(
        np.random.default_rng(2_000_108),
        photographs(HELD_OUT),
        288,
        384,
        ("blob", "rings", "net", "lace", "fur", "hair", "hair"),
    )
    Image.fromarray(example.image).save("scene.jpg", quality=95)
    Image.fromarray(example.trimap).save("trimap.png")
    Image.fromarray(example.alpha).save("truth.png")
