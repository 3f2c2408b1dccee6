"""A user's pictures as inputs of a verification, with their truth where there is one.

Each picture gets the size that fade-predict gives it, and what a run returns is brought back to the picture's size as
fade-predict does, so the scores are those of the deployed model; but alphas are not rounded to 8 bits, which would hide
small differences.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.api.verify.options import VerifyOptions
from fade_deploy.contract import Head, Task
from fade_deploy.errors import InputError
from fade_deploy.optional import require
from fade_deploy.recipe import Recipe, Shape
from fade_deploy.serve.matting_pictures import read_grey, read_trimap
from fade_deploy.serve.matting_predictor import padded
from fade_deploy.serve.pictures import read_picture
from fade_deploy.serve.predictor import labels_from_scores, network_sizes
from fade_deploy.serve.resize import resize_bilinear, resize_nearest
from fade_deploy.verification.model_inputs import model_inputs

__all__ = ["PictureInput", "deployed_alpha", "deployed_labels", "fitted_input", "picture_files", "picture_inputs"]

_ENDINGS = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureInput:
    """One picture as a model takes it."""

    path: Path
    picture: NDArray[np.uint8]  # as it is in the file, [H, W, 3]
    trimap: NDArray[np.uint8] | None  # likewise, [H, W]
    truth: NDArray[np.uint8] | None  # likewise: labels, or alpha in 0..255
    shape: Shape  # of the model's input
    tensors: Mapping[str, NDArray[Any]]


def picture_files(options: VerifyOptions, task: Task) -> list[Path]:
    """The pictures of ``--images``, by name, after a check of everything that has to lie beside them.

    Raises:
        InputError: There are none, a partner is missing, or a folder of another task was given.
    """
    for flag, folder, wanted in (
        ("--labels", options.labels, Task.SEGMENTATION),
        ("--trimaps", options.trimaps, Task.MATTING),
        ("--alphas", options.alphas, Task.MATTING),
    ):
        if folder is None:
            continue
        if task is not wanted:
            raise InputError(f"{flag} is for {wanted}, the files are for {task}: leave it out")
        if options.images is None:
            raise InputError(f"{flag} {folder} needs the pictures it belongs to: give them with --images")
    if options.max_miou_drop is not None and options.labels is None:
        raise InputError("--max-miou-drop needs the true labels of pictures: give --images and --labels")
    if options.images is None:
        return []
    files = _files(options.images, "--images")
    if task is Task.MATTING and options.trimaps is None:
        raise InputError(f"--images {options.images}: a matting model needs a trimap for each picture: give --trimaps")
    for flag, folder in (("--labels", options.labels), ("--trimaps", options.trimaps), ("--alphas", options.alphas)):
        if folder is not None:
            _partners(files, folder, flag)
    return files


def picture_inputs(
    files: list[Path], options: VerifyOptions, recipe: Recipe, *, embed_preprocess: bool, fixed: Shape | None
) -> Iterator[PictureInput]:
    """Each picture at the size that fade-predict gives it.

    Args:
        files: From :func:`picture_files`.
        options: Names the folders beside.
        recipe: Sizes and normalisation.
        embed_preprocess: Form of the tensors.
        fixed: The only shape that the files take, if there is one.
    """
    sizes: tuple[int | None, int | None] = (None, None) if fixed is None else (fixed.height, fixed.width)
    for file in files:
        picture = read_picture(file)
        trimap: NDArray[np.uint8] | None = None
        levels: NDArray[np.uint8] | None = None
        if recipe.task is Task.MATTING:
            assert options.trimaps is not None
            trimap = _of_size(picture, read_trimap(_partner(file, options.trimaps, "--trimaps")), file, "trimap")
            scaled, levels = padded(picture, trimap, multiple=recipe.size_multiple, fixed=sizes, name=str(file))
        else:
            scaled = picture
            for size in network_sizes(
                *picture.shape[:2],
                sides=(recipe.short_side, recipe.long_side),
                multiple=recipe.size_multiple,
                fixed=sizes,
            ):
                scaled = resize_bilinear(scaled, *size)
        yield PictureInput(
            path=file,
            picture=picture,
            trimap=trimap,
            truth=_truth(file, picture, options),
            shape=Shape(1, *scaled.shape[:2]),
            tensors=model_inputs(
                scaled[None],
                None if levels is None else levels[None],
                mean=recipe.mean,
                std=recipe.std,
                embed_preprocess=embed_preprocess,
            ),
        )


def _truth(file: Path, picture: NDArray[np.uint8], options: VerifyOptions) -> NDArray[np.uint8] | None:
    if options.labels is not None:
        return _of_size(picture, _read_labels(_partner(file, options.labels, "--labels")), file, "label picture")
    if options.alphas is None:
        return None
    alpha = np.rint(read_grey(_partner(file, options.alphas, "--alphas"))).astype(np.uint8)
    return _of_size(picture, alpha, file, "alpha")


def fitted_input(
    file: Path, options: VerifyOptions, recipe: Recipe, shape: Shape, *, embed_preprocess: bool
) -> dict[str, NDArray[Any]]:
    """One picture cropped to the ratio of ``shape``, resized to it and repeated for its batch, mirrored in turn."""
    picture = _fitted(read_picture(file), shape)
    pictures = np.stack([picture[:, :: (1, -1)[entry % 2]] for entry in range(shape.batch)])
    trimaps = None
    if options.trimaps is not None:
        trimap = _fitted(read_trimap(_partner(file, options.trimaps, "--trimaps")), shape)
        trimaps = np.stack([trimap[:, :: (1, -1)[entry % 2]] for entry in range(shape.batch)])
    return model_inputs(pictures, trimaps, mean=recipe.mean, std=recipe.std, embed_preprocess=embed_preprocess)


def deployed_labels(output: NDArray[Any], head: Head, network: Shape, height: int, width: int) -> NDArray[Any]:
    """The label of every pixel of the picture [height, width], as fade-predict finds them.

    Args:
        output: The head's, for one picture, without its batch axis.
        head: Of segmentation.
        network: Size of the model's input.
        height: Of the picture.
        width: Of the picture.
    """
    if head is Head.LABELS:
        return resize_nearest(output, height, width)
    return labels_from_scores(output.astype(np.float32), (network.height, network.width), (height, width))


def deployed_alpha(output: NDArray[Any], trimap: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Alpha [H, W] in 0..1 of a picture with this trimap, which counts where it is known."""
    height, width = trimap.shape
    alpha = np.clip(output[0, :height, :width].astype(np.float64), 0, 1)
    return np.where(trimap == 0, 0.0, np.where(trimap == 255, 1.0, alpha))


