"""A2U matting with a chosen upsampler in the four slots of its decoder.

Each decoder stage doubles the feature with ``up(encoder, decoder)``, adds a convolved skip, and mixes the sum with two
residual units. The encoder features of the upsamplers are those from before the poolings, so they fit exactly.

Source: A2U matting (Dai et al., CVPR 2021); FADE (Lu et al., IJCV 2024), the matting experiment. Key names are those of
released checkpoints (``decoder_layer4.up.gate_generator.conv``, ``short3.0``, ``pred.0.0``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.contract import Task
from fade_deploy.errors import ExportError
from fade_deploy.models.a2u_encoder import A2UEncoder, conv_abn
from fade_deploy.models.abn import ABN, SLOPE
from fade_deploy.ops.registry import BILINEAR, build_upsampler

__all__ = ["STRIDE", "A2UMatting", "A2UMattingConfig", "DecoderLayer"]

STRIDE = 16  # of the coarsest feature


@dataclass(frozen=True, slots=True, kw_only=True)
class A2UMattingConfig:
    """What defines an A2U matting network; the defaults are the released one's."""

    widths: tuple[int, ...] = (64, 64, 128, 256)  # of layer0 .. layer3; the first two are equal
    blocks: tuple[int, ...] = (3, 3, 3)  # residual blocks of layer1 .. layer3, besides those that pool
    last_width: int = 32  # of the decoder at full size
    upsampler: str = BILINEAR
    kernel_size: int | None = None  # of the upsampler; None: as published, or it has none
    compressed: int | None = None  # width of its kernel generator; likewise

    def decoder_widths(self) -> tuple[tuple[int, int], ...]:
        """(width that is doubled, width after it) of decoder layers 4 .. 1; the upsamplers have the former."""
        w0, _, w2, w3 = self.widths
        return (w3, w2), (w2, w0), (w0, w0), (w0, self.last_width)


class _ResidualUnit(nn.Module):
    """Two convolutions and a shortcut, which is a 1x1 convolution where the width changes."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        conv1, bn1 = conv_abn(inputs, width, 3)
        conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.dep_sep_conv = nn.ModuleDict(  # the released name; neither convolution is separable
            {"conv1": conv1, "bn1": bn1, "conv2": conv2, "bn2": ABN(width, activation=False)}
        )
        self.projects = inputs != width
        if self.projects:
            self.proj_conv = nn.Conv2d(inputs, width, 1, bias=False)
            self.proj_bn = ABN(width, activation=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.dep_sep_conv.values():
            y = layer(y)
        shortcut = self.proj_bn(self.proj_conv(x)) if self.projects else x
        return F.leaky_relu(shortcut + y, SLOPE)


class DecoderLayer(nn.Module):
    """``(encoder, decoder, skip) -> [N, width, 2h, 2w]``: upsample, add the skip, mix."""

    def __init__(self, doubled: int, width: int, config: A2UMattingConfig) -> None:
        super().__init__()
        self.up = build_upsampler(
            config.upsampler, doubled, kernel_size=config.kernel_size, compressed=config.compressed
        )
        self.dconv = _ResidualUnit(doubled, width)
        self.dconv1 = _ResidualUnit(width, width)

    def forward(self, encoder: Tensor, decoder: Tensor, skip: Tensor) -> Tensor:
        mixed: Tensor = self.dconv1(self.dconv(self.up(encoder, decoder) + skip))
        return mixed


class A2UMatting(A2UEncoder):
    """A2U matting: normalised RGB and trimap/255, [N, 4, H, W] -> raw alpha [N, 1, H, W], unbounded.

    The encoder is a base class and no attribute because the released keys have no name for it.
    """

    NAME = "A2U matting"
    TASK = Task.MATTING
    INPUTS = 4  # channels: normalised RGB, and the trimap in 0..1
    STRIDE = STRIDE

    def __init__(self, config: A2UMattingConfig) -> None:
        super().__init__(self.INPUTS, config.widths, config.blocks)
        self.config = config
        w0, w1, w2, _ = config.widths
        layer4, layer3, layer2, layer1 = config.decoder_widths()
        self.decoder_layer4 = DecoderLayer(*layer4, config)
        self.decoder_layer3 = DecoderLayer(*layer3, config)
        self.decoder_layer2 = DecoderLayer(*layer2, config)
        self.decoder_layer1 = DecoderLayer(*layer1, config)
        self.short3 = nn.Sequential(*conv_abn(w2, layer4[0], 3))
        self.short2 = nn.Sequential(*conv_abn(w1, layer3[0], 3))
        self.short1 = nn.Sequential(*conv_abn(w0, layer2[0], 3))
        self.short0 = nn.Sequential(*conv_abn(self.INPUTS, layer1[0], 3))
        self.pred = nn.Sequential(
            nn.Sequential(*conv_abn(config.last_width, 1, 3)), nn.Conv2d(1, 1, 3, padding=1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        features = self.encode(x)
        decoded = self.decoder_layer4(features.layer3_full, features.context, self.short3(features.layer2))
        decoded = self.decoder_layer3(features.layer2_full, decoded, self.short2(features.layer1))
        decoded = self.decoder_layer2(features.layer0_pooled, decoded, self.short1(features.layer0_pooled))
        decoded = self.decoder_layer1(features.layer0, decoded, self.short0(x))
        alpha: Tensor = self.pred(decoded)
        return alpha

    def check_size(self, height: int, width: int) -> None:
        """Refuse an image size that the network can't process: each side is a multiple of 16.

        Raises:
            ExportError: The size is illegal; the message names the nearest larger legal one.
        """
        if height % STRIDE or width % STRIDE or min(height, width) < STRIDE:
            legal = [-(-max(side, 1) // STRIDE) * STRIDE for side in (height, width)]
            raise ExportError(
                f"image size {height}x{width} does not fit: each side is a multiple of {STRIDE}; the nearest larger "
                f"size is {legal[0]}x{legal[1]}"
            )
