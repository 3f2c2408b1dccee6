"""A picture through an exported file to a label picture on disk."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fade_deploy import artefact
from fade_deploy.errors import OutputError
from fade_deploy.serve.pictures import label_picture, overlay_picture, palette_for, png_bytes, read_picture
from fade_deploy.serve.predictor import Predictor

__all__ = ["Prediction", "predict"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """What was found in one picture."""

    output: Path
    height: int
    width: int
    shares: dict[str, float]  # class name -> share of the pixels, largest first
    seconds: float  # of the prediction alone, without loading the model


def predict(
    model: Path | str,
    picture: Path | str,
    output: Path | str | None = None,
    *,
    overlay: bool = False,
    threads: int = 0,
    force: bool = False,
) -> Prediction:
    """Label every pixel of ``picture`` and write the result as a PNG of the picture's size.

    Args:
        model: A segmentation file that fade-export wrote.
        picture: Any picture Pillow reads.
        output: By default the picture's stem with ``.labels.png`` (or ``.overlay.png``) in the current folder.
        overlay: Write the picture with the classes laid over it; else a palette PNG whose values are the labels.
        threads: Of ONNX Runtime; 0 lets it choose.
        force: Replace an existing file.

    Raises:
        FadeDeployError: The user can mend it; nothing was written.
    """
    picture = Path(picture)
    target = Path(output) if output is not None else Path(f"{picture.stem}.{'overlay' if overlay else 'labels'}.png")
    if target.suffix.lower() != ".png":
        raise OutputError(f"{target} does not end in .png, which is what is written; give another name with -o")
    artefact.check_target(target, force=force)
    pixels = read_picture(picture)
    start = time.perf_counter()
    predictor = Predictor(model, threads=threads)
    logger.info("load: %s (%.1f s)", Path(model).name, time.perf_counter() - start)
    start = time.perf_counter()
    labels = predictor.predict(pixels)
    seconds = time.perf_counter() - start
    palette = palette_for(len(predictor.classes), predictor.palette)
    image = overlay_picture(pixels, labels, palette) if overlay else label_picture(labels, palette)
    artefact.write(target, png_bytes(image))
    height, width = labels.shape
    logger.info("predict: %dx%d pixels (%.1f s)", width, height, seconds)
    return Prediction(
        output=target, height=height, width=width, shares=_shares(labels, predictor.classes), seconds=seconds
    )


def _shares(labels: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    counts = np.bincount(labels.ravel(), minlength=len(classes))
    order = np.argsort(-counts, kind="stable")
    shares: dict[str, float] = {}
    for index in order[counts[order] > 0]:
        name = classes[index]  # two classes may have one name
        shares[name] = shares.get(name, 0.0) + float(counts[index] / labels.size)
    return shares
