"""What a user deploys: a model with its head, and with its preprocessing where asked."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.contract import Head

__all__ = ["DeployedSegmentation"]


class DeployedSegmentation(nn.Module):
    """A segmentation model as a file holds it.

    ``logits`` float32 [N, classes, H/4, W/4]; ``probs`` float32 [N, classes, H, W], softmax of the logits resized
    (bilinear, align_corners False) to the input size; ``labels`` int64 [N, H, W], their argmax.

    Args:
        model: Normalised RGB image [N, 3, H, W] -> logits at 1/4.
        head: What to return.
        mean: Per channel of RGB, on 0..255.
        std: Likewise.
        embed_preprocess: Take uint8 [N, H, W, 3] RGB and normalise inside; else float32 [N, 3, H, W], normalised.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        *,
        head: Head,
        mean: tuple[float, float, float],
        std: tuple[float, float, float],
        embed_preprocess: bool,
    ) -> None:
        super().__init__()
        self.model = model
        self.head = head
        self.embed_preprocess = embed_preprocess
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1))

    def class_scores(self, image: Tensor) -> Tensor:
        """What the labels are the argmax of: resized logits [N, classes, H, W], or the logits themselves."""
        if self.embed_preprocess:
            image = (image.permute(0, 3, 1, 2).to(self.mean.dtype) - self.mean) / self.std
        logits: Tensor = self.model(image)
        if self.head is Head.LOGITS:
            return logits
        return F.interpolate(logits, size=image.shape[2:], mode="bilinear", align_corners=False)

    def from_scores(self, scores: Tensor) -> Tensor:
        """The head's output from the class scores."""
        match self.head:
            case Head.LOGITS:
                return scores
            case Head.PROBS:
                return scores.softmax(1)
            case Head.LABELS:
                return scores.argmax(1)

    def forward(self, image: Tensor) -> Tensor:
        return self.from_scores(self.class_scores(image))
