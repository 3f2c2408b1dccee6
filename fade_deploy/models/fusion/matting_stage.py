"""A2U matting's decoder stages with their kernel logits composed and everything elementwise in one operator.

A 3x3 convolution follows each upsampler, so nothing is pushed through the reassembly here. What pays, exactly: the
compressors composed with the content encoder where that is cheaper, the gate as one more output of the decoder's
convolution, and the low-resolution logits, the blend and the skip's sum inside the operator ``FadeUpsampleAdd``.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from fade_deploy.models.a2u_matting import A2UMatting, DecoderLayer
from fade_deploy.models.fusion.affine import Affine, convolution, stacked
from fade_deploy.models.fusion.kernel_logits import composing_pays, decoder_logits, encoder_logits, is_gated
from fade_deploy.models.fusion.replaced import replacing
from fade_deploy.models.shared_weights import sharing_weights
from fade_deploy.ops.fade import FADE
from fade_deploy.ops.reassembly import SCALE, upsample_add

__all__ = ["fused_stages"]


class _SeparateOwn(nn.Module):
    """Compressor and gate as one 1x1 convolution of the decoder feature, then the content encoder."""

    def __init__(self, upsampler: FADE) -> None:
        super().__init__()
        compressor = Affine.of(upsampler.ker_generator.compressor_de)
        self.compressed = len(compressor.bias)
        self.projected = stacked(compressor, Affine.of(upsampler.gate_generator.conv)).as_convolution()
        self.content = decoder_logits(upsampler)

    def forward(self, decoder: Tensor) -> tuple[Tensor, Tensor]:
        both = self.projected(decoder)
        return self.content(both[:, : self.compressed]), both[:, self.compressed :]


class _ComposedOwn(nn.Module):
    """All as one 3x3 convolution; the gate's weights are in the middle. Nothing here has a bias but the gate."""

    def __init__(self, upsampler: FADE) -> None:
        super().__init__()
        content, compressor = decoder_logits(upsampler).weight, Affine.of(upsampler.ker_generator.compressor_de)
        gate = Affine.of(upsampler.gate_generator.conv)
        weight = torch.einsum("okyx,ki->oiyx", content, compressor.weight)
        gate_weight = torch.zeros_like(weight[:1])
        gate_weight[:, :, weight.shape[2] // 2, weight.shape[3] // 2] = gate.weight
        self.taps = len(weight)
        bias = torch.cat([torch.zeros(self.taps, dtype=torch.float64), gate.bias])
        self.composed = convolution(torch.cat([weight, gate_weight]), bias)

    def forward(self, decoder: Tensor) -> tuple[Tensor, Tensor]:
        both = self.composed(decoder)
        return both[:, : self.taps], both[:, self.taps :]


class _FusedStage(nn.Module):
    """A decoder stage ``(encoder, decoder, skip)``: one operator, then the two residual units, which stay."""

    def __init__(self, stage: DecoderLayer, upsampler: FADE, name: str) -> None:
        super().__init__()
        self.kernel_size = upsampler.kernel_size
        own = _ComposedOwn if composing_pays(upsampler) else _SeparateOwn
        self.own = replacing(own(upsampler), f"{name}.up")
        self.logits = replacing(encoder_logits([upsampler], None), f"{name}.up")
        self.dconv, self.dconv1 = stage.dconv, stage.dconv1
        replacing(self, name)

    def forward(self, encoder: Tensor, decoder: Tensor, skip: Tensor) -> Tensor:
        low_logits, gate = self.own(decoder)
        summed = upsample_add(
            decoder, self.logits(encoder), low_logits, encoder, gate, skip, kernel_size=self.kernel_size, scale=SCALE
        )
        mixed: Tensor = self.dconv1(self.dconv(summed))
        return mixed


def fused_stages(model: A2UMatting) -> A2UMatting:
    """A copy whose decoder stages with FADE or FADE-Lite are fused; any other stage stays."""
    copied = sharing_weights(model)
    dtype = next(model.parameters()).dtype
    for name, stage in list(copied.named_children()):
        if isinstance(stage, DecoderLayer) and is_gated(stage.up):
            setattr(copied, name, _FusedStage(stage, stage.up, name).to(dtype))
    return copied
