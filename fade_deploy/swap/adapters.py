"""What stands in a user's model after a swap: our operators under the call signatures of public repositories.

Each takes the convolutions and norms of the module that it replaces, not copies, so that values, dtypes, devices, flags
and state-dict keys are the user's own (the high-to-low FADE alone takes the keys of the low-to-high file).

Source: the forward functions and keys of mmcv's ``carafe.py``, and of the public repositories of FADE, IndexNet, A2U
and SAPA.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.ops import fade, sapa
from fade_deploy.ops.a2u import KernelGenerator
from fade_deploy.ops.indexnet import interleaved
from fade_deploy.ops.reassembly import SCALE, normalised_reassembly, reassemble

__all__ = [
    "FADE",
    "SAPA",
    "CARAFEPack",
    "FADELite",
    "IndexMaps",
    "InterChannelUpDown",
    "Reassembly",
    "ReassemblyOfCall",
    "SAPAConcat",
    "SAPAGate",
    "ScrambledFADE",
    "SemiShiftUp",
]


class _EncoderDecoderNames(nn.Module):
    """The names that FADE's files give the two features."""

    def forward(self, en: Tensor, de: Tensor) -> Tensor:
        out: Tensor = super().forward(en, de)
        return out


class FADE(_EncoderDecoderNames, fade.FADE):
    """FADE as the reference's files call it: ``(en [N,C,2h,2w], de [N,C,h,w]) -> [N,C,2h,2w]``."""


class FADELite(_EncoderDecoderNames, fade.FADELite):
    """FADE-Lite as the reference's file calls it: ``(en, de)``."""


class ScrambledFADE(_EncoderDecoderNames, fade.ScrambledFADE):
    """The function of the plain PyTorch high-to-low file, called ``(en, de)``."""


class SemiShiftUp(_EncoderDecoderNames, fade.SemiShiftUp):
    """FADE without its gate as the reference's file calls it: ``(en, de)``."""


class _ValueKeyNames(nn.Module):
    """The names that SAPA's files give the two features."""

    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        out: Tensor = super().forward(y, x)
        return out


class SAPA(_ValueKeyNames, sapa.SAPA):
    """SAPA as its files call it: ``(y [N,C,2h,2w] of the encoder, x [N,C,h,w] of the decoder) -> [N,C,2h,2w]``."""


class SAPAGate(_ValueKeyNames, sapa.SAPAGate):
    """SAPA with a gated query, called ``(y, x)``."""


class SAPAConcat(_ValueKeyNames, sapa.SAPAConcat):
    """SAPA with a query from both features, called ``(y, x)``."""


class CARAFEPack(nn.Module):
    """CARAFE from one feature: ``reassemble(x, softmax(pixel_shuffle(E(C(x)))))``, [N, C, h, w] -> [N, C, sh, sw].

    Args:
        compressor: C, any module that keeps the size; ``names`` tell the attribute names of C and E.
        encoder: E, to G*K*K*s*s channels.
        kernel_size: K.
        groups: G; group g serves the channels with ``c // (C/G) == g``.
        scale: s.
    """

    def __init__(
        self,
        compressor: nn.Module,
        encoder: nn.Module,
        *,
        kernel_size: int,
        groups: int,
        scale: int,
        names: tuple[str, str] = ("channel_compressor", "content_encoder"),
    ) -> None:
        super().__init__()
        self.kernel_size, self.groups, self.scale = kernel_size, groups, scale
        self._names = names
        self.add_module(names[0], compressor)
        self.add_module(names[1], encoder)

    def forward(self, x: Tensor) -> Tensor:
        compress, encode = (self.get_submodule(name) for name in self._names)
        logits = F.pixel_shuffle(encode(compress(x)), self.scale)
        if self.groups == 1:  # the fused form: one node with its softmax
            return normalised_reassembly(x, logits, kernel_size=self.kernel_size, scale=self.scale)
        kernels = logits.unflatten(1, (self.groups, -1)).softmax(2).flatten(1, 2)
        return reassemble(x, kernels, kernel_size=self.kernel_size, scale=self.scale, groups=self.groups)


class Reassembly(nn.Module):
    """Reassembly with given kernels: mmcv's ``CARAFE`` and ``CARAFENaive``, A2U's ``BiupsampleNaive``.

    Maps (features [N, C, H, W], masks [N, G*K*K, sH, sW]) to [N, C, sH, sW].
    """

    def __init__(self, *, kernel_size: int, group_size: int, scale_factor: int) -> None:
        super().__init__()
        self.kernel_size, self.group_size, self.scale_factor = kernel_size, group_size, scale_factor

    def forward(self, features: Tensor, masks: Tensor) -> Tensor:
        return reassemble(
            features, masks, kernel_size=self.kernel_size, scale=self.scale_factor, groups=self.group_size
        )


class ReassemblyOfCall(nn.Module):
    """Reassembly whose K and scale come with the call: ``CARAFE`` of the reference's plain PyTorch files."""

    def forward(self, x: Tensor, kernel: Tensor, kernel_size: int = 5, ratio: int = 2) -> Tensor:
        return reassemble(x, kernel, kernel_size=kernel_size, scale=ratio)


class IndexMaps(nn.Module):
    """IndexNet's index block: [N, C, 2h, 2w] -> (idx_en, idx_de), each [N, C, 2h, 2w], or [N, 1, 2h, 2w] if holistic.

    ``idx_de = sigmoid(b)``, ``idx_en = softmax(idx_de)`` over the four sub-pixels, b the branches' outputs (stride 2),
    interleaved as the sub-pixels. The branches keep their names: four, or one of four channels.
    """

    def __init__(self, branches: dict[str, nn.Module]) -> None:
        super().__init__()
        self._names = tuple(branches)
        for name, branch in branches.items():
            self.add_module(name, branch)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        outputs = [self.get_submodule(name)(x) for name in self._names]
        logits = torch.stack(outputs, 2) if len(outputs) > 1 else outputs[0].unsqueeze(1)  # [N, C, 4, h, w]
        gates = logits.sigmoid()
        return interleaved(gates.softmax(2)), interleaved(gates)


class InterChannelUpDown(KernelGenerator):
    """A2U's kernel generator, kernels shared over the channels: [N, C, 2h, 2w] -> (masks_down, masks_up).

    ``masks_up`` [N, K*K, 2h, 2w] are :class:`~fade_deploy.ops.a2u.A2U`'s kernels after their softmax, ``masks_down``
    [N, 4*K*K, h, w] a softmax of the same affinity. The public code loops over the images; this keeps the batch free.
    """

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        down, up = self.scaled_affinity(x, self.bconv_DP, self.bconv_UP)
        return down.softmax(1), F.pixel_shuffle(up, SCALE).sigmoid().softmax(1)
