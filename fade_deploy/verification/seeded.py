"""Pictures from a number: the same bytes on every machine and under every numpy.

numpy promises the raw stream of PCG64 for ever, the draws of its ``Generator`` only within a version; so everything
here is made of raw 64-bit words by integer arithmetic. Blocks of one colour under fine noise: plain noise hides what
only areas and edges show.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import UNKNOWN, Task
from fade_deploy.recipe import Shape
from fade_deploy.verification.model_inputs import model_inputs

__all__ = ["seeded_inputs", "seeded_pictures", "seeded_positions", "trimaps_of"]

_BLOCK = 16  # pixels of one colour
_DARK, _BRIGHT = 300, 465  # sums of red, green and blue: about a fifth of the pixels lies beyond each


def seeded_pictures(shape: Shape, seed: int) -> NDArray[np.uint8]:
    """Pictures [N, H, W, 3] in RGB; another seed or shape gives others."""
    n, h, w = shape.sizes
    rows, columns = -(-h // _BLOCK), -(-w // _BLOCK)
    stream = np.random.PCG64(np.random.SeedSequence([seed, n, h, w]))
    blocks = _bytes(stream, n * rows * columns * 3).reshape(n, rows, columns, 3)
    coarse = blocks.repeat(_BLOCK, axis=1).repeat(_BLOCK, axis=2)[:, :h, :w].astype(np.uint16)
    fine = _bytes(stream, n * h * w * 3).reshape(n, h, w, 3)
    return ((3 * coarse + fine) // 4).astype(np.uint8)


def trimaps_of(pictures: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Trimaps [N, H, W] in {0, 128, 255} for seeded pictures [N, H, W, 3]: dark is background, bright is foreground."""
    brightness = pictures.sum(axis=3, dtype=np.uint16)
    return np.select([brightness < _DARK, brightness > _BRIGHT], [0, 255], UNKNOWN).astype(np.uint8)


def seeded_positions(total: int, count: int, seed: int) -> NDArray[np.int64]:
    """At most ``count`` different numbers below ``total``, ascending."""
    if total <= count:
        return np.arange(total)
    words = np.random.PCG64(np.random.SeedSequence([seed, total])).random_raw(count)
    return np.unique(words % np.uint64(total)).astype(np.int64)


def seeded_inputs(
    task: Task,
    shapes: Iterable[Shape],
    *,
    seed: int,
    mean: Sequence[float],
    std: Sequence[float],
    embed_preprocess: bool,
) -> Iterator[tuple[Shape, dict[str, NDArray[Any]]]]:
    """Each shape with its inputs, as :func:`model_inputs` makes them."""
    for shape in shapes:
        pictures = seeded_pictures(shape, seed)
        trimaps = trimaps_of(pictures) if task is Task.MATTING else None
        yield shape, model_inputs(pictures, trimaps, mean=mean, std=std, embed_preprocess=embed_preprocess)


def _bytes(stream: np.random.PCG64, count: int) -> NDArray[np.uint8]:
    words = np.asarray(stream.random_raw(-(-count // 8)), dtype="<u8")
    return words.view(np.uint8)[:count]
