"""Activated batch normalisation as InPlaceABN computes it, for the weights that were trained with it.

Source: REFERENCE facts of mapillary/inplace_abn; every release, CPU and CUDA, in training and evaluation.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.models.shared_weights import sharing_weights

__all__ = ["ABN", "SLOPE", "folded"]

SLOPE = 0.01  # of the leaky ReLU


class ABN(nn.BatchNorm2d):
    """``y = leaky_relu((x - mean) / sqrt(var + eps) * (|w| + eps) + b)`` per channel, eps 1e-5, slope 0.01.

    The absolute value and the eps on the weight are InPlaceABN's (its backward inverts the norm): with ``w`` alone
    results move by 7e-5 for positive weights, and by the size of the signal for negative ones.

    Args:
        channels: C of [N, C, H, W].
        activation: False leaves the leaky ReLU out.
    """

    def __init__(self, channels: int, *, activation: bool = True) -> None:
        super().__init__(channels, eps=1e-5)
        self.activation = activation

    def scale(self) -> Tensor:
        """What the normalised value is multiplied by: ``|w| + eps``, [C]."""
        return self.weight.abs() + self.eps

    def forward(self, x: Tensor) -> Tensor:
        y = F.batch_norm(
            x, self.running_mean, self.running_var, self.scale(), self.bias, self.training, self.momentum or 0, self.eps
        )
        return F.leaky_relu(y, SLOPE) if self.activation else y


class _FoldedABN(ABN):
    """An ABN in evaluation whose weight already is the scale: a plain BatchNorm, which every runtime folds."""

    def scale(self) -> Tensor:
        return self.weight


def folded(model: nn.Module) -> nn.Module:
    """A copy of ``model`` in which every ABN is a plain BatchNorm with the weight ``|w| + eps``: exactly equal."""
    copied = sharing_weights(model)
    for module in copied.modules():
        if type(module) is ABN:
            module.weight = nn.Parameter(module.scale().detach(), requires_grad=False)
            module.__class__ = _FoldedABN
    return copied
