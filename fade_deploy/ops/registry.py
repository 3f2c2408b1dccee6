"""The upsamplers by name: what fits between a decoder feature and the encoder feature of twice its size."""

from __future__ import annotations

import inspect
from collections.abc import Callable

from torch import nn

from fade_deploy import contract
from fade_deploy.errors import RecipeError
from fade_deploy.ops.a2u import A2U
from fade_deploy.ops.ablations import Bilinear, EncoderOnlyUp, NaiveUp, SkipUp
from fade_deploy.ops.carafe import CARAFE
from fade_deploy.ops.fade import FADE, FADELite, ScrambledFADE, SemiShiftUp
from fade_deploy.ops.indexnet import IndexNet, IndexNetContext
from fade_deploy.ops.reassembly import SCALE
from fade_deploy.ops.sapa import SAPA, SAPAConcat, SAPAGate

__all__ = ["BILINEAR", "UPSAMPLERS", "build_upsampler"]

# Models that resize on their own take this name to mean "no module"; built here, it is a module without weights.
BILINEAR = "bilinear"

UPSAMPLERS: dict[str, Callable[..., nn.Module]] = {
    BILINEAR: Bilinear,
    "carafe": CARAFE,
    "indexnet": IndexNet,
    "indexnet_context": IndexNetContext,
    "a2u": A2U,
    "sapa": SAPA,
    "sapa_gate": SAPAGate,
    "sapa_concat": SAPAConcat,
    "fade": FADE,
    "fade_lite": FADELite,
    "fade_scrambled": ScrambledFADE,
    "semishift": SemiShiftUp,
    "encoder_only": EncoderOnlyUp,
    "naive": NaiveUp,
    "skip": SkipUp,
}


def build_upsampler(
    name: str, channels: int, *, kernel_size: int | None = None, compressed: int | None = None
) -> nn.Module:
    """The upsampler of that name, a module ``(encoder [N, C, 2h, 2w], decoder [N, C, h, w]) -> [N, C, 2h, 2w]``.

    Args:
        name: A key of ``UPSAMPLERS``.
        channels: C of encoder and decoder.
        kernel_size: K of the reassembly; None is the published default of that upsampler.
        compressed: Width of its kernel generator (of SAPA: of the embedding); None is the published default.

    Raises:
        RecipeError: There is no such upsampler, it has no such choice, or K is not in ``contract.KERNEL_SIZES`` or
            ``compressed`` below 1.
        ValueError: The class itself refuses a value, as :class:`~fade_deploy.ops.a2u.A2U` does other channels than
            multiples of 32.
    """
    if name not in UPSAMPLERS:
        raise RecipeError(f"upsampler '{name}' is unknown, expected one of {', '.join(UPSAMPLERS)}")
    build = UPSAMPLERS[name]
    choices = {"kernel_size": kernel_size, "compressed": compressed}
    given = {key: value for key, value in choices.items() if value is not None}
    for key in given.keys() - inspect.signature(build).parameters.keys():
        raise RecipeError(f"upsampler '{name}' has no {key} to choose, given {given[key]}: leave it out")
    try:
        if kernel_size is not None:
            contract.check_limits(kernel_size=kernel_size, scale=SCALE)
        if compressed is not None and compressed < 1:
            raise ValueError(f"compressed is {compressed}, expected at least 1")
    except ValueError as error:
        raise RecipeError(f"upsampler '{name}': {error}") from error
    return build(channels, **given)
