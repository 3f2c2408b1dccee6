"""The semi-shift convolution's two halves, composed with the 1x1 convolutions before them.

``logits = E(C_en(encoder)) + nearest2(E(C_de(decoder)))``: the encoder's half takes the feature that the encoder was
projected from; the decoder's half takes compressed channels that travelled with the decoder feature.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeGuard

import torch
from torch import Tensor, nn

from fade_deploy.models.fusion.affine import Affine, convolution
from fade_deploy.ops.fade import FADE, FADELite, SemiShiftUp

__all__ = ["SemiShift", "are_alike", "composing_pays", "decoder_logits", "encoder_logits", "is_gated", "is_semi_shift"]


SemiShift = FADE | SemiShiftUp  # FADELite is a FADE


def is_semi_shift(module: nn.Module) -> TypeGuard[SemiShift]:
    """Whether it is FADE, FADE-Lite or SemiShiftUp itself: a subclass may compute another function."""
    return type(module) in (FADE, FADELite, SemiShiftUp)


def is_gated(module: nn.Module) -> TypeGuard[FADE]:
    """Whether it is FADE or FADE-Lite itself."""
    return type(module) in (FADE, FADELite)


class _SeparateLogits(nn.Module):
    """1x1 convolution, then the content encoder: cheapest where the input is wider than the compressed feature."""

    def __init__(self, compressor: Affine, content: nn.Conv2d) -> None:
        super().__init__()
        self.compressor = compressor.as_convolution()
        self.content = content

    def forward(self, feature: Tensor) -> Tensor:
        logits: Tensor = self.content(self.compressor(feature))
        return logits


class _ComposedLogits(nn.Module):
    """Both as one 3x3 convolution.

    The content encoder pads *after* the compressor, so at the border the compressor's bias is missing with the pixels
    that carry it. A second convolution, of one channel of ones, puts that bias exactly where it belongs.
    """

    def __init__(self, weight: Tensor, bias: Tensor, border: Tensor) -> None:
        super().__init__()
        self.composed = convolution(weight, bias)
        self.border = convolution(border, None)

    def forward(self, feature: Tensor) -> Tensor:
        ones = feature.new_ones(1, 1, *feature.shape[2:])  # by its size alone: a slice would copy the batch
        logits: Tensor = self.composed(feature) + self.border(ones)
        return logits


class _Concatenated(nn.Module):
    """Logits of several upsamplers of one feature, where one convolution would cost more."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, feature: Tensor) -> Tensor:
        return torch.cat([part(feature) for part in self.parts], 1)


def encoder_logits(upsamplers: Sequence[SemiShift], projection: Affine | None) -> nn.Module:
    """The encoder's half for upsamplers that share one encoder: feature [N, I, H, W] -> [N, T*K*K, H, W].

    The content encoder's bias counts in both halves of the reference; here it is all in this one.

    Args:
        upsamplers: T modules for which :func:`is_semi_shift` holds.
        projection: From the given feature to the encoder feature; None where it is the encoder feature.
    """
    compressors = [Affine.of(upsampler.ker_generator.compressor_en) for upsampler in upsamplers]
    if projection is not None:
        compressors = [compressor.after(projection) for compressor in compressors]
    contents = [_content(upsampler, bias_times=2) for upsampler in upsamplers]
    if all(content.groups > 1 for content in contents):
        # Depth-wise: the upsamplers' channels never meet, so all are one layer.
        weight = torch.cat([content.weight for content in contents])
        bias = torch.cat([_bias(content) for content in contents])
        together = convolution(weight, bias, groups=len(weight))
        stacked = Affine(torch.cat([c.weight for c in compressors]), torch.cat([c.bias for c in compressors]))
        return _SeparateLogits(stacked, together)
    inputs = compressors[0].weight.shape[1]
    if all(_cheaper_composed(content, inputs) for content in contents):
        pairs = list(zip(contents, compressors, strict=True))
        weight = torch.cat([torch.einsum("okyx,ki->oiyx", content.weight, c.weight) for content, c in pairs])
        border = torch.cat([torch.einsum("okyx,k->oyx", content.weight, c.bias) for content, c in pairs])
        return _ComposedLogits(weight, torch.cat([_bias(content) for content in contents]), border[:, None])
    parts = [_SeparateLogits(compressor, content) for compressor, content in zip(compressors, contents, strict=True)]
    return parts[0] if len(parts) == 1 else _Concatenated(parts)


def are_alike(upsamplers: Iterable[nn.Module]) -> bool:
    """Whether all are semi-shift upsamplers of one kernel size, and all have a gate or none has."""
    kinds = {(module.kernel_size, is_gated(module)) if is_semi_shift(module) else None for module in upsamplers}
    return len(kinds) == 1 and None not in kinds


def composing_pays(upsampler: SemiShift) -> bool:
    """Whether its compressors, on features of its own width, are cheaper as a part of the 3x3 convolution."""
    compressor = upsampler.ker_generator.compressor_de
    return _cheaper_composed(upsampler.ker_generator.content_encoder, compressor.in_channels)


def decoder_logits(upsampler: SemiShift) -> nn.Conv2d:
    """The decoder's half, of the compressed decoder channels [N, d, h, w] -> [N, K*K, h, w]; it has no bias."""
    return _content(upsampler, bias_times=0)


def _content(upsampler: SemiShift, *, bias_times: int) -> nn.Conv2d:
    content = upsampler.ker_generator.content_encoder
    bias = _bias(content).detach().double() * bias_times if bias_times else None
    return convolution(content.weight.detach().double(), bias, groups=content.groups)


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias


def _cheaper_composed(content: nn.Conv2d, inputs: int) -> bool:
    """Fewer multiplications a pixel as one 3x3 convolution from ``inputs`` channels than as a 1x1 and a 3x3."""
    taps = content.weight[0, 0].numel()
    separate = inputs * content.in_channels + content.weight.numel()
    return content.groups == 1 and taps * inputs * content.out_channels < separate
