"""A picture through an exported file to a picture on disk: labels, an overlay, an alpha matte or a cut-out."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from fade_deploy import artefact
from fade_deploy.contract import UNKNOWN, Task
from fade_deploy.errors import InputError, OutputError
from fade_deploy.provider import Provider
from fade_deploy.runtimes.native_libraries import AUTOMATIC
from fade_deploy.serve.deployed_file import DeployedFile
from fade_deploy.serve.matting_pictures import alpha_picture, cutout_picture, read_background, read_grey
from fade_deploy.serve.matting_predictor import MattingPredictor, three_levels
from fade_deploy.serve.pictures import label_picture, overlay_picture, palette_for, png_bytes, read_picture
from fade_deploy.serve.predictor import Predictor

__all__ = ["Prediction", "predict"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What was found in one picture.

    Of a matting model the shares are ``foreground``, the mean of alpha in 0..1, and ``unknown``, the part of the
    trimap that the model had to find out.
    """

    output: Path
    height: int
    width: int
    shares: dict[str, float]  # class name -> share of the pixels, largest first
    seconds: float  # of the prediction alone, without loading the model
    notes: tuple[str, ...] = ()  # what looks like a mistake in the trimap


def predict(
    model: Path | str,
    picture: Path | str,
    output: Path | str | None = None,
    *,
    overlay: bool = False,
    trimap: Path | str | None = None,
    background: Path | str | None = None,
    threads: int = 0,
    provider: Provider | str = Provider.CPU,
    library: Path | str = AUTOMATIC,
    force: bool = False,
) -> Prediction:
    """Predict ``picture`` and write the result as a PNG of its size: labels or, of a matting model, alpha.

    Args:
        model: A file that fade-export wrote, for segmentation or matting.
        picture: Any picture Pillow reads.
        output: By default the picture's stem with ``.labels.png``, ``.overlay.png``, ``.alpha.png`` or ``.cutout.png``
            in the current folder.
        overlay: Segmentation: write the picture with the classes laid over it; else a palette PNG whose values are the
            labels.
        trimap: Matting, and needed there: a picture of the same size in which 0 is background, 255 foreground and any
            other value unknown.
        background: Matting: a colour or a picture; write ``alpha * picture + (1 - alpha) * background``, with the
            picture's own colours and no foreground estimation, instead of alpha as 8-bit grey.
        threads: Of ONNX Runtime; 0 lets it choose.
        provider: Where ONNX Runtime computes: ``cpu``, ``cuda`` or ``tensorrt``.
        library: Native operators: ``auto``, the installed ones, if there are; ``none``; or a library's path.
        force: Replace an existing file.

    Raises:
        FadeDeployError: The user can mend it; nothing was written.
    """
    start = time.perf_counter()
    file = DeployedFile(model, threads=threads, provider=provider, library=library)
    logger.info("load: %s (%.1f s)", Path(model).name, time.perf_counter() - start)
    picture = Path(picture)
    if file.task is Task.SEGMENTATION:
        for option, value in (("--trimap", trimap), ("--background", background)):
            if value is not None:
                raise InputError(f"{model} is a segmentation model, {option} is for a matting model: leave it out")
        target = _target(
            picture, output, "overlay" if overlay else "labels", {"picture": picture, "model": model}, force=force
        )
        return _predict_labels(file, picture, target, overlay=overlay)
    if overlay:
        raise InputError(
            f"{model} is a matting model, --overlay is for a segmentation model: leave it out, or give --background"
        )
    if trimap is None:
        raise InputError(
            f"{model} is a matting model and needs a trimap, a picture that is white where the foreground is certain, "
            "black where the background is, and grey between: give one with --trimap"
        )
    given = {"picture": picture, "model": model, "trimap": trimap, "background": background}
    target = _target(picture, output, "alpha" if background is None else "cutout", given, force=force)
    return _predict_alpha(file, picture, Path(trimap), target, background=background)


def _target(
    picture: Path, output: Path | str | None, kind: str, given: Mapping[str, Path | str | None], *, force: bool
) -> Path:
    target = Path(output) if output is not None else Path(f"{picture.stem}.{kind}.png")
    if target.suffix.lower() != ".png":
        raise OutputError(f"{target} does not end in .png, which is what is written; give another name with -o")
    for what, path in given.items():  # --force is for results of before, never for what this one is made of
        if path is not None and artefact.is_same_file(target, path):
            raise OutputError(
                f"{target} is the {what} itself, expected another file to write: give another name with -o"
            )
    artefact.check_target(target, force=force)
    return target


def _predict_labels(file: DeployedFile, picture: Path, target: Path, *, overlay: bool) -> Prediction:
    predictor = Predictor(file)
    pixels = read_picture(picture)
    start = time.perf_counter()
    labels = predictor.predict(pixels)
    seconds = time.perf_counter() - start
    palette = palette_for(len(predictor.classes), predictor.palette)
    image = overlay_picture(pixels, labels, palette) if overlay else label_picture(labels, palette)
    artefact.write(target, png_bytes(image))
    return _prediction(target, labels, _shares(labels, predictor.classes), seconds)


def _predict_alpha(
    file: DeployedFile, picture: Path, trimap: Path, target: Path, *, background: Path | str | None
) -> Prediction:
    predictor = MattingPredictor(file)
    pixels = read_picture(picture)
    grey = read_grey(trimap)
    levels = three_levels(grey)
    behind = None if background is None else read_background(str(background), *pixels.shape[:2])
    start = time.perf_counter()
    alpha = predictor.predict(pixels, levels)
    seconds = time.perf_counter() - start
    image = alpha_picture(alpha) if behind is None else cutout_picture(pixels, alpha, behind)
    artefact.write(target, png_bytes(image))
    shares = {"foreground": float(alpha.mean() / 255), "unknown": float((levels == UNKNOWN).mean())}
    return replace(
        _prediction(target, alpha, shares, seconds), notes=_trimap_notes(np.unique(grey).size, shares["unknown"])
    )


def _trimap_notes(greys: int, unknown: float) -> tuple[str, ...]:
    notes = []
    if greys > 3:
        notes.append(
            f"the trimap has {greys} grey levels, and all but 0 and 255 count as unknown: if that is not meant, save "
            "it as PNG, not JPEG"
        )
    if unknown in (0, 1):
        notes.append(f"the trimap leaves {'everything' if unknown else 'nothing'} to decide")
    return tuple(notes)


def _prediction(target: Path, result: np.ndarray, shares: dict[str, float], seconds: float) -> Prediction:
    height, width = result.shape
    logger.info("predict: %dx%d pixels (%.1f s)", width, height, seconds)
    return Prediction(output=target, height=height, width=width, shares=shares, seconds=seconds)


def _shares(labels: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    shares: dict[str, float] = {}
    for index in order[counts[order] > 0]:
        name = classes[index]  # two classes may have one name
        shares[name] = shares.get(name, 0.0) + float(counts[index] / labels.size)
    return shares
