"""From weights to the A2U matting network they belong to; all of it stands in the shapes."""

from __future__ import annotations

from fade_deploy.checkpoints.recognise_upsampler import upsampler_in
from fade_deploy.checkpoints.weight_shapes import WeightShapes
from fade_deploy.errors import CheckpointError
from fade_deploy.models.a2u_matting import A2UMattingConfig
from fade_deploy.recipe import Recipe

__all__ = ["encoder_name", "matting_config"]

_RELEASED = A2UMattingConfig()


def matting_config(weights: WeightShapes, recipe: Recipe) -> A2UMattingConfig:
    """What the weights, the checkpoint's facts and the recipe say about the architecture.

    Raises:
        CheckpointError: A shape that no A2U matting network has, or something is left open that nobody states.
        RecipeError: The recipe states something that does not fit the weights.
    """
    widths = (
        weights.of("layer0.0.weight", 4)[0],
        weights.of("layer1.block1.convs.conv1.weight", 4)[0],
        weights.of("layer2_1.proj_conv.weight", 4)[0],
        weights.of("layer3_1.proj_conv.weight", 4)[0],
    )
    if widths[0] != widths[1]:
        raise CheckpointError(
            f"{weights.path}: layer0 and layer1 have the widths {widths[0]} and {widths[1]}, expected one width: give "
            "an unchanged checkpoint"
        )
    return A2UMattingConfig(
        widths=widths,
        blocks=tuple(weights.count(f"{stage}.block", start=1) for stage in ("layer1", "layer2_2", "layer3_2")),
        last_width=weights.of("pred.0.0.weight", 4)[1],
        **upsampler_in("decoder_layer4.up", weights, recipe),
    )


def encoder_name(config: A2UMattingConfig) -> str:
    """'resnet34' for the released encoder, or 'custom ResNet'."""
    same = (config.widths, config.blocks) == (_RELEASED.widths, _RELEASED.blocks)
    return "resnet34" if same else "custom ResNet"
