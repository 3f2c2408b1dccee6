"""Affine maps of channels, composed in float64: what 1x1 convolutions and linear layers are to the fusion."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

__all__ = ["Affine", "convolution", "folded_norm", "stacked"]


@dataclass(frozen=True, slots=True)
class Affine:
    """``y = weight @ x + bias`` for the channels of every pixel; weight [O, I] and bias [O] are float64."""

    weight: Tensor
    bias: Tensor

    @classmethod
    def of(cls, layer: nn.Conv2d | nn.Linear) -> Affine:
        """The map of a linear layer or a 1x1 convolution; one without a bias has zeros."""
        weight = layer.weight.detach().double().flatten(1)
        bias = torch.zeros(len(weight), dtype=torch.float64) if layer.bias is None else layer.bias.detach().double()
        return cls(weight, bias)

    def after(self, inner: Affine) -> Affine:
        """``self(inner(x))`` as one map."""
        return Affine(self.weight @ inner.weight, self.weight @ inner.bias + self.bias)

    def linear(self) -> Affine:
        """The same without its bias."""
        return Affine(self.weight, torch.zeros_like(self.bias))

    def columns(self, sizes: Iterable[int]) -> list[Tensor]:
        """The weight's column blocks of those sizes: what each part of a concatenated input is multiplied by."""
        return list(self.weight.split(list(sizes), dim=1))

    def as_convolution(self) -> nn.Conv2d:
        """A 1x1 convolution, in float64."""
        return convolution(self.weight[:, :, None, None], self.bias)


def stacked(*maps: Affine) -> Affine:
    """The outputs of maps of one input, one below the other."""
    return Affine(torch.cat([m.weight for m in maps]), torch.cat([m.bias for m in maps]))


def folded_norm(layer: nn.Conv2d, norm: nn.BatchNorm2d) -> Affine:
    """A 1x1 convolution and the BatchNorm after it, in evaluation, as one map.

    ``scale = w / sqrt(var + eps)``, ``weight = scale * W``, ``bias = scale * (b - mean) + b_norm``.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    before = Affine.of(layer)
    scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)
    bias = scale * (before.bias - norm.running_mean.double()) + norm.bias.detach().double()
    return Affine(scale[:, None] * before.weight, bias)


def convolution(weight: Tensor, bias: Tensor | None, *, groups: int = 1) -> nn.Conv2d:
    """A stride-1 convolution with these weights [O, I/groups, k, k] whose output has its input's size."""
    outputs, inputs, height, width = weight.shape
    layer = nn.Conv2d(
        inputs * groups,
        outputs,
        (height, width),
        padding=(height // 2, width // 2),
        groups=groups,
        bias=bias is not None,
        dtype=weight.dtype,
    )
    layer.weight = nn.Parameter(weight.contiguous(), requires_grad=False)
    if bias is not None:
        layer.bias = nn.Parameter(bias.contiguous(), requires_grad=False)
    return layer
