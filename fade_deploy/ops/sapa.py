"""SAPA: kernels from the similarity of an encoder pixel with the decoder pixels around it.

``out = reassemble(decoder, softmax(s))``, ``s[i*K+j, y, x] = <q[y, x], k[y//2+i-K//2, x//2+j-K//2]>``, with keys of
zero outside the image, whose scores of 0 take part in the softmax. The classes differ in the query q.

Source: SAPA (Lu et al., NeurIPS 2022), sec. 3; keys of the public ``SAPA.py`` and ``SAPAExp.py``. The paper's inner
product form (SAPA-I) has no public code, and its tables do not say whether its features are normalised, so it is not
here.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.ops.reassembly import SCALE, check_sizes, normalised_reassembly
from fade_deploy.ops.torch_ops import repeat_nearest

__all__ = ["SAPA", "SAPAConcat", "SAPAGate", "similarity_scores"]


def similarity_scores(queries: Tensor, keys: Tensor, *, kernel_size: int) -> Tensor:
    """Inner products of each query with the K x K keys around its source pixel.

    ``out[n, i*K+j, y, x] = sum_d queries[n,d,y,x] * keys[n, d, y//2+i-K//2, x//2+j-K//2]``, keys zero outside.
    Nothing is unfolded: memory beyond the output is that of one product, the size of ``queries``.

    Args:
        queries: [N, D, 2h, 2w].
        keys: [N, D, h, w].
        kernel_size: K, odd.

    Returns:
        [N, K*K, 2h, 2w].
    """
    height, width = keys.shape[2:]
    # The four queries of a source pixel, one for each sub-pixel, share its keys: these are never repeated.
    sub_pixels = F.pixel_unshuffle(queries, SCALE).unflatten(1, (keys.shape[1], SCALE * SCALE))
    padded = F.pad(keys, [kernel_size // 2] * 4).unsqueeze(2)
    bands = (padded[..., i : i + height, :] for i in range(kernel_size))
    scores = [(sub_pixels * band[..., j : j + width]).sum(1) for band in bands for j in range(kernel_size)]
    return F.pixel_shuffle(torch.cat(scores, 1), SCALE)


class _ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each pixel, [N, C, H, W]."""

    def forward(self, feature: Tensor) -> Tensor:
        return super().forward(feature.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class _PixelLinear(nn.Linear):
    """A linear layer for each pixel, [N, C, H, W] -> [N, D, H, W]."""

    def forward(self, feature: Tensor) -> Tensor:
        return F.conv2d(feature, self.weight[:, :, None, None], self.bias)


class SAPA(nn.Module):
    """SAPA with a linear query (SAPA-B): ``q = Q(norm_y(encoder))``, ``k = K(norm_x(decoder))``.

    Q and K are linear layers per pixel, the norms are layer norms over the channels, eps 1e-5.
    Maps (encoder [N, C, 2h, 2w], decoder [N, C, h, w]) to [N, C, 2h, 2w].

    Args:
        channels: C of encoder and decoder.
        kernel_size: K of the reassembly, in ``contract.KERNEL_SIZES``.
        compressed: Width of q and k; 32 is that of the published logs, 64 the default of the public code.
    """

    def __init__(self, channels: int, *, kernel_size: int = 5, compressed: int = 32) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.norm_y = _ChannelNorm(channels)
        self.norm_x = _ChannelNorm(channels)
        self.k = _PixelLinear(channels, compressed)
        self._add_query(channels, compressed)

    def _add_query(self, channels: int, compressed: int) -> None:
        self.q = _PixelLinear(channels, compressed)

    def _query(self, encoder: Tensor, decoder: Tensor, normed_decoder: Tensor) -> Tensor:
        """[N, D, 2h, 2w], of the normed encoder feature, and the decoder feature both as it is and normed."""
        queries: Tensor = self.q(encoder)
        return queries

    def forward(self, encoder: Tensor, decoder: Tensor) -> Tensor:
        check_sizes(encoder, decoder)
        normed_decoder = self.norm_x(decoder)
        queries = self._query(self.norm_y(encoder), decoder, normed_decoder)
        scores = similarity_scores(queries, self.k(normed_decoder), kernel_size=self.kernel_size)
        return normalised_reassembly(decoder, scores, kernel_size=self.kernel_size)


class SAPAGate(SAPA):
    """SAPA with a gated query (SAPA-G): ``q = g*Q_y(norm_y(encoder)) + (1-g)*Q_x(nearest2(decoder))``.

    ``g = nearest2(sigmoid(G(norm_x(decoder))))``; Q_x takes the decoder feature as it is, not normed, as the public
    code does. Arguments and shapes are those of :class:`SAPA`.
    """

    def _add_query(self, channels: int, compressed: int) -> None:
        self.qy = _PixelLinear(channels, compressed)
        self.qx = _PixelLinear(channels, compressed)
        self.gate = _PixelLinear(channels, 1)

    def _query(self, encoder: Tensor, decoder: Tensor, normed_decoder: Tensor) -> Tensor:
        gate = self.gate(normed_decoder).sigmoid()
        # A linear layer of a repeated feature is the repeated linear layer, at a quarter of the cost.
        from_decoder = repeat_nearest((1 - gate) * self.qx(decoder), SCALE)
        queries: Tensor = repeat_nearest(gate, SCALE) * self.qy(encoder) + from_decoder
        return queries


class SAPAConcat(SAPA):
    """SAPA with a query from both features: ``q = Q(concat(norm_y(encoder), nearest2(decoder)))``.

    The decoder feature is taken as it is, not normed, as the public code does. Arguments and shapes are those of
    :class:`SAPA`.
    """

    def _add_query(self, channels: int, compressed: int) -> None:
        self.q = _PixelLinear(2 * channels, compressed)

    def _query(self, encoder: Tensor, decoder: Tensor, normed_decoder: Tensor) -> Tensor:
        of_encoder, of_decoder = self.q.weight[:, :, None, None].chunk(2, 1)
        # A linear layer of a repeated feature is the repeated linear layer, at a quarter of the cost.
        return F.conv2d(encoder, of_encoder, self.q.bias) + repeat_nearest(F.conv2d(decoder, of_decoder), SCALE)
