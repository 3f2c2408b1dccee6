"""A checkpoint as the reference of a verification: the unchanged eager module, with the head that the files have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fade_deploy.api.verify.options import VerifyOptions
from fade_deploy.api.verify.runners import Candidate, bound_of
from fade_deploy.checkpoints.checkpoint import read_checkpoint
from fade_deploy.checkpoints.recognise import class_names, model_from_checkpoint, recipe_for
from fade_deploy.contract import Head
from fade_deploy.errors import InputError
from fade_deploy.models.a2u_matting import A2UMatting
from fade_deploy.models.deployed import Deployed, DeployedMatting, DeployedSegmentation
from fade_deploy.models.segformer import SegFormer
from fade_deploy.precision import Precision
from fade_deploy.recipe import Recipe, Shape
from fade_deploy.runtimes.eager import EagerRunner
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import SCORES
from fade_deploy.verification.golden import golden_inputs, golden_of, golden_shapes
from fade_deploy.verification.running import run_one
from fade_deploy.verification.verification import Run

__all__ = ["EagerModel", "deployed_checkpoint", "eager_candidate", "eager_outputs", "golden_outputs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EagerModel:
    """A checkpoint's model as the files deploy it."""

    path: Path
    sha256: str
    model: SegFormer | A2UMatting
    recipe: Recipe
    head: Head
    classes: tuple[str, ...]
    notes: tuple[str, ...]

    def deployed(self, model: torch.nn.Module, head: Head, *, embed_preprocess: bool) -> Deployed:
        """``model``, or what was made of it, with that head."""
        kind = DeployedMatting if isinstance(self.model, A2UMatting) else DeployedSegmentation
        return kind(model, head=head, recipe=self.recipe, embed_preprocess=embed_preprocess).eval()


def deployed_checkpoint(path: Path, facts: Mapping[str, Any], options: VerifyOptions) -> EagerModel:
    """Read a checkpoint for comparison with files that say ``facts`` of themselves; empty where there are none.

    Raises:
        FadeDeployError: It can't be read, or is a model of another task.
    """
    read = read_checkpoint(path, ema=options.ema)
    recipe = recipe_for(read, options.recipe)
    model = model_from_checkpoint(read, recipe)
    task = facts.get("task", str(model.TASK))
    if task != str(model.TASK):
        raise InputError(f"{path} is a {model.TASK} model, the other files are for {task}: give files of one model")
    origin = facts.get("checkpoint_sha256", read.sha256)
    notes = []
    if origin != read.sha256:
        notes.append(
            f"{path} (sha256 {read.sha256[:12]}) is not the checkpoint that the file was exported from ({origin[:12]})"
        )
    classes = class_names(read, recipe, model.config.classes) if isinstance(model, SegFormer) else ()
    return EagerModel(
        path=path,
        sha256=read.sha256,
        model=model,
        recipe=recipe,
        head=Head(facts.get("head", model.TASK.heads[0])),
        classes=classes,
        notes=tuple(notes),
    )


def eager_candidate(
    file: str,
    title: str,
    eager: EagerModel,
    head: Head,
    recipe: Recipe,
    options: VerifyOptions,
    *,
    embed_preprocess: bool,
) -> Candidate:
    """A checkpoint in eager PyTorch, with the head that the files have."""
    name = f"{title} pytorch"
    bound, tolerance_name = bound_of(head, recipe, Precision.FP32, options)
    deployed = eager.deployed(eager.model, head, embed_preprocess=embed_preprocess)
    return Candidate(
        run=Run(
            name=name,
            file=file,
            runtime=f"PyTorch {torch.__version__}, eager, CPU",
            sha256=eager.sha256,
            tolerance=tolerance_name,
        ),
        runner=_eager_runner(deployed, name=name),
        bound=bound,
        backend=None,
        io=Precision.FP32,
    )


def eager_outputs(deployed: Deployed) -> Callable[..., dict[str, Tensor]]:
    """A function of a file's inputs by name: its output and, of segmentation, the class scores behind its labels."""
    output = deployed.head.output

    def outputs(**tensors: Tensor) -> dict[str, Tensor]:
        if not isinstance(deployed, DeployedSegmentation):
            return {output: deployed(**tensors)}
        scores = deployed.class_scores(**tensors)
        return {output: deployed.from_scores(scores), SCORES: scores}

    return outputs


def _eager_runner(deployed: Deployed, *, name: str) -> EagerRunner:
    embed = deployed.embed_preprocess
    dtype = np.dtype(np.uint8 if embed else np.float32)
    inputs = {
        given: (dtype, (-1, -1, -1, channels) if embed else (-1, channels, -1, -1))
        for given, channels in deployed.CHANNELS.items()
    }
    runner = EagerRunner(eager_outputs(deployed), inputs)
    runner.name = name
    return runner


def golden_outputs(deployed: Deployed, bound: Tolerance, shape: Shape | None) -> dict[str, Any]:
    """What a manifest carries under ``golden``: the unchanged eager module at a few small shapes.

    Args:
        deployed: The model as the file holds it, before any rewrite.
        bound: What the file is held to.
        shape: The file's only one; None where it is dynamic.
    """
    recipe = deployed.recipe
    runner = _eager_runner(deployed, name="pytorch")
    inputs = golden_inputs(
        recipe.task,
        golden_shapes(recipe.size_multiple, shape),
        mean=recipe.mean,
        std=recipe.std,
        embed_preprocess=deployed.embed_preprocess,
    )
    return golden_of(lambda tensors: run_one(runner, tensors), inputs, output=deployed.head.output, tolerance=bound)