def _files(place: Path, flag: str) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise InputError(f"{flag} {place} is not there, expected a folder of pictures, or one picture")
    files = sorted(path for path in place.iterdir() if path.suffix.lower() in _ENDINGS and path.is_file())
    if not files:
        raise InputError(f"{flag} {place} holds no pictures, expected files that end in {', '.join(sorted(_ENDINGS))}")
    return files


def _partner(file: Path, place: Path, flag: str) -> Path:
    """What belongs to a picture: the file that was given, or the one of its stem."""
    return _partners([file], place, flag)[file]


def _partners(files: Sequence[Path], place: Path, flag: str) -> dict[Path, Path]:
    if place.is_file():
        if len(files) > 1:
            raise InputError(
                f"{flag} {place} is one picture, --images has {len(files)}: give a folder with one for each, by their "
                "names"
            )
        return {files[0]: place}
    by_stem: dict[str, list[Path]] = {}
    for path in _files(place, flag):
        by_stem.setdefault(path.stem, []).append(path)
    for file in files:
        found = by_stem.get(file.stem, [])
        if len(found) != 1:
            problem = f"has {len(found)} files" if found else "has no file"
            raise InputError(f"{flag} {place} {problem} for {file.name}, expected one named {file.stem}.png")
    return {file: by_stem[file.stem][0] for file in files}


def _of_size(picture: NDArray[np.uint8], other: NDArray[np.uint8], file: Path, what: str) -> NDArray[np.uint8]:
    """``other``, which has to have the picture's size."""
    if other.shape != picture.shape[:2]:
        raise InputError(
            f"the {what} of {file} has {other.shape[1]}x{other.shape[0]} pixels, expected "
            f"{picture.shape[1]}x{picture.shape[0]} as the picture has (width x height): give it at the picture's size"
        )
    return other


def _read_labels(path: Path) -> NDArray[np.uint8]:
    """Class numbers of an 8-bit grey or palette picture, [H, W]; 255 is unknown."""
    pillow = require("PIL.Image", extra="verify")
    try:
        with pillow.open(path) as image:
            mode, labels = image.mode, np.asarray(image)
    except (OSError, ValueError, SyntaxError, pillow.DecompressionBombError) as error:
        raise InputError(f"{path} can't be read as a label picture: give an 8-bit grey or palette PNG") from error
    if mode not in ("L", "P"):
        raise InputError(
            f"{path} is a picture of mode {mode}, expected class numbers in 8-bit grey or palette (L or P): save it so"
        )
    return labels


def _fitted(picture: NDArray[np.uint8], shape: Shape) -> NDArray[np.uint8]:
    """Cropped around the centre and resized to the nearest pixel, so that a trimap keeps its three levels."""
    height, width = picture.shape[:2]
    scale = min(height / shape.height, width / shape.width)
    rows, columns = max(1, int(shape.height * scale)), max(1, int(shape.width * scale))
    top, left = (height - rows) // 2, (width - columns) // 2
    return resize_nearest(picture[top : top + rows, left : left + columns], shape.height, shape.width)
