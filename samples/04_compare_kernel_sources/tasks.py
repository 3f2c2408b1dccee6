"""The two toy tasks: what is composed for them, their networks, losses, schedules and scores."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import scenes
import torch
import torch.nn.functional as F
from torch import Tensor
from training import Pairs, Schedule, Task

from fade_deploy.models.segnet import SegNetConfig
from fade_deploy.verification.reconstruction_scores import reconstruction_scores
from fade_deploy.verification.segmentation_scores import SegmentationScores

__all__ = ["labels_scores", "normalised", "painter", "reconstruction", "segmentation"]

_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB in 0..1
_HELD_OUT_SEED = 1_000_000  # far from any training seed; the held-out photographs are others, too
# A SegNet of about 0.1 million parameters; four stages bring pictures of 48 and 32 pixels to 3 and 2.
_WIDTHS, _CONVS, _COMPRESSED = (8, 16, 32, 48), (2, 2, 2, 2), 16


def segmentation(*, seed: int, quick: bool) -> Task:
    """Five classes of composed shapes over photographs, RGB pictures of 48x48."""
    training, held_out = _composed(scenes.shapes, seed=seed, counts=(24, 8) if quick else (3000, 200), side=48)
    classes = len(scenes.CLASSES)
    return Task(
        name="segmentation",
        training=Pairs(images=normalised(training[0]), truths=torch.from_numpy(training[1]).long()),
        held_out=Pairs(images=normalised(held_out[0]), truths=torch.from_numpy(held_out[1]).long()),
        model=SegNetConfig(outputs=classes, widths=_WIDTHS, convs=_CONVS, compressed=_COMPRESSED),
        schedule=_one_cycle(epochs=1 if quick else 3),
        loss=F.cross_entropy,
        scores=labels_scores,
        paint=painter(scenes.PALETTE),
        tile=96,
    )


def reconstruction(*, seed: int, quick: bool) -> Task:
    """The picture itself from the picture: grey things of 32x32."""
    training, held_out = (
        torch.from_numpy(pictures[:, None] / np.float32(255))
        for pictures, _ in _composed(scenes.thing, seed=seed, counts=(24, 8) if quick else (3000, 200), side=32)
    )
    return Task(
        name="reconstruction",
        training=Pairs(images=training, truths=training),
        held_out=Pairs(images=held_out, truths=held_out),
        model=SegNetConfig(inputs=1, outputs=1, widths=_WIDTHS, convs=_CONVS, compressed=_COMPRESSED),
        schedule=_one_cycle(epochs=1 if quick else 4),
        loss=F.mse_loss,
        scores=_picture_scores,
        paint=lambda picture: np.round(255 * picture[0].clip(0, 1).numpy()).astype(np.uint8),
        tile=96,
    )


def normalised(pictures: np.ndarray) -> Tensor:
    """RGB [M, H, W, 3] in 0..255 -> float32 [M, 3, H, W] with ImageNet's mean and deviation."""
    return torch.from_numpy(((pictures / 255 - _MEAN) / _STD).astype(np.float32)).permute(0, 3, 1, 2)


def labels_scores(logits: Tensor, truths: Tensor) -> dict[str, float]:
    """mIoU and boundary IoU of logits [M, classes, H, W] against labels [M, H, W]."""
    scores = SegmentationScores(logits.shape[1])
    for predicted, truth in zip(logits.argmax(1).numpy(), truths.numpy(), strict=True):
        scores.add(predicted, truth)
    return {"mIoU": scores.mean_iou(), "bIoU": scores.boundary_iou()}


def painter(palette: Sequence[tuple[int, int, int]]) -> Callable[[Tensor], np.ndarray]:
    """Logits [classes, H, W] or labels [H, W] -> RGB."""
    colours = np.array(palette, np.uint8)
    return lambda labels: colours[(labels.argmax(0) if labels.ndim == 3 else labels).numpy()]


def _picture_scores(pictures: Tensor, truths: Tensor) -> dict[str, float]:
    """Means over the pictures, by the names of the table; [M, 1, H, W] in 0..1, where the network leaves it clipped."""
    scores = [
        reconstruction_scores(picture[0], truth[0])
        for picture, truth in zip(pictures.clip(0, 1).numpy(), truths.numpy(), strict=True)
    ]
    names = ("psnr", "ssim", "mae", "rmse", "mse")
    return {name.upper(): float(np.mean([getattr(of_one, name) for of_one in scores])) for name in names}


def _composed(compose: scenes.Compose, *, seed: int, counts: tuple[int, int], side: int) -> tuple[tuple, tuple]:
    """Pictures and truths for training and held out, of other photographs and another seed."""
    return (
        scenes.compose_many(compose, scenes.TRAINING, seed=seed, count=counts[0], side=side),
        scenes.compose_many(compose, scenes.HELD_OUT, seed=_HELD_OUT_SEED, count=counts[1], side=side),
    )


def _one_cycle(*, epochs: int) -> Schedule:
    """Adam in batches of 8, with a short warm-up and a linear decay to nothing."""
    return Schedule(
        epochs=epochs,
        batch=8,
        optimiser=lambda parameters: torch.optim.Adam(parameters, lr=4e-3),
        factor=lambda epoch: min(0.02 + 10 * epoch, 1 - epoch / epochs),
    )
