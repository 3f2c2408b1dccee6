"""Mix Transformer (MiT), the SegFormer backbone: four stages of tokens at 1/4, 1/8, 1/16 and 1/32.

Source: SegFormer (Xie et al., NeurIPS 2021), sec. 3.1 and table 6. Key names are those of released checkpoints
(``patch_embed1.proj``, ``block1.0.attn.kv``, ``norm1``); the LayerNorm epsilons are the reference's: 1e-6 inside
the blocks and after each stage, 1e-5 after the patch embeddings and the key reduction.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

__all__ = [
    "MIT_VARIANTS",
    "Attention",
    "DepthwiseConv",
    "MixFFN",
    "MixTransformer",
    "MixTransformerConfig",
    "PatchEmbed",
    "TokenLayout",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MixTransformerConfig:
    """What defines a MiT; one entry per stage."""

    widths: tuple[int, ...]
    depths: tuple[int, ...]
    heads: tuple[int, ...] = (1, 2, 5, 8)
    reductions: tuple[int, ...] = (8, 4, 2, 1)  # keys and values are taken from a grid this much coarser
    mlp_ratios: tuple[int, ...] = (4, 4, 4, 4)
    block_norm_eps: float = 1e-6
    embed_norm_eps: float = 1e-5  # patch_embed*.norm and attn.norm: the PyTorch default, which the reference keeps


_B1_WIDTHS = (64, 128, 320, 512)
MIT_VARIANTS = {
    "mit_b0": MixTransformerConfig(widths=(32, 64, 160, 256), depths=(2, 2, 2, 2)),
    "mit_b1": MixTransformerConfig(widths=_B1_WIDTHS, depths=(2, 2, 2, 2)),
    "mit_b2": MixTransformerConfig(widths=_B1_WIDTHS, depths=(3, 4, 6, 3)),
    "mit_b3": MixTransformerConfig(widths=_B1_WIDTHS, depths=(3, 4, 18, 3)),
    "mit_b4": MixTransformerConfig(widths=_B1_WIDTHS, depths=(3, 8, 27, 3)),
    "mit_b5": MixTransformerConfig(widths=_B1_WIDTHS, depths=(3, 6, 40, 3)),
}


class TokenLayout:
    """How a token matrix becomes a feature and back; the fusion writes it another way."""

    @staticmethod
    def tokens(feature: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, H*W, C]."""
        return feature.flatten(2).transpose(1, 2)

    @staticmethod
    def feature(tokens: Tensor, height: int, width: int) -> Tensor:
        """[N, H*W, C] -> [N, C, H, W]."""
        feature: Tensor = tokens.transpose(1, 2).unflatten(2, (height, width))
        return feature


class PatchEmbed(TokenLayout, nn.Module):
    """Overlapping patches: a strided convolution and a LayerNorm over channels."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int, eps: float) -> None:
        super().__init__()
        self.proj = nn.Conv2d(inputs, width, kernel, stride, padding=kernel // 2)
        self.norm = nn.LayerNorm(width, eps=eps)

    def forward(self, x: Tensor) -> tuple[Tensor, int, int]:
        x = self.proj(x)
        height, width = x.shape[2:]
        return self.norm(self.tokens(x)), height, width


class Attention(TokenLayout, nn.Module):
    """Multi-head attention whose keys and values come from a grid reduced by a strided convolution."""

    def __init__(self, width: int, heads: int, reduction: int, eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)  # keys first, then values, each split into heads
        self.proj = nn.Linear(width, width)
        self.reduction = reduction
        if reduction > 1:
            self.sr = nn.Conv2d(width, width, reduction, stride=reduction)
            self.norm = nn.LayerNorm(width, eps=eps)

    def _split_heads(self, tokens: Tensor) -> Tensor:
        split: Tensor = tokens.unflatten(2, (self.heads, -1))  # [N, L, heads, C/heads]
        return split.transpose(1, 2)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        source = tokens
        if self.reduction > 1:
            source = self.norm(self.tokens(self.sr(self.feature(tokens, height, width))))
        keys, values = self.kv(source).chunk(2, dim=2)
        queries = self._split_heads(self.q(tokens) * (tokens.shape[2] // self.heads) ** -0.5)
        scores = queries @ self._split_heads(keys).transpose(2, 3)
        attended = scores.softmax(3) @ self._split_heads(values)
        out: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return out


class DepthwiseConv(TokenLayout, nn.Module):
    """A 3x3 depth-wise convolution: the MLP's only position information. Its key is ``dwconv.dwconv``."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        return self.tokens(self.dwconv(self.feature(tokens, height, width)))


class MixFFN(nn.Module):
    """Linear, 3x3 depth-wise convolution, exact GELU, linear."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.dwconv = DepthwiseConv(hidden)
        self.act = nn.GELU()
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        out: Tensor = self.fc2(self.act(self.dwconv(self.fc1(tokens), height, width)))
        return out


class _Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: MixTransformerConfig, stage: int) -> None:
        super().__init__()
        width = config.widths[stage]
        self.norm1 = nn.LayerNorm(width, eps=config.block_norm_eps)
        self.attn = Attention(width, config.heads[stage], config.reductions[stage], config.embed_norm_eps)
        self.norm2 = nn.LayerNorm(width, eps=config.block_norm_eps)
        self.mlp = MixFFN(width, width * config.mlp_ratios[stage])

    def forward(self, tokens: Tensor, height: int, width: int) -> Tensor:
        tokens = tokens + self.attn(self.norm1(tokens), height, width)
        return tokens + cast(Tensor, self.mlp(self.norm2(tokens), height, width))


class MixTransformer(TokenLayout, nn.Module):
    """MiT: image [N, 3, H, W] -> features [N, widths[i], ceil(H / 4 / 2**i), ceil(W / 4 / 2**i)], i = 0..3."""

    def __init__(self, config: MixTransformerConfig) -> None:
        super().__init__()
        self.config = config
        for stage, width in enumerate(config.widths):
            inputs, kernel, stride = (3, 7, 4) if stage == 0 else (config.widths[stage - 1], 3, 2)
            embed = PatchEmbed(inputs, width, kernel, stride, config.embed_norm_eps)
            blocks = nn.ModuleList(_Block(config, stage) for _ in range(config.depths[stage]))
            # The released names count the stages in the attribute, not in a list.
            setattr(self, f"patch_embed{stage + 1}", embed)
            setattr(self, f"block{stage + 1}", blocks)
            setattr(self, f"norm{stage + 1}", nn.LayerNorm(width, eps=config.block_norm_eps))

    def _stages(self) -> Iterator[tuple[PatchEmbed, nn.ModuleList, nn.LayerNorm]]:
        for stage in range(1, len(self.config.widths) + 1):
            yield getattr(self, f"patch_embed{stage}"), getattr(self, f"block{stage}"), getattr(self, f"norm{stage}")

    def forward(self, image: Tensor) -> list[Tensor]:
        features: list[Tensor] = []
        x = image
        for embed, blocks, norm in self._stages():
            tokens, height, width = embed(x)
            for block in blocks:
                tokens = block(tokens, height, width)
            x = self.feature(norm(tokens), height, width)
            features.append(x)
        return features
