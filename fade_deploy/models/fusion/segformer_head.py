"""The SegFormer head with its linear layers where they cost least: at the resolution of the backbone's features.

Reassembly and gate act on pixels, with one weight for all channels, so a linear map of channels passes through both:
``W (g*e + (1-g)*R(d)) = g*(W e) + (1-g)*R(W d)``. The fuse convolution is such a map of each upsampled feature, and so
are the compressor and the gate of every further upsampler; all of them are pushed down to the backbone feature where a
chain starts, composed with its projection. Biases stay with the channels they belong to: R does not preserve
constants at the border, so nothing is moved past it.

Step 1 (:class:`PushedHead`): neither the projected features nor their concatenation exists any more.
Step 2 (:class:`LastStageHead`): the three upsamplers that share the finest encoder feature end in one operator.

Source: the algebra of DESIGN decision 2; SegFormerHead is the reference.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.models.fusion.affine import Affine, folded_norm, stacked
from fade_deploy.models.fusion.kernel_logits import SemiShift, decoder_logits, encoder_logits, is_gated, is_semi_shift
from fade_deploy.models.fusion.replaced import replacing
from fade_deploy.models.segformer import CHAINS, SegFormerHead
from fade_deploy.ops.reassembly import SCALE, accumulate, head, normalised_reassembly, upsample
from fade_deploy.ops.torch_ops import repeat_nearest

__all__ = ["LastStageHead", "ProjectedBilinearHead", "PushedHead"]

_FUSE = "decode_head.linear_fuse"
_CLASSES = "decode_head.linear_pred"


def _projection(i: int) -> str:
    return f"decode_head.linear_c{i}"


def _upsampler(slot: int) -> str:
    return f"decode_head.upsamplers.{slot}"


class _FoldedHead:
    """A head's linear layers as maps: projections P_i by number, the fuse convolution's blocks W_i, its bias."""

    def __init__(self, original: SegFormerHead) -> None:
        self.projections = {i: Affine.of(getattr(original, f"linear_c{i}").proj) for i in (1, 2, 3, 4)}
        fuse = folded_norm(original.linear_fuse.conv, original.linear_fuse.bn)
        self.width = len(fuse.bias)
        self.blocks = dict(zip((4, 3, 2, 1), fuse.columns([self.width] * 4), strict=True))
        self.bias = fuse.bias
        self.classes = Affine.of(original.linear_pred)

    def block(self, i: int) -> Affine:
        """W_i, without a bias."""
        return Affine(self.blocks[i], torch.zeros_like(self.bias))

    def base(self) -> Affine:
        """``W_1 (P_1 x + p_1) + bias``: all of the fused feature that needs no upsampling."""
        return Affine(self.blocks[1], self.bias).after(self.projections[1])


class ProjectedBilinearHead(nn.Module):
    """Bilinear: each block is applied before its feature is resized, which is linear, too, and preserves constants.

    ``out = classes(relu(base(x_1) + sum_i resize(W_i P_i x_i)))``
    """

    def __init__(self, original: SegFormerHead) -> None:
        super().__init__()
        folded = _FoldedHead(original)
        self.base = replacing(folded.base().as_convolution(), _projection(1), _FUSE)
        self.projected = nn.ModuleList(
            replacing(folded.block(i).after(folded.projections[i]).as_convolution(), _projection(i), _FUSE)
            for i in (4, 3, 2)
        )
        self.classes = replacing(folded.classes.as_convolution(), _CLASSES)
        replacing(self, _FUSE)

    def forward(self, features: list[Tensor]) -> Tensor:
        fused = self.base(features[0])
        for layer, feature in zip(self.projected, features[:0:-1], strict=True):
            fused = fused + F.interpolate(layer(feature), size=fused.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.classes(F.relu(fused))
        return logits


class _Slot(nn.Module):
    """One upsampler in a chain.

    The decoder feature that it takes has three groups of channels: ``passed``, which it upsamples for what comes after;
    its own compressed channels; and its own gate logit, where it has a gate.
    """

    def __init__(self, upsampler: SemiShift, projection: Affine, passed: Affine) -> None:
        super().__init__()
        self.kernel_size = upsampler.kernel_size
        self.passed = len(passed.bias)
        compressor = Affine.of(upsampler.ker_generator.compressor_de)
        self.compressed = len(compressor.bias)
        own = [compressor]
        self.gated = is_gated(upsampler)
        if is_gated(upsampler):
            gate = Affine.of(upsampler.gate_generator.conv)
            own.append(gate.linear())
            # Not in the rows: the feature may have been reassembled since it was projected, and a bias was not.
            self.gate_bias = nn.Parameter(gate.bias.view(1, 1, 1, 1), requires_grad=False)
            self.encoder = passed.after(projection).as_convolution()
        self.rows = stacked(passed, *own)  # of the decoder feature: what its producer has to compute
        self.decoder_logits = decoder_logits(upsampler)

    def own_channels(self, feature: Tensor) -> tuple[Tensor, Tensor | None]:
        """Low-resolution kernel logits, and the gate's logit where there is a gate."""
        end = self.passed + self.compressed
        gate = feature[:, end:] + self.gate_bias if self.gated else None
        return self.decoder_logits(feature[:, self.passed : end]), gate

    def forward(self, encoder: Tensor, logits: Tensor, feature: Tensor) -> Tensor:
        own_logits, gate = self.own_channels(feature)
        logits = logits + repeat_nearest(own_logits, SCALE)
        decoder = feature[:, : self.passed]
        if gate is None:
            return normalised_reassembly(decoder, logits, kernel_size=self.kernel_size)
        return upsample(decoder, logits, self.encoder(encoder), gate, kernel_size=self.kernel_size, scale=SCALE)


