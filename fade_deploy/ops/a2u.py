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

from fade_deploy.contract import KERNEL_SIZES
from fade_deploy.ops.reassembly import SCALE, check_sizes, normalised_reassembly

__all__ = ["A2U", "KernelGenerator", "pooling_matrix"]

_WINDOW = 6  # side of the per-image kernels, and of the grid that they are pooled to
_GROUPS = 32  # of the group norms
_KERNEL_SIZES = KERNEL_SIZES[1:]  # with K = 1 the public code leaves out the softmax


def pooling_matrix(size: int, cells: int, like: Tensor) -> Tensor:
    """What ``adaptive_avg_pool`` does along an axis of that size, as a matrix [cells, size] of ``like``'s dtype.

    Row i is the mean of the pixels ``floor(i*size/cells) .. ceil((i+1)*size/cells) - 1``.
    """
    cell = torch.arange(cells, device=like.device)[:, None]
    pixel = torch.arange(size, device=like.device)
    inside = ((pixel + 1) * cells > cell * size) & (pixel * cells < (cell + 1) * size)
    ones = inside.to(like.dtype)
    return ones / ones.sum(1, keepdim=True)


def _pooled_to_window(x: Tensor) -> Tensor:
    """Adaptive average pooling to 6x6, in a form that exports with dynamic sizes: [N, C, H, W] -> [N, C, 6, 6]."""
    if not torch.compiler.is_exporting():
        return F.adaptive_avg_pool2d(x, _WINDOW)
    # ONNX has no adaptive pooling, and torch.export no cells of a dynamic size.
    rows, columns = (pooling_matrix(size, _WINDOW, x) for size in x.shape[2:])
    return rows @ x @ columns.T


class KernelGenerator(nn.Module):
    """``sigmoid(pixel_shuffle(p * affinity))``, ``affinity = sum_c U(x)_c * V(x)_c / sqrt(C)``, before the softmax.

    Maps [N, C, 2h, 2w] to [N, K*K, 2h, 2w].
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
        (logits,) = self.scaled_affinity(encoder, self.bconv_UP)
        return F.pixel_shuffle(logits, SCALE).sigmoid()

    def scaled_affinity(self, encoder: Tensor, *scales: nn.Sequential) -> list[Tensor]:
        """The affinity times each p: [N, C, 2h, 2w] -> [N, (2K)^2, h, w] for each convolution of the mean."""
        pooled = _pooled_to_window(encoder)
        windows = torch.cat([self.bconv_U(pooled), self.bconv_V(pooled)], 1)
        u, v = _convolved(encoder, windows).unbind(1)
        affinity = (self.bnu(u) * self.bnv(v)).sum(1) / math.sqrt(encoder.shape[1])
        mean = encoder.mean((2, 3), keepdim=True)
        row = affinity.flatten(1).unsqueeze(1)  # [N, 1, h*w]
        return [(scale(mean).flatten(2) @ row).unflatten(2, affinity.shape[1:]) for scale in scales]


def _after_pooling(inputs: int, outputs: int) -> nn.Sequential:
    # In the reference place 0 is the pooling, which has no weights and which two convolutions here share.
    return nn.Sequential(OrderedDict([("1", nn.Conv2d(inputs, outputs, 1))]))


def _convolved(x: Tensor, windows: Tensor) -> Tensor:
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
        kernel_size: K of the reassembly, in {3, 5, 7}.

    Raises:
        ValueError: ``channels`` or ``kernel_size`` is outside these.
    """

    def __init__(self, channels: int, *, kernel_size: int = 3) -> None:
        super().__init__()
        if kernel_size not in _KERNEL_SIZES:
            raise ValueError(f"kernel_size is {kernel_size}, expected one of {_KERNEL_SIZES}")
        if channels % _GROUPS:
            raise ValueError(f"channels is {channels}, expected a multiple of {_GROUPS}")
        self.kernel_size = kernel_size
        self.kernel_gen = KernelGenerator(channels, kernel_size)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        check_sizes(encoder, decoder)
        return normalised_reassembly(decoder, self.kernel_gen(encoder), kernel_size=self.kernel_size)
