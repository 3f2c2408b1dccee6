"""The upsamplers by name: what fits between a decoder feature and the encoder feature of twice its size."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from fade_deploy.ops.fade import FADE, FADELite, ScrambledFADE, SemiShiftUp

__all__ = ["BILINEAR", "UPSAMPLERS"]

# Plain resizing has no module and no weights; a model that is told this name builds none.
BILINEAR = "bilinear"


def _fade_lite(channels: int, *, kernel_size: int, compressed: int) -> FADELite:
    del compressed  # its compressors have K*K channels, whatever the others' width
    return FADELite(channels, kernel_size=kernel_size)


# name -> constructor(channels, kernel_size=K, compressed=width of the kernel generator)
UPSAMPLERS: dict[str, Callable[..., nn.Module]] = {
    "fade": FADE,
    "fade_lite": _fade_lite,
    "fade_scrambled": ScrambledFADE,
    "semishift": SemiShiftUp,
}