class _Chain(nn.Module):
    """From a backbone feature up through the upsamplers of :data:`fade_deploy.models.segformer.CHAINS`.

    Args:
        start: Number of the feature.
        encoders: Those of the encoder features it walks.
        upsamplers: One for each, by slot number.
        folded: The head's maps.
    """

    def __init__(self, start: int, encoders: Sequence[int], upsamplers: dict[int, SemiShift], folded: _FoldedHead):
        super().__init__()
        self.start_feature, self.encoders = start, tuple(encoders)
        rows = folded.block(start)
        slots: list[_Slot] = []
        for number, encoder in zip(reversed(upsamplers), reversed(encoders), strict=True):
            slot = _Slot(upsamplers[number], folded.projections[encoder], rows)
            slots.insert(0, replacing(slot, _projection(encoder), _upsampler(number)))
            rows = slot.rows
        names = map(_upsampler, upsamplers)
        self.start = replacing(
            rows.after(folded.projections[start]).as_convolution(), _projection(start), _FUSE, *names
        )
        self.slots = nn.ModuleList(slots)
        self.logits = nn.ModuleList(
            replacing(
                encoder_logits([upsamplers[number]], folded.projections[encoder]),
                _projection(encoder),
                _upsampler(number),
            )
            for number, encoder in zip(upsamplers, encoders, strict=True)
        )

    def last_slot(self) -> _Slot:
        """The one whose encoder is x_1."""
        return cast(_Slot, self.slots[-1])

    def before_last(self, features: list[Tensor]) -> Tensor:
        """The decoder feature of the last slot."""
        feature: Tensor = self.start(features[self.start_feature - 1])
        for step, i in enumerate(self.encoders[:-1]):
            encoder = features[i - 1]
            feature = self.slots[step](encoder, self.logits[step](encoder), feature)
        return feature

    def forward(self, features: list[Tensor]) -> Tensor:
        encoder = features[self.encoders[-1] - 1]
        out: Tensor = self.slots[-1](encoder, self.logits[-1](encoder), self.before_last(features))
        return out


class PushedHead(nn.Module):
    """Step 1: ``out = classes(relu(base(x_1) + sum_i chain_i))``, where each chain upsamples W_i of its feature."""

    def __init__(self, original: SegFormerHead) -> None:
        super().__init__()
        assert original.upsamplers is not None
        folded = _FoldedHead(original)
        self.base = replacing(folded.base().as_convolution(), _projection(1), _FUSE)
        numbered = iter(enumerate(module for module in original.upsamplers if is_semi_shift(module)))
        self.chains = nn.ModuleList(
            _Chain(start, encoders, dict(itertools.islice(numbered, len(encoders))), folded)
            for start, encoders in CHAINS
        )
        self.classes = replacing(folded.classes.as_convolution(), _CLASSES)
        replacing(self, _FUSE)

    def forward(self, features: list[Tensor]) -> Tensor:
        fused = self.base(features[0])
        for chain in self.chains:
            fused = fused + chain(features)
        logits: Tensor = self.classes(F.relu(fused))
        return logits


