"""The encoder of A2U matting: a ResNet-34 whose strides are max poolings, and an ASPP on its last feature.

Key names are those of released checkpoints (``layer2_1.layer1.conv1``, ``dconv_pp.aspp2.atrous_conv.0``).

Source: A2U matting (Dai et al., CVPR 2021), sec. 4.1; FADE's variant of it, with max pooling for its learned
downsampling.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.models.abn import ABN, SLOPE

__all__ = ["A2UEncoder", "EncoderFeatures", "conv_abn"]


def conv_abn(inputs: int, outputs: int, kernel: int, *, dilation: int = 1, groups: int = 1) -> list[nn.Module]:
    """A convolution without bias that keeps the size, and its ABN: the two entries of a Sequential."""
    padding = kernel // 2 * dilation
    return [
        nn.Conv2d(inputs, outputs, kernel, padding=padding, dilation=dilation, groups=groups, bias=False),
        ABN(outputs),
    ]


class _ResidualBlock(nn.Module):
    """``leaky_relu(x + norm(conv(abn(conv(x)))))``; its keys are ``convs.conv1`` .. ``convs.bn2``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        conv1, bn1 = conv_abn(width, width, 3)
        conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.convs = nn.ModuleDict({"conv1": conv1, "bn1": bn1, "conv2": conv2, "bn2": ABN(width, activation=False)})

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for layer in self.convs.values():
            y = layer(y)
        return F.leaky_relu(x + y, SLOPE)


def _blocks(width: int, count: int) -> nn.Sequential:
    stage = nn.Sequential()
    for i in range(1, count + 1):
        stage.add_module(f"block{i}", _ResidualBlock(width))
    return stage


class _PoolingBlock(nn.Module):
    """A residual block that widens and halves; also returns the feature from before its pooling, for the decoder."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        conv1, bn1 = conv_abn(inputs, width, 3)
        self.layer1 = nn.ModuleDict({"conv1": conv1, "bn1": bn1})
        conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.layer2 = nn.ModuleDict({"conv2": conv2, "bn2": ABN(width, activation=False)})
        self.proj_conv = nn.Conv2d(inputs, width, 1, stride=2, bias=False)
        self.proj_bn = ABN(width, activation=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        before = self.layer1["bn1"](self.layer1["conv1"](x))
        after = self.layer2["bn2"](self.layer2["conv2"](F.max_pool2d(before, 2)))
        return F.leaky_relu(after + self.proj_bn(self.proj_conv(x)), SLOPE), before


class _AtrousBranch(nn.Module):
    """A 1x1 convolution, or a dilated depth-wise one followed by a 1x1; its key is ``atrous_conv``."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        layers = conv_abn(width, width, 1)
        if dilation > 1:
            layers = [*conv_abn(width, width, 3, dilation=dilation, groups=width), *layers]
        self.atrous_conv = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.atrous_conv(x)
        return out


class _ASPP(nn.Module):
    """Atrous spatial pyramid pooling: four branches and the global mean, mixed by a 1x1 convolution."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.aspp1 = _AtrousBranch(width, 1)
        self.aspp2 = _AtrousBranch(width, 6)
        self.aspp3 = _AtrousBranch(width, 12)
        self.aspp4 = _AtrousBranch(width, 18)
        self.global_avg_pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), *conv_abn(width, width, 1))
        self.bottleneck_conv = nn.Sequential(*conv_abn(5 * width, width, 1))
        self.dropout = nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        branches = [branch(x) for branch in (self.aspp1, self.aspp2, self.aspp3, self.aspp4)]
        mean = self.global_avg_pool(x).expand_as(x)
        mixed: Tensor = self.dropout(self.bottleneck_conv(torch.cat([*branches, mean], 1)))
        return mixed


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderFeatures:
    """What the decoder takes; the widths w0 .. w3 are those of layer0 .. layer3."""

    layer0: Tensor  # [N, w0, H, W]
    layer0_pooled: Tensor  # [N, w0, H/2, W/2]
    layer1: Tensor  # [N, w1, H/4, W/4]
    layer2_full: Tensor  # [N, w2, H/4, W/4], before the pooling of layer 2
    layer2: Tensor  # [N, w2, H/8, W/8]
    layer3_full: Tensor  # [N, w3, H/8, W/8], before the pooling of layer 3
    context: Tensor  # [N, w3, H/16, W/16], the ASPP's


class A2UEncoder(nn.Module):
    """RGB and trimap [N, 4, H, W] -> features at 1, 1/2, 1/4, 1/8 and 1/16; H and W are multiples of 16.

    Args:
        inputs: Channels of the input.
        widths: Of layer0 .. layer3.
        blocks: Residual blocks of layer1, layer2 and layer3, besides those that pool.
    """

    def __init__(self, inputs: int, widths: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        w0, w1, w2, w3 = widths
        if w0 != w1:
            raise ValueError(f"layer0 and layer1 have the widths {w0} and {w1}, expected one width: only a pooling")
        self.layer0 = nn.Sequential(*conv_abn(inputs, w0, 7))
        self.layer1 = _blocks(w1, blocks[0])
        self.layer2_1 = _PoolingBlock(w1, w2)
        self.layer2_2 = _blocks(w2, blocks[1])
        self.layer3_1 = _PoolingBlock(w2, w3)
        self.layer3_2 = _blocks(w3, blocks[2])
        self.dconv_pp = _ASPP(w3)

    def encode(self, x: Tensor) -> EncoderFeatures:
        """The features of one batch."""
        layer0 = self.layer0(x)
        pooled = F.max_pool2d(layer0, 2)
        layer1 = self.layer1(F.max_pool2d(pooled, 2))
        halved, layer2_full = self.layer2_1(layer1)
        layer2 = self.layer2_2(halved)
        halved, layer3_full = self.layer3_1(layer2)
        return EncoderFeatures(
            layer0=layer0,
            layer0_pooled=pooled,
            layer1=layer1,
            layer2_full=layer2_full,
            layer2=layer2,
            layer3_full=layer3_full,
            context=self.dconv_pp(self.layer3_2(halved)),
        )
