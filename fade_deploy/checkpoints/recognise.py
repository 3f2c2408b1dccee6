"""From weights to the model they belong to: read from shapes, looked up, or stated, never guessed."""

from __future__ import annotations

import torch
from torch import Tensor

from fade_deploy.checkpoints.checkpoint import Checkpoint
from fade_deploy.checkpoints.recognise_backbone import backbone_name
from fade_deploy.checkpoints.recognise_matting import encoder_name, matting_config
from fade_deploy.checkpoints.recognise_segformer import segformer_config
from fade_deploy.checkpoints.recognise_upsampler import PUBLISHED_SAPA_KERNEL_SIZE
from fade_deploy.checkpoints.safe_load import one_line
from fade_deploy.checkpoints.unsupported import MATTING_MARK, refuse_unsupported
from fade_deploy.checkpoints.weight_shapes import DEFAULT_RECIPES, WeightShapes, state_it
from fade_deploy.contract import Task
from fade_deploy.errors import CheckpointError, RecipeError
from fade_deploy.models.a2u_matting import A2UMatting, A2UMattingConfig
from fade_deploy.models.segformer import SegFormer
from fade_deploy.ops.fade import low_to_high_key
from fade_deploy.recipe import Recipe, list_recipes, load_recipe

__all__ = ["assumptions", "backbone_of", "class_names", "model_from_checkpoint", "recipe_for"]

_FIRST_FEW = 3  # keys of each kind that an error lists


def model_from_checkpoint(checkpoint: Checkpoint, recipe: Recipe) -> SegFormer | A2UMatting:
    """The model that the weights belong to, loaded, in eval mode, float32.

    Raises:
        CheckpointError: The weights are not one complete model, or leave something open that nobody states.
        RecipeError: The recipe contradicts the weights.
    """
    task = _task(checkpoint)
    if recipe.task is not task:
        raise RecipeError(
            f"recipe '{recipe.name}' is for {recipe.task}, but {checkpoint.path} is a {task} model: leave "
            f'--recipe out, give {DEFAULT_RECIPES[task]}, or start yours with extends = "{DEFAULT_RECIPES[task]}"'
        )
    shapes = WeightShapes(checkpoint)
    model: SegFormer | A2UMatting
    config = matting_config(shapes, recipe) if task is Task.MATTING else segformer_config(shapes, recipe)
    try:
        with torch.device("meta"):  # no memory and no initial values: the checkpoint's are the first
            model = A2UMatting(config) if isinstance(config, A2UMattingConfig) else SegFormer(config)
    except (ValueError, RuntimeError) as error:  # widths that a layer can't have
        raise CheckpointError(
            f"{checkpoint.path}: no model has these shapes ({one_line(error)}): give an unchanged checkpoint"
        ) from error
    weights = {low_to_high_key(key): tensor.clone() for key, tensor in checkpoint.state_dict.items()}
    expected = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    _check_keys(checkpoint, model, weights, expected)
    counters = {key: torch.tensor(0) for key in model.state_dict().keys() - expected.keys()}
    model.load_state_dict({**weights, **counters}, strict=True, assign=True)
    return model.eval()


def assumptions(model: SegFormer | A2UMatting, checkpoint: Checkpoint, recipe: Recipe) -> tuple[str, ...]:
    """What the weights don't show and somebody else decided, one sentence each."""
    if model.config.upsampler == "fade_scrambled" and not WeightShapes(checkpoint).is_high_to_low:
        return (
            "stated as scrambled, the function of the plain PyTorch FADE_H2L.py; these key names alone would mean the "
            "other, exact one",
        )
    is_stated = "kernel_size" in checkpoint.facts or recipe.kernel_size
    if not model.config.upsampler.startswith("sapa") or is_stated:
        return ()
    return (
        f"SAPA's weights don't hold the kernel size: taken as published, {PUBLISHED_SAPA_KERNEL_SIZE}; if it is "
        f"another, state kernel_size under [model] {state_it(recipe.task)}",
    )


def backbone_of(model: SegFormer | A2UMatting) -> str:
    """'mit_b0' to 'mit_b5', 'resnet34', or what it is a variant of."""
    if isinstance(model, A2UMatting):
        return encoder_name(model.config)
    return backbone_name(model.config.backbone)


def class_names(checkpoint: Checkpoint, recipe: Recipe, classes: int) -> tuple[str, ...]:
    """One name per class: the checkpoint's, else the recipe's, else 'class 0', 'class 1', and so on.

    Raises:
        CheckpointError: The checkpoint has another number of names, and the recipe none.
        RecipeError: The recipe has another number of names.
    """
    if recipe.classes and len(recipe.classes) != classes:
        raise RecipeError(
            f"recipe '{recipe.name}' names {len(recipe.classes)} classes, {checkpoint.path} has {classes} outputs: "
            "name each of them in classes, or leave the list empty"
        )
    if len(checkpoint.classes) == classes:
        return checkpoint.classes
    if recipe.classes:
        return recipe.classes
    if checkpoint.classes:
        raise CheckpointError(
            f"{checkpoint.path} names {len(checkpoint.classes)} classes, but has {classes} outputs: state the "
            f"{classes} names as classes = [...] {state_it(Task.SEGMENTATION)}"
        )
    return tuple(f"class {i}" for i in range(classes))


def recipe_for(checkpoint: Checkpoint, name: str) -> Recipe:
    """The recipe of that name or path; where ``name`` is empty the one that the checkpoint names, else its model's.

    Raises:
        RecipeError: It is missing or malformed.
        CheckpointError: The checkpoint names one that isn't shipped; a file never chooses a path on this machine.
    """
    if name:
        return load_recipe(name)
    stated = checkpoint.facts.get("recipe") or DEFAULT_RECIPES[_task(checkpoint)]
    if stated not in list_recipes():
        raise CheckpointError(
            f"{checkpoint.path}: meta['fade_deploy'] names the recipe '{one_line(stated)}', expected one of "
            f"{', '.join(list_recipes())}: give one with --recipe"
        )
    return load_recipe(stated)


def _task(checkpoint: Checkpoint) -> Task:
    keys = checkpoint.state_dict.keys()
    refuse_unsupported(str(checkpoint.path), keys)
    return Task.MATTING if MATTING_MARK in keys else Task.SEGMENTATION


def _check_keys(
    checkpoint: Checkpoint, model: SegFormer | A2UMatting, weights: dict[str, Tensor], expected: dict[str, Tensor]
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
        classes = f", {model.config.classes} classes" if isinstance(model, SegFormer) else ""
        raise CheckpointError(
            f"{checkpoint.path} does not fit {model.NAME}, {backbone_of(model)}, {model.config.upsampler}{classes}: "
            f"{', '.join(found)}; expected exactly that model's weights: re-save them with "
            "torch.save(model.state_dict(), 'weights.pth')"
        )
