"""The upsamplers by name: what fits between a decoder feature and the encoder feature of twice its size."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fade_deploy.ops.fade import FADE, FADELite, ScrambledFADE, SemiShiftUp

__all__ = ["BILINEAR", "UPSAMPLERS"]

# Plain resizing has no module and no weights; a model that is told this name builds none.
BILINEAR = "bilinear"

# name -> constructor(channels, kernel_size=..., and compressed=... where the kernel generator has a free width)
UPSAMPLERS: dict[str, Callable[..., nn.Module]] = {
    "fade": FADE,
    "fade_lite": FADELite,
    "fade_scrambled": ScrambledFADE,
    "semishift": SemiShiftUp,
}
