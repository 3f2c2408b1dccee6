"""Inputs of a verification: sample pictures at the asked shapes, as the exported file takes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from fade_deploy.errors import RecipeError
from fade_deploy.recipe import Recipe, Shape, recipe_folder

__all__ = ["VerificationInput", "normalised", "verification_inputs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerificationInput:
    """One input batch and where it comes from."""

    shape: Shape
    source: str
    image: NDArray[np.generic]  # float32 [N, 3, H, W] normalised, or uint8 [N, H, W, 3]


def verification_inputs(
    recipe: Recipe, shapes: Sequence[Shape], *, embed_preprocess: bool
) -> Iterator[VerificationInput]:
    """Fill each shape with the recipe's sample pictures, cropped to its ratio and resized.

    The entries of a batch differ: they walk the pictures, mirrored on every second round. A recipe without pictures
    gets seeded noise, which hides what only structured input shows, so the source says it.

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
        yield VerificationInput(
            shape=shape, source=source, image=batch if embed_preprocess else normalised(batch, recipe.mean, recipe.std)
        )


def normalised(pictures: NDArray[np.uint8], mean: Sequence[float], std: Sequence[float]) -> NDArray[np.float32]:
    """uint8 [N, H, W, 3] -> float32 [N, 3, H, W]: ``(x - mean) / std``."""
    scaled = (pictures.astype(np.float32) - np.asarray(mean, np.float32)) / np.asarray(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


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
