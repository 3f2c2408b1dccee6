"""FADE as its public PyTorch file computes it, in plain PyTorch: what a user exports today.

``unfold`` writes all K*K neighbours of every decoder pixel, nearest upsampling repeats them to the output's size, and
one product and sum over the taps follows: K*K times the output in memory, several times. It is the same function of the
same weights as :class:`fade_deploy.ops.fade.FADE`, for benchmarks only.

Source: FADE (Lu et al., ECCV 2022), its plain PyTorch form.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.ops.fade import FADE

__all__ = ["NaiveFADE", "naive_upsample", "with_naive_fade"]


def naive_upsample(
    decoder: Tensor,
    kernel_logits: Tensor,
    encoder: Tensor,
    gate_logits: Tensor,
    *,
    kernel_size: int,
    einsum: bool = False,
) -> Tensor:
    """``g*encoder + (1-g)*reassemble(decoder, softmax(kernel_logits))``, ``g = sigmoid(gate_logits)`` repeated 2 x 2.

    Args:
        decoder: [N, C, H, W].
        kernel_logits: [N, K*K, 2H, 2W].
        encoder: [N, C, 2H, 2W].
        gate_logits: [N, 1, H, W].
        kernel_size: K, odd.
        einsum: Sum as the public file does. The product and sum is the same in a third of the time on ONNX Runtime, so
            what is compared with it flatters nobody.

    Returns:
        [N, C, 2H, 2W].
    """
    batch, channels, height, width = decoder.shape
    gate = torch.sigmoid(F.interpolate(gate_logits, scale_factor=2.0, mode="nearest"))
    kernels = F.softmax(kernel_logits, dim=1)
    neighbours = F.unfold(decoder, kernel_size, padding=kernel_size // 2)  # [N, C*K*K, H*W]
    neighbours = neighbours.view(batch, channels * kernel_size**2, height, width)
    neighbours = F.interpolate(neighbours, scale_factor=2.0, mode="nearest")
    neighbours = neighbours.view(batch, channels, kernel_size**2, 2 * height, 2 * width)
    if einsum:
        reassembled = torch.einsum("nckhw,nkhw->nchw", neighbours, kernels)
    else:
        reassembled = (neighbours * kernels.unsqueeze(1)).sum(2)
    return gate * encoder + (1 - gate) * reassembled


class NaiveFADE(nn.Module):
    """``(encoder [N, C, 2h, 2w], decoder [N, C, h, w]) -> [N, C, 2h, 2w]``, with the modules of a FADE."""

    def __init__(self, fade: FADE, *, einsum: bool = False) -> None:
        super().__init__()
        self.einsum = einsum
        self.kernel_size = fade.kernel_size
        self.gate_generator = fade.gate_generator
        self.ker_generator = fade.ker_generator

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        generator = self.ker_generator
        from_decoder = generator.content_encoder(generator.compressor_de(decoder))
        from_encoder = generator.content_encoder(generator.compressor_en(encoder))
        logits = from_encoder + F.interpolate(from_decoder, scale_factor=2.0, mode="nearest")
        gate_logits = self.gate_generator(decoder)
        return naive_upsample(decoder, logits, encoder, gate_logits, kernel_size=self.kernel_size, einsum=self.einsum)


def with_naive_fade(model: nn.Module, *, einsum: bool = False) -> nn.Module:
    """A copy of the model with every FADE in the naive form; the model stays as it is.

    Raises:
        ValueError: There is no FADE in it.
    """
    model = copy.deepcopy(model)
    found = {path: module for path, module in model.named_modules() if type(module) is FADE}
    if not found:
        raise ValueError(f"{type(model).__name__} has no FADE to replace, expected a model with FADE upsampling")
    for path, fade in found.items():
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, NaiveFADE(fade, einsum=einsum))
    return model
