"""The upsampler in a slot: told by the names and shapes of its weights, or stated where two share them."""

from __future__ import annotations

import math
from typing import Any

from fade_deploy.checkpoints.safe_load import one_line
from fade_deploy.checkpoints.weight_shapes import WeightShapes, state_it
from fade_deploy.contract import KERNEL_SIZES
from fade_deploy.errors import CheckpointError, RecipeError
from fade_deploy.ops.registry import BILINEAR
from fade_deploy.recipe import Recipe

__all__ = ["PUBLISHED_SAPA_KERNEL_SIZE", "upsampler_in"]

PUBLISHED_SAPA_KERNEL_SIZE = 5
_SAPA = ("gate.weight", "q.weight")  # what tells the family, below

_ENCODER, _DECODER, _MIXER = (
    f"ker_generator.{name}.weight" for name in ("compressor_en", "compressor_de", "content_encoder")
)
_INDEX_INNER = "index_net.indexnet1.3.weight"
# A key that only these upsamplers have -> them; the first row that fits counts. The first of several is meant unless
# another is stated: they share every name and shape. Then: where K*K (times 4 for CARAFE and A2U, which predict a
# kernel a sub-pixel) and the compressed width stand, if they can be chosen.
_FAMILY: tuple[tuple[str, tuple[str, ...], tuple[str, int] | None, str | None], ...] = (
    (_ENCODER, ("encoder_only",), (_MIXER, 1), _ENCODER),
    ("ker_generator.compressor.weight", ("naive",), (_MIXER, 1), "ker_generator.compressor.weight"),
    ("channel_compressor.weight", ("carafe",), ("content_encoder.weight", 4), "channel_compressor.weight"),
    (_INDEX_INNER, ("indexnet_context",), None, None),
    ("index_net.indexnet1.0.weight", ("indexnet",), None, None),
    ("kernel_gen.bconv_UP.1.weight", ("a2u",), ("kernel_gen.bconv_UP.1.weight", 4), None),
    ("gate.weight", ("sapa_gate",), None, "k.weight"),
    ("q.weight", ("sapa", "sapa_concat"), None, "k.weight"),
)


def upsampler_in(slot: str, weights: WeightShapes, recipe: Recipe) -> dict[str, Any]:
    """``upsampler``, ``kernel_size`` and ``compressed`` of a model's configuration, as far as the slot has them.

    Args:
        slot: Prefix of the first slot's keys, for example ``decode_head.upsamplers.0``.
        weights: Of the checkpoint.
        recipe: May state what no key tells.

    Raises:
        CheckpointError: An upsampler that we don't know, or two that share their names without a statement.
        RecipeError: The recipe states another one than the weights are.
    """
    stated = _stated_upsampler(weights, recipe)
    keys = {key.removeprefix(f"{slot}.") for key in weights.shapes if key.startswith(f"{slot}.")}
    if not keys:
        return {"upsampler": _one_of((BILINEAR,), stated, weights, recipe)}
    if "gate_generator.conv.weight" in keys or {_DECODER, _MIXER} <= keys:
        return _fade(slot, stated, weights, recipe)
    for mark, names, taps, width in _FAMILY:
        if mark not in keys:
            continue
        if mark == "q.weight":  # the query reads the encoder feature alone, or both
            read, channels = (weights.of(f"{slot}.{layer}.weight", 2)[1] for layer in ("q", "k"))
            names = names[1:] if read == 2 * channels else names[:1]
        found: dict[str, Any] = {"upsampler": _one_of(names, stated, weights, recipe)}
        if taps is not None:
            found["kernel_size"] = _kernel_size(weights.first_size(f"{slot}.{taps[0]}"), weights, kernels=taps[1])
        elif mark in _SAPA:
            found["kernel_size"] = _stated_kernel_size(weights, recipe)
        if mark == _INDEX_INNER:  # as wide inside as the slot, whatever that is, or of a width of its own
            channels, inner, *_ = weights.of(f"{slot}.{mark}", 4)
            return {**found, "compressed": None if inner == channels else inner}
        if width is not None:
            found["compressed"] = weights.first_size(f"{slot}.{width}")
        return found
    first = one_line(next(key for key in weights.shapes if key.startswith(f"{slot}.")))
    raise CheckpointError(
        f"{weights.path} has an upsampler that is not supported: '{first}'; expected one of the family (FADE, "
        "FADE-Lite, CARAFE, IndexNet, A2U, SAPA, the ablations) or none (bilinear): give a checkpoint with one of these"
    )


