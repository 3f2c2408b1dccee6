"""Inputs of a verification: sample pictures at the asked shapes, as the exported file takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fade_deploy.contract import UNKNOWN, Task
from fade_deploy.errors import RecipeError
from fade_deploy.recipe import Recipe, Shape, recipe_folder
from fade_deploy.verification.model_inputs import model_inputs, normalised

__all__ = ["VerificationInput", "normalised", "verification_inputs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationInput:
    """One input batch and where it comes from."""

    shape: Shape | str  # as a report calls it
    source: str
    tensors: dict[str, NDArray[Any]]  # by input name: float32 [N, C, H, W] normalised, or uint8 [N, H, W, C]


def verification_inputs(
    recipe: Recipe, shapes: Sequence[Shape], *, embed_preprocess: bool
) -> Iterator[VerificationInput]:
    """Fill each shape with the recipe's sample pictures, cropped to its ratio and resized; for matting with a trimap.

    The entries of a batch differ: they walk the pictures, mirrored on every second round. A recipe without pictures
    gets seeded noise, which hides what only structured input shows, so the source says it. The trimap is made from the
    picture: its dark third is background, its bright third foreground, so that every value occurs, in real outlines.

    Raises:
        RecipeError: A sample picture is missing or is no picture; raised at once, not with the first batch.
    """
    pictures = [_open(name, recipe) for name in recipe.pictures]
    return _batches(recipe, pictures, shapes, embed_preprocess=embed_preprocess)


def _batches(
    recipe: Recipe, pictures: Sequence[Image.Image], shapes: Sequence[Shape], *, embed_preprocess: bool
) -> Iterator[VerificationInput]:
    for turn, shape in enumerate(shapes):
        if pictures:
            batch = np.stack([_entry(pictures, turn + entry, shape) for entry in range(shape.batch)])
            source = "sample pictures"
        else:
            batch = np.random.default_rng(turn).integers(0, 256, (shape.batch, shape.height, shape.width, 3), np.uint8)
            source = "noise"
        trimaps = np.stack([_trimap(picture) for picture in batch]) if recipe.task is Task.MATTING else None
        tensors = model_inputs(batch, trimaps, mean=recipe.mean, std=recipe.std, embed_preprocess=embed_preprocess)
        yield VerificationInput(shape=shape, source=source, tensors=tensors)


def _trimap(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 [H, W, 3] -> uint8 [H, W] in {0, 128, 255}, about a third of the pixels each."""
    brightness = picture.mean(2)
    dark, bright = np.quantile(brightness, (1 / 3, 2 / 3))
    return np.select([brightness < dark, brightness > bright], [0, 255], UNKNOWN).astype(np.uint8)


def _open(name: str, recipe: Recipe) -> Image.Image:
    try:
        with recipe_folder().joinpath(name).open("rb") as file:
            return Image.open(file).convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RecipeError(
            f"recipe '{recipe.name}' has the sample picture {name}, which can't be read as one; pictures are shipped "
            "ones or absolute paths: mend the list, or leave it empty to verify with noise"
        ) from error


def _entry(pictures: Sequence[Image.Image], index: int, shape: Shape) -> NDArray[np.uint8]:
    picture = pictures[index % len(pictures)]
    if index // len(pictures) % 2:
        picture = ImageOps.mirror(picture)
    return np.asarray(ImageOps.fit(picture, (shape.width, shape.height)), dtype=np.uint8)
