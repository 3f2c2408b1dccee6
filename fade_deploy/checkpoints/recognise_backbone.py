"""The backbone of a checkpoint: read from its shapes, and from a table or a statement where no shape tells."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from fade_deploy.checkpoints.safe_load import one_line
from fade_deploy.checkpoints.weight_shapes import WeightShapes, state_it
from fade_deploy.errors import CheckpointError, RecipeError
from fade_deploy.models.mix_transformer import MIT_VARIANTS, MixTransformerConfig
from fade_deploy.recipe import Recipe

__all__ = ["backbone_config", "backbone_name"]

_STAGES = 4


def backbone_config(weights: WeightShapes, recipe: Recipe) -> MixTransformerConfig:
    """The MiT that the weights belong to.

    Raises:
        CheckpointError: A shape that no MiT has, or heads and eps that neither the table nor anybody states.
        RecipeError: The recipe states something that does not fit the weights.
    """
    stages = range(1, _STAGES + 1)
    widths = tuple(weights.of(f"backbone.patch_embed{i}.proj.weight", 4)[0] for i in stages)
    hidden = [weights.of(f"backbone.block{i}.0.mlp.fc1.weight", 2)[0] for i in stages]
    reductions = [f"backbone.block{i}.0.attn.sr.weight" for i in stages]
    seen = MixTransformerConfig(
        widths=widths,
        depths=tuple(weights.count(f"backbone.block{i}.", start=0) for i in stages),
        reductions=tuple(weights.of(key, 4)[-1] if key in weights.shapes else 1 for key in reductions),
        mlp_ratios=tuple(weights.ratio(*pair, "an MLP's width") for pair in zip(hidden, widths, strict=True)),
    )
    for variant in MIT_VARIANTS.values():
        if replace(seen, **_untold(variant)) == variant:
            return replace(seen, **_stated(weights, recipe, widths, _untold(variant)))
    return replace(seen, **_stated(weights, recipe, widths, {}))


def _untold(config: MixTransformerConfig) -> dict[str, Any]:
    """What no shape tells about a MiT."""
    return {name: getattr(config, name) for name in _UNTOLD}


def _is_heads(value: object, widths: tuple[int, ...]) -> bool:
    return (
        isinstance(value, tuple)
        and len(value) == len(widths)
        and all(type(heads) is int and heads > 0 for heads in value)
        and all(width % heads == 0 for heads, width in zip(value, widths, strict=True))
    )


def _is_eps(value: object, _: tuple[int, ...]) -> bool:
    return isinstance(value, float) and math.isfinite(value) and 0 < value < 1


_EPS = (_is_eps, "a number between 0 and 1, for example 1e-6")
_UNTOLD: dict[str, tuple[Callable[[object, tuple[int, ...]], bool], str]] = {
    "heads": (_is_heads, f"{_STAGES} whole numbers that divide the widths"),
    "block_norm_eps": _EPS,
    "embed_norm_eps": _EPS,
}


def _stated(weights: WeightShapes, recipe: Recipe, widths: tuple[int, ...], table: dict[str, Any]) -> dict[str, Any]:
    """What no shape tells: from the table, else the checkpoint's facts, else the recipe. They must not contradict."""
    chosen: dict[str, Any] = dict(table)
    missing = []
    for name, (is_valid, expected) in _UNTOLD.items():
        fact, stated = weights.facts.get(name), getattr(recipe, name)
        if fact is not None and not is_valid(fact, widths):
            raise CheckpointError(
                f"{weights.path}: meta['fade_deploy']['{name}'] is {one_line(fact)}, expected {expected} (widths "
                f"{list(widths)}): mend it and save again"
            )
        if stated and not is_valid(stated, widths):
            raise RecipeError(
                f"recipe '{recipe.name}' has {name} = {stated}, expected {expected}; {weights.path} has the widths "
                f"{list(widths)}: mend the recipe"
            )
        known = [value for value in (table.get(name), fact, stated or None) if value is not None]
        if not known:
            missing.append(name)
        elif other := next((value for value in known if value != known[0]), None):
            source = "the B0-B5 table" if table else "the checkpoint"
            raise CheckpointError(
                f"{weights.path}: {name} is {known[0]} by {source}, but stated as {other}: leave it out of the recipe, "
                "or of meta['fade_deploy'] and save again"
            )
        else:
            chosen[name] = known[0]
    if missing:
        raise CheckpointError(
            f"{weights.path}: a MiT with the widths {list(widths)} is none of {', '.join(MIT_VARIANTS)}, and weights "
            f"don't tell {', '.join(missing)}: state them under [model] {state_it(recipe.task)}"
        )
    return chosen


def backbone_name(config: MixTransformerConfig) -> str:
    """'mit_b0' to 'mit_b5', or 'custom MiT'."""
    return next((name for name, variant in MIT_VARIANTS.items() if variant == config), "custom MiT")