def _fade(slot: str, stated: str, weights: WeightShapes, recipe: Recipe) -> dict[str, Any]:
    """FADE, FADE-Lite, their scrambled form, the semi-shift convolution without a gate, or with a skip."""
    taps, per_group, *_ = weights.of(f"{slot}.{_MIXER}", 4)
    compressed = weights.of(f"{slot}.{_ENCODER}", 4)[0]
    kernel_size = _kernel_size(taps, weights)
    has_gate = f"{slot}.gate_generator.conv.weight" in weights.shapes
    is_lite = per_group == 1 and compressed == taps > 1
    layout = "scrambled" if stated == "fade_scrambled" else _layout(weights, recipe)
    if (is_lite and not has_gate) or (layout == "scrambled" and (is_lite or not has_gate)):
        kind = "FADE-Lite" if is_lite else "the semi-shift convolution"
        kind += f" {'with' if has_gate else 'without'} a gate{' and scrambled' if layout == 'scrambled' else ''}"
        raise CheckpointError(
            f"{weights.path}: {kind} is not supported; expected FADE, FADE-Lite with a gate, or the semi-shift "
            "convolution: give a checkpoint with one of these"
        )
    if layout == "scrambled" and compressed % 4:
        raise CheckpointError(
            f"{weights.path}: the scrambled layout needs a compressed width that is a multiple of 4, given "
            f'{compressed}: state high_to_low = "exact"'
        )
    if not has_gate:
        names: tuple[str, ...] = ("semishift", "skip")
    elif is_lite:
        names = ("fade_lite",)
    else:
        names = ("fade_scrambled",) if layout == "scrambled" else ("fade",)
    found = {"upsampler": _one_of(names, stated, weights, recipe), "kernel_size": kernel_size}
    return found if is_lite else {**found, "compressed": compressed}  # FADE-Lite's width is no choice


def _kernel_size(channels: int, weights: WeightShapes, *, kernels: int = 1) -> int:
    kernel_size = math.isqrt(channels // kernels)
    if kernels * kernel_size**2 != channels or kernel_size not in KERNEL_SIZES:
        raise CheckpointError(
            f"{weights.path}: the upsamplers predict {channels} weights per pixel; expected "
            f"{f'{kernels}*' if kernels > 1 else ''}K*K with K in {KERNEL_SIZES}: train with one of these kernel sizes"
        )
    return kernel_size


def _stated_kernel_size(weights: WeightShapes, recipe: Recipe) -> int:
    """K of SAPA, whose weights don't hold it: as stated, else as published."""
    kernel_size = _stated("kernel_size", weights, recipe) or PUBLISHED_SAPA_KERNEL_SIZE
    if type(kernel_size) is not int or kernel_size not in KERNEL_SIZES:
        raise CheckpointError(
            f"{weights.path}: kernel_size is stated as {one_line(kernel_size)}, expected one of {KERNEL_SIZES}: mend "
            "meta['fade_deploy'], or the recipe"
        )
    return kernel_size


def _stated_upsampler(weights: WeightShapes, recipe: Recipe) -> str:
    name = _stated("upsampler", weights, recipe)
    if not isinstance(name, str):
        raise CheckpointError(
            f"{weights.path}: meta['fade_deploy']['upsampler'] is {one_line(name)}, expected a name: mend it and save "
            "again"
        )
    return name


def _stated(field: str, weights: WeightShapes, recipe: Recipe) -> Any:
    """What the checkpoint's facts or the recipe state, where they don't contradict each other; else empty."""
    fact, asked = weights.facts.get(field), getattr(recipe, field)
    if fact and asked and asked != fact:
        raise RecipeError(
            f"recipe '{recipe.name}' has {field} = {asked!r}, but {weights.path} says {one_line(repr(fact))}: leave it "
            "out of the recipe"
        )
    return fact or asked


def _one_of(names: tuple[str, ...], stated: str, weights: WeightShapes, recipe: Recipe) -> str:
    if stated and stated not in names:
        raise CheckpointError(
            f"{weights.path} is stated to have the upsampler '{one_line(stated)}', but its weights are those of "
            f"{' or '.join(names)}: mend the statement, in the recipe or in meta['fade_deploy']"
        )
    return stated or names[0]


def _layout(weights: WeightShapes, recipe: Recipe) -> str:
    """'exact' or 'scrambled', as the checkpoint's facts or the recipe state it; low-to-high names alone mean exact.

    Two files of the reference give the same high-to-low names to two functions, so these names need a statement.
    """
    stated = _stated("high_to_low", weights, recipe)
    if stated not in ("", "exact", "scrambled"):
        raise CheckpointError(
            f"{weights.path}: meta['fade_deploy']['high_to_low'] is '{one_line(stated)}', expected 'exact' or "
            "'scrambled': mend it and save again"
        )
    if not stated and weights.is_high_to_low:
        raise CheckpointError(
            f"{weights.path} has the upsampler keys of FADE_H2L.py, of which two exist that compute different things: "
            'state high_to_low = "exact" (the CUDA file) or "scrambled" (the plain PyTorch file) under [model] '
            f"{state_it(recipe.task)}"
        )
    return str(stated) or "exact"
