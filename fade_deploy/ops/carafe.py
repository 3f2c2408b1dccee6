"""CARAFE: kernels predicted from the decoder feature alone.

Source: CARAFE (Wang et al., ICCV 2019), sec. 3; keys of mmcv's ``CARAFEPack``. FADE's papers use it as baseline and
as ablation B2 (decoder-only kernels).
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.ops.reassembly import SCALE, check_sizes, normalised_reassembly

__all__ = ["CARAFE"]


class CARAFE(nn.Module):
    """CARAFE: ``out = reassemble(decoder, softmax(pixel_shuffle(E(C(decoder)))))``.

    C is a 1x1 convolution to d channels, E a 3x3 convolution to 4*K*K. Maps (encoder, decoder [N, C, h, w]) to
    [N, C, 2h, 2w]; of the encoder, [N, any, 2h, 2w], only the size is looked at.

    Args:
        channels: C of the decoder.
        kernel_size: K of the reassembly, in ``contract.KERNEL_SIZES``.
        compressed: Width d of the kernel generator.
    """

    def __init__(self, channels: int, *, kernel_size: int = 5, compressed: int = 64) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.channel_compressor = nn.Conv2d(channels, compressed, 1)
        self.content_encoder = nn.Conv2d(compressed, (SCALE * kernel_size) ** 2, 3, padding=1)

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        check_sizes(encoder, decoder)
        logits = F.pixel_shuffle(self.content_encoder(self.channel_compressor(decoder)), SCALE)
        return normalised_reassembly(decoder, logits, kernel_size=self.kernel_size)
