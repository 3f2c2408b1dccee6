"""SegNet with a chosen upsampler in the slots of its max-unpooling.

The encoder is VGG16's with BatchNorm; the decoder mirrors it. Each slot doubles the decoder's feature and is given the
encoder's feature of that size from before its pooling, which has the same channels. Nothing else joins the two halves:
with max-unpooling that feature tells where values go, with a learned upsampler it may tell kernels and gates.

Source: SegNet (Badrinarayanan et al., TPAMI 2017), sec. 3; VGG (Simonyan and Zisserman, ICLR 2015), table 1, D; FADE
(Lu et al., IJCV 2024) replaces max-unpooling in its toy experiments.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.errors import ExportError
from fade_deploy.ops.registry import build_upsampler

__all__ = ["UNPOOL", "MaxUnpool", "SegNet", "SegNetConfig"]

UNPOOL = "unpool"


@dataclass(frozen=True, slots=True, kw_only=True)
class SegNetConfig:
    """What defines a SegNet; the defaults are the published one's, with VGG16's encoder."""

    inputs: int = 3  # channels of the image
    outputs: int  # channels of the result: classes, or channels of a reconstruction
    widths: tuple[int, ...] = (64, 128, 256, 512, 512)  # of the stages, finest first; each stage halves
    convs: tuple[int, ...] = (2, 2, 3, 3, 3)  # of each stage, in the encoder and in the decoder
    upsampler: str = UNPOOL  # or a name of ops/registry.py
    kernel_size: int | None = None  # K of the upsampler's reassembly; None: the upsampler's own default
    compressed: int | None = None  # width of its kernel generator; None: the upsampler's own default


class MaxUnpool(nn.Module):
    """Max-unpooling: each decoder value goes where the encoder's 2x2 window has its (first) maximum, zeros elsewhere.

    Maps ``(encoder [N, C, 2h, 2w], decoder [N, C, h, w])`` to ``[N, C, 2h, 2w]``. The places are found in the encoder
    feature anew, so that this module has the interface of the learned upsamplers.

    Source: SegNet (Badrinarayanan et al., TPAMI 2017), sec. 3 and fig. 3.
    """

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        _, places = F.max_pool2d(encoder, 2, return_indices=True)
        return F.max_unpool2d(decoder, places, (2, 2))


class SegNet(nn.Module):
    """SegNet: image [N, inputs, H, W] -> raw outputs [N, outputs, H, W]; H and W are multiples of 2**stages.

    ``upsamplers[i]`` is the i-th slot, coarsest first; ``encoder`` and ``decoder`` are lists of stages, finest first.
    """

    def __init__(self, config: SegNetConfig) -> None:
        super().__init__()
        self.config = config
        widths = config.widths
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        for before, width, convs in zip((config.inputs, *widths[:-1]), widths, config.convs, strict=True):
            self.encoder.append(nn.Sequential(*_conv_norm_relu([before] + [width] * convs)))
            if self.decoder:
                layers = _conv_norm_relu([width] * convs + [before])
            else:  # the finest stage comes last and ends in plain outputs
                layers = [*_conv_norm_relu([width] * convs), nn.Conv2d(width, config.outputs, 3, padding=1)]
            self.decoder.append(nn.Sequential(*layers))
        # Built last, so that one seed gives encoder and decoder the same weights whatever the upsampler.
        self.upsamplers = nn.ModuleList(
            MaxUnpool()
            if config.upsampler == UNPOOL
            else build_upsampler(config.upsampler, width, kernel_size=config.kernel_size, compressed=config.compressed)
            for width in reversed(widths)
        )

    def forward(self, image: Tensor) -> Tensor:
        x = image
        features = []
        for stage in self.encoder:
            feature = stage(x)
            features.append(feature)
            x = F.max_pool2d(feature, 2)
        for upsampler, feature, stage in zip(self.upsamplers, reversed(features), reversed(self.decoder), strict=True):
            x = stage(upsampler(feature, x))
        return x

    def check_size(self, height: int, width: int) -> None:
        """Refuse an image size that the network can't process: each stage halves exactly.

        Raises:
            ExportError: The size is illegal; the message names the nearest larger legal one.
        """
        stride = 2 ** len(self.config.widths)
        if min(height, width) < stride or height % stride or width % stride:
            legal = [-(-max(side, stride) // stride) * stride for side in (height, width)]
            raise ExportError(
                f"image size {height}x{width} does not fit: SegNet with {len(self.config.widths)} stages takes "
                f"multiples of {stride}; the nearest larger size is {legal[0]}x{legal[1]}"
            )


def _conv_norm_relu(widths: Sequence[int]) -> list[nn.Module]:
    """3x3 convolution, BatchNorm and ReLU from each width to the next, as in VGG16 with BatchNorm."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
    return layers
