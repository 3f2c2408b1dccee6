"""The models of the released sizes, with golden weights: values that a recipe gives, since none were ever published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fade_deploy.contract import Head, Task
from tests import golden_weights

__all__ = ["MODELS", "BenchmarkModel", "ImageAndTrimap", "inputs_of", "network", "output_shape", "saved_checkpoint"]

_CLASSES = 150  # ADE20K


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkModel:
    """One network; ``backbone`` is empty for matting."""

    title: str
    backbone: str = ""

    @property
    def task(self) -> Task:
        return Task.SEGMENTATION if self.backbone else Task.MATTING

    @property
    def head(self) -> Head:
        """What its files return: the network's own output, so that nothing is clipped where results are compared."""
        return Head.LOGITS if self.backbone else Head.RAW


MODELS = {
    "segformer-b0": BenchmarkModel(title="SegFormer-B0", backbone="mit_b0"),
    "segformer-b1": BenchmarkModel(title="SegFormer-B1", backbone="mit_b1"),
    "segformer-b2": BenchmarkModel(title="SegFormer-B2", backbone="mit_b2"),
    "segformer-b5": BenchmarkModel(title="SegFormer-B5", backbone="mit_b5"),
    "a2u-matting": BenchmarkModel(title="A2U matting"),
}


class ImageAndTrimap(nn.Module):
    """A matting network as its file takes its inputs: ``(image [N, 3, H, W], trimap [N, 1, H, W])``."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: Tensor, trimap: Tensor) -> Tensor:
        alpha: Tensor = self.model(torch.cat([image, trimap], 1))
        return alpha


def network(model: BenchmarkModel, upsampler: str) -> nn.Module:
    """The eager network in eval mode, with golden weights; it takes what its file takes."""
    if model.task is Task.MATTING:
        return ImageAndTrimap(golden_weights.matting(upsampler)).eval()
    return golden_weights.segformer(model.backbone, upsampler, classes=_CLASSES)


def saved_checkpoint(model: BenchmarkModel, upsampler: str, path: Path) -> None:
    """Write the weights as a checkpoint that ``fade-export`` reads."""
    made = network(model, upsampler)
    weights = made.model if isinstance(made, ImageAndTrimap) else made
    torch.save({"meta": {}, "state_dict": weights.state_dict()}, path)


def inputs_of(task: Task, *, batch: int, height: int, width: int) -> dict[str, NDArray[np.float32]]:
    """Seeded noise as a normalised image and, for matting, a trimap in {0, 128/255, 1}."""
    generator = np.random.default_rng(0)
    inputs = {"image": generator.standard_normal((batch, 3, height, width), dtype=np.float32)}
    if task is Task.MATTING:
        levels = np.array([0, 128 / 255, 1], dtype=np.float32)
        inputs["trimap"] = generator.choice(levels, (batch, 1, height, width))
    return inputs


def output_shape(task: Task, *, batch: int, height: int, width: int) -> tuple[int, ...]:
    """Of what :func:`network` returns."""
    if task is Task.MATTING:
        return batch, 1, height, width
    return batch, _CLASSES, height // 4, width // 4
