"""A2U's dynamic upsampling: kernels from second-order statistics of the encoder feature.

Source: Learning Affinity-Aware Upsampling for Deep Image Matting (Dai, Lu, Shen, CVPR 2021); the public
``InterChannelUpDown`` with kernels shared over the channels. Keys as the published SegFormer log of FADE prints them
(``kernel_gen.bconv_UP.1``).
"""

from __future__ import annotations

import math
from collections import OrderedDict
from functools import reduce

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.ops.carafe import SCALE, normalised_reassembly

__all__ = ["A2U", "convolved", "pooled_to_window", "pooling_matrix"]

_WINDOW = 6  # side of the per-image kernels, and of the grid that they are pooled to
_GROUPS = 32  # of the group norms


def pooling_matrix(size: int, cells: int, like: Tensor) -> Tensor:
    """What ``adaptive_avg_pool`` does along an axis of that size, as a matrix [cells, size] of ``like``'s dtype.

    Row i is the mean of the pixels ``floor(i*size/cells) .. ceil((i+1)*size/cells) - 1``.
    """
    cell = torch.arange(cells, device=like.device)[:, None]
    pixel = torch.arange(size, device=like.device)
    inside = ((pixel + 1) * cells > cell * size) & (pixel * cells < (cell + 1) * size)
    ones = inside.to(like.dtype)
    return ones / ones.sum(1, keepdim=True)


def pooled_to_window(x: Tensor) -> Tensor:
    """Adaptive average pooling to 6x6, in a form that exports with dynamic sizes: [N, C, H, W] -> [N, C, 6, 6]."""
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x, _WINDOW)
    # ONNX has no adaptive pooling, and torch.export no cells of a dynamic size.
    rows, columns = (pooling_matrix(size, _WINDOW, x) for size in x.shape[2:])
    return rows @ x @ columns.T


class _KernelGenerator(nn.Module):
    """``sigmoid(pixel_shuffle(p * sum_c U(x)_c * V(x)_c / sqrt(C)))``: [N, C, 2h, 2w] -> [N, K*K, 2h, 2w].

    U and V are a 6x6 convolution of stride 2 (rows 2y-2 .. 2y+3) with one kernel for each image, shared over the
    channels, a group norm and a leaky ReLU. The image's kernels are a 1x1 convolution of the feature pooled to 6x6; p
    is a 1x1 convolution of its mean, of (2K)^2 channels.
    """

    def __init__(self, channels: int, kernel_size: int) -> None:
        super().__init__()
        taps = (SCALE * kernel_size) ** 2
        self.bnu = nn.Sequential(nn.GroupNorm(_GROUPS, channels), nn.LeakyReLU(0.01))
        self.bnv = nn.Sequential(nn.GroupNorm(_GROUPS, channels), nn.LeakyReLU(0.01))
        self.bconv_UP = _after_pooling(channels, taps)
        self.bconv_DP = _after_pooling(channels, taps)  # for A2U's downsampling: unused here, in every checkpoint
        self.bconv_U = _after_pooling(channels, 1)
        self.bconv_V = _after_pooling(channels, 1)

    def forward(self, encoder: Tensor) -> Tensor:
        pooled = pooled_to_window(encoder)
        windows = torch.cat([self.bconv_U(pooled), self.bconv_V(pooled)], 1)
        u, v = convolved(encoder, windows).unbind(1)
        similarity = (self.bnu(u) * self.bnv(v)).sum(1) / math.sqrt(encoder.shape[1])
        weights = self.bconv_UP(encoder.mean((2, 3), keepdim=True)).flatten(2)  # [N, (2K)^2, 1]
        logits = (weights @ similarity.flatten(1).unsqueeze(1)).unflatten(2, similarity.shape[1:])
        return F.pixel_shuffle(logits, SCALE).sigmoid()


def _after_pooling(inputs: int, outputs: int) -> nn.Sequential:
    # In the reference place 0 is the pooling, which has no weights and which two convolutions here share.
    return nn.Sequential(OrderedDict([("1", nn.Conv2d(inputs, outputs, 1))]))


def convolved(x: Tensor, windows: Tensor) -> Tensor:
    """Every channel of each image under that image's 6x6 windows, stride 2, padding 2.

    [N, C, 2h, 2w], [N, O, 6, 6] -> [N, O, C, h, w]. A convolution with N groups would fix the batch in ONNX, so this is
    a sum over the 3x3 blocks of 2x2 pixels under a window, each one matrix product.
    """
    pixels = x.unflatten(3, (-1, SCALE)).unflatten(2, (-1, SCALE)).permute(0, 3, 5, 1, 2, 4)  # [N, 2, 2, C, h, w]
    padded = F.pad(pixels.flatten(1, 2), [1, 1, 1, 1])
    height, width = pixels.shape[4:]
    blocks = F.pixel_unshuffle(windows, SCALE).unflatten(1, (-1, SCALE * SCALE))  # [N, O, 4, 3, 3]
    products = (
        blocks[..., i, j] @ padded[..., i : i + height, j : j + width].flatten(2)
        for i in range(blocks.shape[3])
        for j in range(blocks.shape[4])
    )
    out: Tensor = reduce(torch.add, products).unflatten(2, pixels.shape[3:])
    return out


class A2U(nn.Module):
    """A2U: ``out = reassemble(decoder, softmax(sigmoid(affinity(encoder))))``.

    Maps (encoder [N, C, 2h, 2w], decoder [N, C, h, w]) to [N, C, 2h, 2w].

    Args:
        channels: C of the encoder, a multiple of 32.
        kernel_size: K of the reassembly, in {3, 5, 7}; with 1 the public code leaves out the softmax.

    Raises:
        ValueError: ``channels`` or ``kernel_size`` is outside these.
    """

    def __init__(self, channels: int, *, kernel_size: int = 3) -> None:
        super().__init__()
        if kernel_size == 1:
            raise ValueError("kernel_size is 1, expected one of 3, 5, 7")
        self.kernel_size = kernel_size
        self.kernel_gen = _KernelGenerator(channels, kernel_size)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        return normalised_reassembly(decoder, self.kernel_gen(encoder), kernel_size=self.kernel_size)
