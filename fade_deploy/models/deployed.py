"""What a user deploys: a model with its head, and with its preprocessing where asked."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.contract import Head
from fade_deploy.models.a2u_matting import A2UMatting
from fade_deploy.models.segformer import SegFormer
from fade_deploy.recipe import Recipe, Shape

__all__ = ["Deployed", "DeployedMatting", "DeployedSegmentation"]


class Deployed(nn.Module, ABC):
    """A model as a file holds it; its inputs are float32 [N, C, H, W], or uint8 [N, H, W, C] with preprocessing.

    Args:
        model: In eval mode.
        head: What to return.
        recipe: Gives mean and std, per channel of RGB, on 0..255.
        embed_preprocess: Take uint8 [N, H, W, C] and normalise inside.
    """

    CHANNELS: ClassVar[dict[str, int]] = {"image": 3}  # input name -> C
    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, *, head: Head, recipe: Recipe, embed_preprocess: bool) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.recipe = recipe
        self.embed_preprocess = embed_preprocess
        self.register_buffer("mean", torch.tensor(recipe.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(recipe.std).view(1, 3, 1, 1))

    def example(self, shape: Shape) -> dict[str, Tensor]:
        """Inputs of that shape, all zero."""
        if self.embed_preprocess:
            return {
                name: torch.zeros(shape.batch, shape.height, shape.width, channels, dtype=torch.uint8)
                for name, channels in self.CHANNELS.items()
            }
        return {
            name: torch.zeros(shape.batch, channels, shape.height, shape.width)
            for name, channels in self.CHANNELS.items()
        }

    def dynamic_axes(self) -> dict[str, dict[int, str]]:
        """Input name -> axis -> name of its dimension."""
        rows, columns = (1, 2) if self.embed_preprocess else (2, 3)
        return {name: {0: "batch", rows: "height", columns: "width"} for name in self.CHANNELS}

    @abstractmethod
    def output_shape(self, shape: Shape | None) -> tuple[int | str, ...]:
        """Of the file's output, for a fixed shape or by names."""

    def with_model(self, model: nn.Module) -> Self:
        """The same deployment of another model."""
        other = type(self)(model, head=self.head, recipe=self.recipe, embed_preprocess=self.embed_preprocess)
        return other.eval()

    def normalised(self, image: Tensor) -> Tensor:
        """float32 [N, 3, H, W], as the model takes it."""
        if not self.embed_preprocess:
            return image
        return (image.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std


class DeployedSegmentation(Deployed):
    """Normalised RGB image -> class logits, labels or probabilities.

    ``logits`` float32 [N, classes, H/4, W/4]; ``probs`` float32 [N, classes, H, W], softmax of the logits resized
    (bilinear, align_corners False) to the input size; ``labels`` int64 [N, H, W], their argmax.
    """

    model: SegFormer

    def output_shape(self, shape: Shape | None) -> tuple[int | str, ...]:
        classes = self.model.config.classes
        batch, height, width = shape.sizes if shape else ("batch", "height", "width")
        if self.head is Head.LABELS:
            return batch, height, width
        if self.head is Head.PROBS:
            return batch, classes, height, width
        if shape is None:
            return batch, classes, "height/4", "width/4"
        return batch, classes, -(-shape.height // 4), -(-shape.width // 4)

    def class_scores(self, image: Tensor) -> Tensor:
        """What the labels are the argmax of: resized logits [N, classes, H, W], or the logits themselves."""
        image = self.normalised(image)
        logits: Tensor = self.model(image)
        if self.head is Head.LOGITS:
            return logits
        return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=False)

    def from_scores(self, scores: Tensor) -> Tensor:
        """The head's output from the class scores."""
        if self.head is Head.PROBS:
            return scores.softmax(1)
        return scores.argmax(1) if self.head is Head.LABELS else scores

    def forward(self, image: Tensor) -> Tensor:
        return self.from_scores(self.class_scores(image))


class DeployedMatting(Deployed):
    """Normalised RGB image and trimap in {0, 128/255, 1} -> alpha [N, 1, H, W].

    ``raw`` is the network's own, unbounded; ``alpha`` is clipped to 0..1 and, where the trimap is known (below 0.5/255
    or above 254.5/255), the trimap.
    """

    CHANNELS: ClassVar[dict[str, int]] = {"image": 3, "trimap": 1}
    model: A2UMatting

    def output_shape(self, shape: Shape | None) -> tuple[int | str, ...]:
        batch, height, width = shape.sizes if shape else ("batch", "height", "width")
        return batch, 1, height, width

    def forward(self, image: Tensor, trimap: Tensor) -> Tensor:
        if self.embed_preprocess:
            trimap = trimap.permute(0, 3, 1, 2).to(self.mean.dtype) / 255
        raw: Tensor = self.model(torch.cat([self.normalised(image), trimap], 1))
        if self.head is Head.RAW:
            return raw
        alpha = torch.where(trimap > 254.5 / 255, 1.0, raw.clamp(0, 1))
        return torch.where(trimap < 0.5 / 255, 0.0, alpha)
