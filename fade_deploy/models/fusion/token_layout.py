"""MiT with its tokens in the order of pixels, so that a runtime moves them between layers without transposing.

The same function as :mod:`fade_deploy.models.mix_transformer` and the same weights; only how it is written differs:

- A token matrix becomes a feature by naming its rows and columns, [N, H*W, C] = [N, H, W, C], and one permutation,
  which runtimes merge into the convolution's own layout (ONNX Runtime: ReorderInput, ReorderOutput). Written as a
  transposition of the matrix it stays a copy of its own, before and after every convolution.
- The feed-forward network's first linear layer is a 1x1 convolution: it leaves its output, the widest tensor of the
  block, in the layout of the depth-wise convolution that follows, and adds its bias as it goes.
- GELU is spelled as the pattern that ONNX Runtime turns into one operator at every opset.
"""

from __future__ import annotations

from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.models import mix_transformer
from fade_deploy.models.mix_transformer import MixTransformer
from fade_deploy.models.shared_weights import sharing_weights

__all__ = ["in_pixel_order"]


class _PixelOrder:
    """The other spelling of :class:`fade_deploy.models.mix_transformer.TokenLayout`."""

    @staticmethod
    def tokens(feature: Tensor) -> Tensor:
        return feature.permute(0, 2, 3, 1).flatten(1, 2)

    @staticmethod
    def feature(tokens: Tensor, height: int, width: int) -> Tensor:
        feature: Tensor = tokens.unflatten(1, (height, width)).permute(0, 3, 1, 2)
        return feature


class _PatchEmbed(_PixelOrder, mix_transformer.PatchEmbed):
    pass


class _Attention(_PixelOrder, mix_transformer.Attention):
    pass


class _MixTransformer(_PixelOrder, MixTransformer):
    pass


class _MixFFN(_PixelOrder, mix_transformer.MixFFN):
    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        hidden = F.conv2d(self.feature(tokens, height, width), self.fc1.weight[:, :, None, None], self.fc1.bias)
        hidden = self.tokens(self.dwconv.dwconv(hidden))
        out: Tensor = self.fc2(0.5 * (hidden * (torch.erf(hidden / sqrt(2)) + 1)))
        return out


_SPELLINGS: dict[type[nn.Module], type[nn.Module]] = {
    mix_transformer.PatchEmbed: _PatchEmbed,
    mix_transformer.Attention: _Attention,
    mix_transformer.MixFFN: _MixFFN,
    MixTransformer: _MixTransformer,
}


def in_pixel_order(backbone: MixTransformer) -> MixTransformer:
    """A copy of the backbone in this spelling: equal in every value but for the rounding of GELU and linear layers."""
    copied = sharing_weights(backbone)
    for module in copied.modules():
        if type(module) in _SPELLINGS:
            module.__class__ = _SPELLINGS[type(module)]
    return copied
