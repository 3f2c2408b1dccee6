"""SegFormer with a chosen upsampler in the six slots of its head.

The head projects the four backbone features to one width E, brings them to 1/4 and mixes them. Upsamplers take
``(encoder, decoder)`` and double the decoder's size, so the feature of 1/32 walks c3, c2, c1; that of 1/16 walks
c2, c1; that of 1/8 takes c1. Bilinear resizes each directly.

Source: SegFormer (Xie et al., NeurIPS 2021), sec. 3.2; FADE (Lu et al., IJCV 2024), fig. on the SegFormer slots.
Key names are those of released checkpoints (``decode_head.linear_c4.proj``, ``decode_head.upsamplers.0``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.contract import Task
from fade_deploy.errors import ExportError
from fade_deploy.models.mix_transformer import MixTransformer, MixTransformerConfig
from fade_deploy.ops.registry import BILINEAR, build_upsampler

__all__ = ["CHAINS", "STRIDE", "SegFormer", "SegFormerConfig", "SegFormerHead"]

STRIDE = 32  # of the coarsest feature
# (decoder feature, the encoder features it walks), counting features from 1 at stride 4; one upsampler a step.
CHAINS = ((4, (3, 2, 1)), (3, (2, 1)), (2, (1,)))


@dataclass(frozen=True, slots=True, kw_only=True)
class SegFormerConfig:
    """What defines a SegFormer."""

    backbone: MixTransformerConfig
    embed_width: int
    classes: int
    upsampler: str = BILINEAR
    kernel_size: int | None = None  # K of the upsampler's reassembly; None: as published, or it has none
    compressed: int | None = None  # width of its kernel generator; likewise


class _Linear(nn.Module):
    """A linear layer per pixel; its key is ``linear_c{i}.proj``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inputs, outputs)

    def forward(self, feature: Tensor) -> Tensor:
        return F.conv2d(feature, self.proj.weight[:, :, None, None], self.proj.bias)


class _ConvNormReLU(nn.Module):
    """1x1 convolution without bias, BatchNorm (eps 1e-5), ReLU; its keys are ``conv`` and ``bn``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-5)

    def forward(self, feature: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(feature)))


class SegFormerHead(nn.Module):
    """Four features at 1/4 .. 1/32 -> class logits [N, classes, H/4, W/4]."""

    def __init__(self, config: SegFormerConfig) -> None:
        super().__init__()
        width = config.embed_width
        for i, inputs in enumerate(config.backbone.widths, start=1):
            setattr(self, f"linear_c{i}", _Linear(inputs, width))
        self.linear_fuse = _ConvNormReLU(4 * width, width)
        self.upsamplers: nn.ModuleList | None = None
        if config.upsampler != BILINEAR:
            slots = sum(len(encoders) for _, encoders in CHAINS)
            self.upsamplers = nn.ModuleList(
                build_upsampler(config.upsampler, width, kernel_size=config.kernel_size, compressed=config.compressed)
                for _ in range(slots)
            )
        self.dropout = nn.Dropout2d(0.1)
        self.linear_pred = nn.Conv2d(width, config.classes, 1)

    def upsampled(self, features: list[Tensor]) -> list[Tensor]:
        """Projected features at 1/4, coarsest first: [c4, c3, c2, c1], each [N, E, H/4, W/4]."""
        projected = {i: getattr(self, f"linear_c{i}")(x) for i, x in enumerate(features, start=1)}
        if self.upsamplers is None:
            size = projected[1].shape[2:]
            return [F.interpolate(projected[i], size=size, mode="bilinear", align_corners=False) for i in (4, 3, 2)] + [
                projected[1]
            ]
        slots = iter(self.upsamplers)
        out = []
        for start, encoders in CHAINS:
            x = projected[start]
            for encoder in encoders:
                x = next(slots)(projected[encoder], x)
            out.append(x)
        return [*out, projected[1]]

    def forward(self, features: list[Tensor]) -> Tensor:
        logits: Tensor = self.linear_pred(self.dropout(self.linear_fuse(torch.cat(self.upsampled(features), 1))))
        return logits


class SegFormer(nn.Module):
    """SegFormer: normalised RGB image [N, 3, H, W] -> class logits [N, classes, ceil(H/4), ceil(W/4)]."""

    NAME = "SegFormer"
    TASK = Task.SEGMENTATION
    INPUTS = 3  # channels
    STRIDE = STRIDE

    def __init__(self, config: SegFormerConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = MixTransformer(config.backbone)
        self.decode_head = SegFormerHead(config)

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.decode_head(self.backbone(image))
        return logits

    def check_size(self, height: int, width: int) -> None:
        """Refuse an image size that the network can't process.

        Learned upsamplers double exactly, so each side must shrink to a chain of exact halves: 32k-3 .. 32k.
        Bilinear takes any side whose 1/4 feature still fills the first key-reduction window.

        Raises:
            ExportError: The size is illegal; the message names the nearest legal one.
        """
        # The key reduction of every stage needs one whole window: (side / stride of the stage), rounded up, >= r.
        reductions = self.config.backbone.reductions
        smallest = max(4 * 2**stage * (r - 1) + 1 for stage, r in enumerate(reductions))
        if self.config.upsampler == BILINEAR:
            if min(height, width) < smallest:
                raise ExportError(f"image size {height}x{width} is too small: each side needs {smallest} or more")
            return
        for side in (height, width):
            if side < smallest or side % STRIDE not in (0, STRIDE - 3, STRIDE - 2, STRIDE - 1):
                legal = [-(-max(side, smallest) // STRIDE) * STRIDE for side in (height, width)]
                raise ExportError(
                    f"image size {height}x{width} does not fit: with {self.config.upsampler} upsampling each side "
                    f"is a multiple of {STRIDE} or up to 3 less, and {smallest} or more; the nearest larger size is "
                    f"{legal[0]}x{legal[1]}"
                )
