"""The ablation rows of FADE's papers as upsamplers, and plain resizing.

The table of the IJCV paper compares kernels from the encoder only (B1), from the decoder only (B2, which is
:class:`~fade_deploy.ops.carafe.CARAFE`), from both naively (B3), by semi-shift convolution (B4, which is
:class:`~fade_deploy.ops.fade.SemiShiftUp`), B4 with a skip connection (B5), and FADE with its gate (B6).
The layers of B1 and B3 were not published; what stands here is our reading, and each class says so.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.ops.fade import SemiShiftUp
from fade_deploy.ops.reassembly import SCALE, check_sizes, normalised_reassembly
from fade_deploy.ops.torch_ops import repeat_nearest

__all__ = ["Bilinear", "EncoderOnlyUp", "NaiveUp", "SkipUp"]


class Bilinear(nn.Module):
    """Bilinear resize of the decoder feature to the encoder's size (``align_corners`` false); no weights.

    Maps (encoder [N, C, H, W], decoder [N, C, h, w]) to [N, C, H, W]; the encoder gives its size only.

    Args:
        channels: C of encoder and decoder, which changes nothing.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        del channels

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        return F.interpolate(decoder, size=encoder.shape[2:], mode="bilinear", align_corners=False)


class _EncoderKernelGenerator(nn.Module):
    def __init__(self, channels: int, kernel_size: int, compressed: int) -> None:
        super().__init__()
        self.compressor_en = nn.Conv2d(channels, compressed, 1)
        self.content_encoder = nn.Conv2d(compressed, kernel_size**2, 3, padding=1)

    def forward(self, encoder: Tensor) -> Tensor:
        logits: Tensor = self.content_encoder(self.compressor_en(encoder))
        return logits


class EncoderOnlyUp(nn.Module):
    """Kernels from the encoder only (B1): ``out = reassemble(decoder, softmax(E(C_en(encoder))))``.

    Our reading: FADE's kernel generator without its decoder branch, C_en a 1x1 and E a 3x3 convolution, both with
    bias; the papers name the source of the kernels but not the layers.
    Maps (encoder [N, C, 2h, 2w], decoder [N, C, h, w]) to [N, C, 2h, 2w].

    Args:
        channels: C of encoder and decoder.
        kernel_size: K of the reassembly, in ``contract.KERNEL_SIZES``.
        compressed: Width d of the kernel generator.
    """

    def __init__(self, channels: int, *, kernel_size: int = 5, compressed: int = 64) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.ker_generator = _EncoderKernelGenerator(channels, kernel_size, compressed)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        check_sizes(encoder, decoder)
        return normalised_reassembly(decoder, self.ker_generator(encoder), kernel_size=self.kernel_size)


class _NaiveKernelGenerator(nn.Module):
    def __init__(self, channels: int, kernel_size: int, compressed: int) -> None:
        super().__init__()
        self.compressor = nn.Conv2d(2 * channels, compressed, 1)
        self.content_encoder = nn.Conv2d(compressed, kernel_size**2, 3, padding=1)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        check_sizes(encoder, decoder)
        both = torch.cat([repeat_nearest(decoder, SCALE), encoder], 1)
        logits: Tensor = self.content_encoder(self.compressor(both))
        return logits


class NaiveUp(nn.Module):
    """Kernels from both features, naively (B3): ``softmax(E(C(concat(nearest2(decoder), encoder))))``.

    Our reading: one 1x1 convolution C from 2C to d channels and one 3x3 convolution E, both with bias, the repeated
    decoder feature first; the papers say "concatenate, compress, one standard convolution" and no more.
    Maps (encoder [N, C, 2h, 2w], decoder [N, C, h, w]) to [N, C, 2h, 2w].

    Args:
        channels: C of encoder and decoder.
        kernel_size: K of the reassembly, in ``contract.KERNEL_SIZES``.
        compressed: Width d of the kernel generator.
    """

    def __init__(self, channels: int, *, kernel_size: int = 5, compressed: int = 64) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.ker_generator = _NaiveKernelGenerator(channels, kernel_size, compressed)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        return normalised_reassembly(decoder, self.ker_generator(encoder, decoder), kernel_size=self.kernel_size)


class SkipUp(SemiShiftUp):
    """Semi-shift with a skip connection (B5): ``out = encoder + reassemble(decoder, softmax(logits))``.

    Weights, keys and arguments are those of :class:`~fade_deploy.ops.fade.SemiShiftUp`.
    """

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        logits = self.ker_generator(encoder, decoder)
        return normalised_reassembly(decoder, logits, kernel_size=self.kernel_size, base=encoder)
