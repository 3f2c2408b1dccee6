"""FADE and its relatives as modules: kernels predicted from encoder *and* decoder, reassembly, gated blend.

Every module maps ``(encoder [N, C, 2h, 2w], decoder [N, C, h, w])`` to ``[N, C, 2h, 2w]`` and carries the public
state-dict keys of the reference's low-to-high file. Sizes may be odd and non-square.

Source: FADE (Lu et al., ECCV 2022 and IJCV 2024), sec. 3; the reference's ``FADE_L2H.py`` and ``FADE_H2L.py``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.ops.reassembly import SCALE, check_sizes, normalised_reassembly, upsample
from fade_deploy.ops.torch_ops import repeat_nearest

__all__ = ["FADE", "FADELite", "ScrambledFADE", "SemiShiftUp", "low_to_high_key"]


class _KernelGenerator(nn.Module):
    """Semi-shift convolution: one kernel of K*K logits for each output pixel.

    ``logits = E(C_en(encoder)) + nearest2(E(C_de(decoder)))`` with 1x1 compressors C (only the encoder's has a
    bias) and one shared 3x3 content encoder E. Its bias therefore counts twice, and, as E pads after the
    compressor, the compressor's bias does not reach across the border: both are what trained weights expect.
    """

    def __init__(self, channels: int, kernel_size: int, compressed: int, *, depthwise: bool) -> None:
        super().__init__()
        taps = kernel_size**2
        self.compressor_en = nn.Conv2d(channels, compressed, 1)
        self.compressor_de = nn.Conv2d(channels, compressed, 1, bias=False)
        self.content_encoder = nn.Conv2d(compressed, taps, 3, padding=1, groups=taps if depthwise else 1)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        check_sizes(encoder, decoder)
        from_decoder = self.content_encoder(self.compressor_de(decoder))
        from_encoder: Tensor = self.content_encoder(self.compressor_en(encoder))
        return from_encoder + repeat_nearest(from_decoder, SCALE)


class _ScrambledKernelGenerator(_KernelGenerator):
    """The kernel generator of the plain PyTorch high-to-low file: another function of the same weights.

    That file stacks four shifted copies of the d compressed encoder channels copy by copy and reads the stack
    channel by channel. So its convolution for sub-pixel s (row-major) finds, as input channel c, the compressed
    channel ``4*(c % (d/4)) + s`` under the shift ``c // (d/4)``, where FADE has channel c under shift s.
    """

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        check_sizes(encoder, decoder)
        weight, bias = self.content_encoder.weight, self.content_encoder.bias
        compressed = self.compressor_en(encoder)
        sub_pixels = []
        for s in range(SCALE * SCALE):
            interleaved = compressed[:, s :: SCALE * SCALE]
            shifts = [F.pad(interleaved, [1 - dx, dx, 1 - dy, dy]) for dy in range(SCALE) for dx in range(SCALE)]
            sub_pixels.append(F.conv2d(torch.cat(shifts, 1), weight, bias, stride=SCALE))
        from_encoder = F.pixel_shuffle(torch.stack(sub_pixels, 2).flatten(1, 2), SCALE)
        return from_encoder + repeat_nearest(self.content_encoder(self.compressor_de(decoder)), SCALE)


class _GateGenerator(nn.Module):
    """One gate logit for each decoder pixel: a 1x1 convolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, decoder: Tensor) -> Tensor:
        logits: Tensor = self.conv(decoder)
        return logits


class SemiShiftUp(nn.Module):
    """FADE without its gate: ``out = reassemble(decoder, softmax(logits))`` (ablation B4).

    Args:
        channels: C of encoder and decoder.
        kernel_size: K of the reassembly.
        compressed: Width d of the kernel generator.
    """

    def __init__(self, channels: int, *, kernel_size: int = 5, compressed: int = 64) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.ker_generator = _KernelGenerator(channels, kernel_size, compressed, depthwise=False)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        logits = self.ker_generator(encoder, decoder)
        return normalised_reassembly(decoder, logits, kernel_size=self.kernel_size)


class FADE(nn.Module):
    """FADE: ``out = g*encoder + (1-g)*reassemble(decoder, softmax(logits))``, ``g = sigmoid(gate(decoder))``.

    Args:
        channels: C of encoder and decoder.
        kernel_size: K of the reassembly.
        compressed: Width d of the kernel generator.
    """

    def __init__(self, channels: int, *, kernel_size: int = 5, compressed: int = 64) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.gate_generator = _GateGenerator(channels)
        self.ker_generator = _KernelGenerator(channels, kernel_size, compressed, depthwise=False)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        logits = self.ker_generator(encoder, decoder)
        gate_logits = self.gate_generator(decoder)
        return upsample(decoder, logits, encoder, gate_logits, kernel_size=self.kernel_size, scale=SCALE)


class FADELite(FADE):
    """FADE-Lite: as FADE, with compressors to K*K channels and a depth-wise content encoder.

    Args:
        channels: C of encoder and decoder.
        kernel_size: K of the reassembly.
    """

    def __init__(self, channels: int, *, kernel_size: int = 5) -> None:
        super().__init__(channels, kernel_size=kernel_size)
        self.ker_generator = _KernelGenerator(channels, kernel_size, kernel_size**2, depthwise=True)


class ScrambledFADE(FADE):
    """The function of the plain PyTorch ``FADE_H2L.py``, for models that were trained with that file.

    Same weights and cost as FADE, another result; the difference is of the order of the output itself.

    Args:
        channels: C of encoder and decoder.
        kernel_size: K of the reassembly.
        compressed: Width d of the kernel generator, a multiple of 4.

    Raises:
        ValueError: ``compressed`` is not.
    """

    def __init__(self, channels: int, *, kernel_size: int = 5, compressed: int = 64) -> None:
        if compressed % SCALE**2:
            raise ValueError(f"compressed is {compressed}, expected a multiple of {SCALE**2}")
        super().__init__(channels, kernel_size=kernel_size, compressed=compressed)
        self.ker_generator = _ScrambledKernelGenerator(channels, kernel_size, compressed, depthwise=False)


_HIGH_TO_LOW_KEYS = {
    "kernel_generator.conv1_en.": "ker_generator.compressor_en.",
    "kernel_generator.conv1_de.": "ker_generator.compressor_de.",
    "kernel_generator.conv2_kernels": "ker_generator.content_encoder.weight",
    "kernel_generator.conv2_bias": "ker_generator.content_encoder.bias",
}


def low_to_high_key(key: str) -> str:
    """Rename a key of the reference's high-to-low file to the key of the same tensor in the low-to-high file.

    Any other key is returned as it is. The two files' functions are equal under this map; the plain PyTorch
    high-to-low file has the same keys and another function, see :class:`ScrambledFADE`.
    """
    for high_to_low, low_to_high in _HIGH_TO_LOW_KEYS.items():
        if high_to_low in key:
            return key.replace(high_to_low, low_to_high)
    return key
