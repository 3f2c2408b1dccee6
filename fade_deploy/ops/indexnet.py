"""IndexNet's upsampling: an index map, learned from the encoder feature, gates the repeated decoder feature.

Source: Indices Matter (Lu et al., ICCV 2019), the depth-wise many-to-one (M2O) index block; keys as the published
SegFormer log prints them (``index_net.indexnet1.0``). There is no reassembly, so no ``fade`` operator.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.ops.reassembly import SCALE, check_sizes
from fade_deploy.ops.torch_ops import repeat_nearest

__all__ = ["IndexNet", "IndexNetContext", "interleaved"]


def interleaved(sub_pixels: Tensor) -> Tensor:
    """Four maps of stride 2, each the sub-pixel of its row-major place: [N, C, 4, h, w] -> [N, C, 2h, 2w]."""
    return F.pixel_shuffle(sub_pixels.flatten(1, 2), SCALE)


class _IndexBlock(nn.Module):
    """Four branches of stride 2, one for each sub-pixel (row-major); [N, C, 2h, 2w] -> logits of the same shape."""

    def __init__(self, *branches: nn.Sequential) -> None:
        super().__init__()
        self.indexnet1, self.indexnet2, self.indexnet3, self.indexnet4 = branches

    def forward(self, encoder: Tensor) -> Tensor:
        branches = (self.indexnet1, self.indexnet2, self.indexnet3, self.indexnet4)
        return interleaved(torch.stack([branch(encoder) for branch in branches], 2))


class IndexNet(nn.Module):
    """IndexNet, linear: ``out = sigmoid(index(encoder)) * nearest2(decoder)``.

    ``index`` is four 2x2 convolutions of stride 2 without bias, whose outputs are interleaved as the sub-pixels.
    Maps (encoder [N, C, 2h, 2w], decoder [N, C, h, w]) to [N, C, 2h, 2w].

    Args:
        channels: C of encoder and decoder.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.index_net = _IndexBlock(
            *(nn.Sequential(nn.Conv2d(channels, channels, 2, stride=2, bias=False)) for _ in range(4))
        )

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        check_sizes(encoder, decoder)
        index: Tensor = self.index_net(encoder).sigmoid()
        return index * repeat_nearest(decoder, SCALE)


class IndexNetContext(IndexNet):
    """IndexNet, nonlinear and with context: as :class:`IndexNet`, with four branches of two layers.

    A branch is a 4x4 convolution of stride 2 (padding 1), BatchNorm, ReLU6 and a 1x1 convolution, both without bias.

    Args:
        channels: C of encoder and decoder.
        compressed: Channels between the two layers; None is C, as in the public code (the papers' parameter counts
            fit 2*C).
    """

    def __init__(self, channels: int, *, compressed: int | None = None) -> None:
        super().__init__(channels)
        inner = channels if compressed is None else compressed
        self.index_net = _IndexBlock(
            *(
                nn.Sequential(
                    nn.Conv2d(channels, inner, 4, stride=2, padding=1, bias=False),
                    nn.BatchNorm2d(inner),
                    nn.ReLU6(),
                    nn.Conv2d(inner, channels, 1, bias=False),
                )
                for _ in range(4)
            )
        )
