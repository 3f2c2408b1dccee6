"""From weights to the SegFormer they belong to: read from shapes, looked up, or stated, never guessed.

Shapes tell widths, depths, reductions, MLP ratios, embed width, classes, upsampler, kernel size and its width. What
they can't tell comes from the table of B0 to B5 where it matches, else from the checkpoint's facts, else the recipe.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from fade_deploy.checkpoints.checkpoint import Checkpoint
from fade_deploy.checkpoints.recognise_backbone import STATE_IT, Shapes, backbone_config, backbone_name
from fade_deploy.checkpoints.safe_load import one_line
from fade_deploy.checkpoints.unsupported import refuse_unsupported
from fade_deploy.contract import KERNEL_SIZES
from fade_deploy.errors import CheckpointError, RecipeError
from fade_deploy.models.segformer import SegFormer, SegFormerConfig
from fade_deploy.ops.fade import low_to_high_key
from fade_deploy.recipe import Recipe, list_recipes, load_recipe

__all__ = ["backbone_name", "class_names", "recipe_for", "segformer_config", "segformer_from_checkpoint"]

_SLOT = "decode_head.upsamplers.0"
_FIRST_FEW = 3  # keys of each kind that an error lists


def segformer_from_checkpoint(checkpoint: Checkpoint, recipe: Recipe) -> SegFormer:
    """The SegFormer that the weights belong to, loaded, in eval mode, float32.

    Raises:
        CheckpointError: The weights are not one complete SegFormer, or leave something open that nobody states.
        RecipeError: The recipe contradicts the weights.
    """
    config = segformer_config(checkpoint, recipe)
    with torch.device("meta"):  # no memory and no initial values: the checkpoint's are the first
        model = SegFormer(config).eval()
    weights = {low_to_high_key(key): tensor.clone() for key, tensor in checkpoint.state_dict.items()}
    expected = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    _check_keys(checkpoint, config, weights, expected)
    counters = {key: torch.tensor(0) for key in model.state_dict().keys() - expected.keys()}
    model.load_state_dict({**weights, **counters}, strict=True, assign=True)
    return model


def segformer_config(checkpoint: Checkpoint, recipe: Recipe) -> SegFormerConfig:
    """What the weights, the table, the checkpoint's facts and the recipe say about the architecture.

    Raises:
        CheckpointError: Not a SegFormer; a shape that no SegFormer has; something is left open that nobody states.
        RecipeError: The recipe states something that does not fit the weights.
    """
    refuse_unsupported(str(checkpoint.path), checkpoint.state_dict.keys())
    weights = Shapes(checkpoint)
    config = SegFormerConfig(
        backbone=backbone_config(weights, recipe),
        embed_width=weights.of("decode_head.linear_c1.proj.weight", 2)[0],
        classes=weights.of("decode_head.linear_pred.weight", 4)[0],
    )
    return _with_upsampler(config, weights, recipe)


def class_names(checkpoint: Checkpoint, recipe: Recipe, classes: int) -> tuple[str, ...]:
    """One name per class: the checkpoint's, else the recipe's, else 'class 0', 'class 1', and so on.

    Raises:
        CheckpointError: The checkpoint has another number of names, and the recipe none.
        RecipeError: The recipe has another number of names.
    """
    if len(checkpoint.classes) == classes:
        return checkpoint.classes
    if len(recipe.classes) == classes:
        return recipe.classes
    if recipe.classes:
        raise RecipeError(
            f"recipe '{recipe.name}' names {len(recipe.classes)} classes, {checkpoint.path} has {classes} outputs: "
            "name each of them in classes, or leave the list empty"
        )
    if checkpoint.classes:
        raise CheckpointError(
            f"{checkpoint.path} names {len(checkpoint.classes)} classes, but has {classes} outputs: state the "
            f"{classes} names as classes = [...] {STATE_IT}"
        )
    return tuple(f"class {i}" for i in range(classes))


def recipe_for(checkpoint: Checkpoint, name: str) -> Recipe:
    """The recipe of that name or path; where ``name`` is empty the one that the checkpoint names, else 'segformer'.

    Raises:
        RecipeError: It is missing or malformed.
        CheckpointError: The checkpoint names one that isn't shipped; a file never chooses a path on this machine.
    """
    if name:
        return load_recipe(name)
    stated = checkpoint.facts.get("recipe", "segformer")
    if stated not in list_recipes():
        raise CheckpointError(
            f"{checkpoint.path}: meta['fade_deploy'] names the recipe '{one_line(stated)}', expected one of "
            f"{', '.join(list_recipes())}: give one with --recipe"
        )
    return load_recipe(stated)


def _with_upsampler(config: SegFormerConfig, weights: Shapes, recipe: Recipe) -> SegFormerConfig:
    if not any(key.startswith("decode_head.upsamplers.") for key in weights.shapes):
        return config
    taps, per_group, *_ = weights.of(f"{_SLOT}.ker_generator.content_encoder.weight", 4)
    compressed = weights.of(f"{_SLOT}.ker_generator.compressor_en.weight", 4)[0]
    kernel_size = math.isqrt(taps)
    if kernel_size**2 != taps or kernel_size not in KERNEL_SIZES:
        raise CheckpointError(
            f"{weights.path}: the upsamplers predict {taps} weights per pixel; expected K*K with K in {KERNEL_SIZES}: "
            "train with one of these kernel sizes"
        )
    has_gate = f"{_SLOT}.gate_generator.conv.weight" in weights.shapes
    is_lite = per_group == 1 and compressed == taps > 1
    layout = _layout(weights, recipe)
    if (is_lite and not has_gate) or (layout == "scrambled" and (is_lite or not has_gate)):
        kind = "FADE-Lite" if is_lite else "the semi-shift convolution"
        kind += f" {'with' if has_gate else 'without'} a gate{' and scrambled' if layout == 'scrambled' else ''}"
        raise CheckpointError(
            f"{weights.path}: {kind} is not supported; expected FADE, FADE-Lite with a gate, or the semi-shift "
            "convolution: give a checkpoint with one of these"
        )
    if layout == "scrambled":
        if compressed % 4:
            raise CheckpointError(
                f"{weights.path}: the scrambled layout needs a compressed width that is a multiple of 4, given "
                f'{compressed}: state high_to_low = "exact"'
            )
        name = "fade_scrambled"
    else:
        name = "fade_lite" if is_lite else "fade" if has_gate else "semishift"
    if not is_lite:  # its compressed width is no choice
        config = replace(config, compressed=compressed)
    return replace(config, upsampler=name, kernel_size=kernel_size)


def _layout(weights: Shapes, recipe: Recipe) -> str:
    """'exact' or 'scrambled', as the checkpoint's facts or the recipe state it; low-to-high names alone mean exact.

    Two files of the reference give the same high-to-low names to two functions, so these names need a statement.
    """
    fact = weights.facts.get("high_to_low") or ""
    if fact not in ("", "exact", "scrambled"):
        raise CheckpointError(
            f"{weights.path}: meta['fade_deploy']['high_to_low'] is '{one_line(fact)}', expected 'exact' or "
            "'scrambled': mend it and save again"
        )
    if fact and recipe.high_to_low not in ("", fact):
        raise RecipeError(
            f"recipe '{recipe.name}' has high_to_low = '{recipe.high_to_low}', but {weights.path} says '{fact}': leave "
            "it out of the recipe"
        )
    stated = fact or recipe.high_to_low
    if not stated and weights.is_high_to_low:
        raise CheckpointError(
            f"{weights.path} has the upsampler keys of FADE_H2L.py, of which two exist that compute different things: "
            'state high_to_low = "exact" (the CUDA file) or "scrambled" (the plain PyTorch file) under [model] '
            f"{STATE_IT}"
        )
    return stated or "exact"


def _check_keys(
    checkpoint: Checkpoint, config: SegFormerConfig, weights: dict[str, Tensor], expected: dict[str, Tensor]
) -> None:
    """Stop, with the first few of each kind, where keys are missing, surplus, or of another shape or dtype."""
    missing = [f"{key} {list(value.shape)}" for key, value in expected.items() if key not in weights]
    surplus = [f"{one_line(key)} {list(value.shape)}" for key, value in weights.items() if key not in expected]
    misshapen = [
        f"{key} {list(weights[key].shape)}, expected {list(value.shape)}"
        for key, value in expected.items()
        if key in weights and weights[key].shape != value.shape
    ]
    wrong_type = [
        f"{key} {weights[key].dtype}, expected {value.dtype}"
        for key, value in expected.items()
        if key in weights and weights[key].shape == value.shape and weights[key].dtype != value.dtype
    ]
    kinds = {"missing": missing, "surplus": surplus, "of another shape": misshapen, "of another type": wrong_type}
    found = [
        f"{len(keys)} {'key is' if len(keys) == 1 else 'keys are'} {kind} ({'; '.join(keys[:_FIRST_FEW])}"
        f"{'; ...' if len(keys) > _FIRST_FEW else ''})"
        for kind, keys in kinds.items()
        if keys
    ]
    if found:
        raise CheckpointError(
            f"{checkpoint.path} does not fit SegFormer, {backbone_name(config.backbone)}, {config.upsampler}, "
            f"{config.classes} classes: {', '.join(found)}; expected exactly that model's weights: re-save them with "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