class LastStageHead(PushedHead):
    """Step 2: the last upsamplers of all chains share their encoder x_1, so they end together.

    Their kernel logits are one convolution of x_1. With gates, what they take of x_1 is one product of it,
    ``sum_i g_i W_i c_1 = [W_4 P_1 | W_3 P_1 | W_2 P_1 | W_4 p_1 | ...] @ [g_4 x_1, g_3 x_1, g_2 x_1, g_4, ...]``, and
    that product, the three reassemblies, ReLU and the classes are the operator ``FadeHead``. Without gates the three
    reassemblies are added to the base by ``FadeAccumulate``.
    """

    def __init__(self, original: SegFormerHead) -> None:
        super().__init__(original)
        assert original.upsamplers is not None
        folded = _FoldedHead(original)
        # Slots are numbered through the chains, so the last of a chain is where its length ends.
        last = [length - 1 for length in itertools.accumulate(len(encoders) for _, encoders in CHAINS)]
        names = [_upsampler(slot) for slot in last]
        upsamplers = [module for i, module in enumerate(original.upsamplers) if i in last and is_semi_shift(module)]
        self.shared_logits = replacing(encoder_logits(upsamplers, folded.projections[1]), _projection(1), *names)
        self.kernel_size = upsamplers[0].kernel_size
        self.gated = is_gated(upsamplers[0])
        for chain in self._chains():
            del chain.logits[-1]  # now a part of shared_logits
            if self.gated:
                del chain.last_slot().encoder  # and of encoder_weight, as the base is
        if self.gated:
            self.encoder_weight = nn.Parameter(_gated_product(folded), requires_grad=False)
            self.encoder_bias = self.base.bias
            del self.base
        inside = (_projection(1), _CLASSES) if self.gated else ()  # the operator has these, too
        replacing(self, *names, _FUSE, *inside)

    def _chains(self) -> list[_Chain]:
        return [cast(_Chain, chain) for chain in self.chains]

    def forward(self, features: list[Tensor]) -> Tensor:
        encoder = features[0]
        logits = self.shared_logits(encoder)
        first, second, third = (chain.before_last(features) for chain in self._chains())
        own = [
            chain.last_slot().own_channels(decoder)
            for chain, decoder in zip(self._chains(), (first, second, third), strict=True)
        ]
        low_logits = torch.cat([logits for logits, _ in own], 1)
        if self.gated:
            return head(
                first,
                second,
                third,
                logits,
                low_logits,
                torch.cat([gate for _, gate in own if gate is not None], 1),
                encoder,
                self.encoder_weight,
                cast(Tensor, self.encoder_bias),
                self.classes.weight.flatten(1),
                cast(Tensor, self.classes.bias),
                kernel_size=self.kernel_size,
                scale=SCALE,
            )
        base = self.base(encoder)
        fused = accumulate(
            torch.cat([decoder[:, : base.shape[1]] for decoder in (first, second, third)], 1),
            logits + repeat_nearest(low_logits, SCALE),
            base,
            torch.ones_like(low_logits[:, : len(own)]),
            kernel_size=self.kernel_size,
            scale=SCALE,
            terms=len(own),
        )
        out: Tensor = self.classes(F.relu(fused))
        return out


def _gated_product(folded: _FoldedHead) -> Tensor:
    """``[W_4 P_1 | W_3 P_1 | W_2 P_1 | W_1 P_1 | W_4 p_1 | W_3 p_1 | W_2 p_1]``, of ``[g_i x_1 ..., x_1, g_i ...]``."""
    projection = folded.projections[1]
    gated = [folded.blocks[start] for start, _ in CHAINS]
    products = [block @ projection.weight for block in (*gated, folded.blocks[1])]
    return torch.cat([*products, *((block @ projection.bias)[:, None] for block in gated)], dim=1)
