"""The networks in which the papers compare upsamplers by parameters and multiply-accumulates."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import nn

from fade_deploy.models.a2u_matting import A2UMatting, A2UMattingConfig
from fade_deploy.models.complexity import Complexity, count, count_call
from fade_deploy.models.mix_transformer import MIT_VARIANTS
from fade_deploy.models.segformer import SegFormer, SegFormerConfig
from fade_deploy.ops.reassembly import SCALE
from fade_deploy.ops.registry import BILINEAR, UPSAMPLERS, build_upsampler

__all__ = ["BASE", "CHANNELS", "NAMES", "a2u_matting", "cost_of_model", "cost_of_operator", "segformer_b1"]

BASE = BILINEAR  # what the papers' differences are taken from
NAMES = tuple(UPSAMPLERS)
CHANNELS = 256  # of the single operator in the papers' figure, and of every slot of SegFormer-B1's head


def segformer_b1(upsampler: str, *, inner: int = 0) -> SegFormer:
    """SegFormer-B1 for the 150 classes of ADE20K.

    Args:
        upsampler: A name of ``ops.registry``, in all six slots.
        inner: Width of its kernel generator as a multiple of the slot's channels; 0 is its default.
    """
    config = SegFormerConfig(
        backbone=MIT_VARIANTS["mit_b1"],
        embed_width=CHANNELS,
        classes=150,
        upsampler=upsampler,
        compressed=inner * CHANNELS or None,
    )
    return SegFormer(config)


def a2u_matting(upsampler: str, *, inner: int = 0) -> A2UMatting:
    """A2U matting as released; arguments as :func:`segformer_b1`, the upsampler being in all four slots."""
    model = A2UMatting(A2UMattingConfig(upsampler=upsampler))
    if inner:  # the slots differ in their channels, so one width for all would not do
        layers = (model.decoder_layer4, model.decoder_layer3, model.decoder_layer2, model.decoder_layer1)
        for layer, (channels, _) in zip(layers, model.config.decoder_widths(), strict=True):
            layer.up = build_upsampler(upsampler, channels, compressed=inner * channels)
    return model


def cost_of_model(
    build: Callable[..., SegFormer | A2UMatting],
    upsampler: str,
    *,
    height: int,
    width: int,
    inner: int = 0,
    without: Sequence[str] = (),
) -> Complexity:
    """What a whole network with that upsampler costs for one image.

    Args:
        build: :func:`segformer_b1` or :func:`a2u_matting`.
        upsampler: As there.
        height: Of the image, pixels.
        width: Likewise.
        inner: As there.
        without: Leave out the parameters whose names contain one of these; they are to cost no MACs.
    """
    with torch.device("meta"):  # nothing is initialised, nothing takes memory
        model = build(upsampler, inner=inner)
    complexity = count(model, height=height, width=width, channels=model.INPUTS)
    return dataclasses.replace(complexity, parameters=_parameters(model, without))


def cost_of_operator(upsampler: str, *, height: int, width: int, without: Sequence[str] = ()) -> Complexity:
    """What a single upsampler of 256 channels costs whose output has that size; ``without`` as above."""
    with torch.device("meta"):
        module = build_upsampler(upsampler, CHANNELS)
    encoder, decoder = (1, CHANNELS, height, width), (1, CHANNELS, height // SCALE, width // SCALE)
    complexity = count_call(module, encoder, decoder)
    return dataclasses.replace(complexity, parameters=_parameters(module, without))


def _parameters(module: nn.Module, without: Sequence[str]) -> int:
    return sum(
        parameter.numel() for name, parameter in module.named_parameters() if not any(part in name for part in without)
    )
