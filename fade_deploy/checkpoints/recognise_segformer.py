"""From weights to the SegFormer they belong to.

Shapes tell widths, depths, reductions, MLP ratios, embed width, classes, upsampler, kernel size and its width. What
they can't tell comes from the table of B0 to B5 where it matches, else from the checkpoint's facts, else the recipe.
"""

from __future__ import annotations

from fade_deploy.checkpoints.recognise_backbone import backbone_config
from fade_deploy.checkpoints.recognise_upsampler import upsampler_in
from fade_deploy.checkpoints.weight_shapes import WeightShapes
from fade_deploy.models.segformer import SegFormerConfig
from fade_deploy.recipe import Recipe

__all__ = ["segformer_config"]


def segformer_config(weights: WeightShapes, recipe: Recipe) -> SegFormerConfig:
    """What the weights, the table, the checkpoint's facts and the recipe say about the architecture.

    Raises:
        CheckpointError: A shape that no SegFormer has, or something is left open that nobody states.
        RecipeError: The recipe states something that does not fit the weights.
    """
    return SegFormerConfig(
        backbone=backbone_config(weights, recipe),
        embed_width=weights.of("decode_head.linear_c1.proj.weight", 2)[0],
        classes=weights.of("decode_head.linear_pred.weight", 4)[0],
        **upsampler_in("decode_head.upsamplers.0", weights, recipe),
    )
