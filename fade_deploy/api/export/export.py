"""From a checkpoint to a verified ONNX file with its manifest."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch

from fade_deploy.api.export.manifest import facts_of
from fade_deploy.api.export.options import ExportOptions, reproducing_command
from fade_deploy.api.export.verified_file import Eager, ExportResult, check_target, publish_verified
from fade_deploy.api.verify.checkpoint import eager_outputs, golden_outputs
from fade_deploy.checkpoints.checkpoint import read_checkpoint
from fade_deploy.checkpoints.recognise import assumptions, model_from_checkpoint, recipe_for
from fade_deploy.contract import Head
from fade_deploy.errors import ExportError, RecipeError
from fade_deploy.graph.onnx_from_model import GraphOptions, onnx_from_model
from fade_deploy.graph.passes import inline_functions
from fade_deploy.graph.precision import Typing, typed
from fade_deploy.models.a2u_matting import A2UMatting
from fade_deploy.models.deployed import Deployed, DeployedMatting, DeployedSegmentation
from fade_deploy.models.fusion.fuse import rewritten
from fade_deploy.models.fusion.replaced import replaced_modules
from fade_deploy.models.segformer import SegFormer
from fade_deploy.precision import Precision, PrecisionPlan, check_io, lowest_of, plan_for
from fade_deploy.recipe import Recipe, Shape
from fade_deploy.tolerances import tolerance
from fade_deploy.verification.inputs import VerificationInput, verification_inputs

__all__ = ["export"]

logger = logging.getLogger(__name__)


def export(
    checkpoint: Path | str, output: Path | str | None = None, options: ExportOptions | None = None
) -> ExportResult:
    """Turn a checkpoint into one ``.onnx`` file that is checked against eager PyTorch before it gets its name.

    The reference of the comparison is the unchanged eager module. If a runtime disagrees the file is kept as
    ``STEM.unverified.onnx`` and ``passed`` is False; nothing ever stands under the asked name without agreement.

    Args:
        checkpoint: Weights of a SegFormer or of A2U matting, see
            :func:`fade_deploy.checkpoints.checkpoint.read_checkpoint`.
        output: Path of the file; by default the checkpoint's stem with ``.onnx`` in the current folder.
        options: See :class:`ExportOptions`.

    Raises:
        FadeDeployError: The user can mend it; nothing was written.
    """
    options = options or ExportOptions()
    source = Path(checkpoint)
    target = Path(output) if output is not None else Path(f"{source.stem}.onnx")
    check_target(target, opset=options.opset, library=options.library, force=options.force)
    plan = _plan(options)

    read = read_checkpoint(source, ema=options.ema)
    recipe = recipe_for(read, options.recipe)
    model = model_from_checkpoint(read, recipe)
    head = _head(model, options)
    lowest = lowest_of([plan.lowest, options.io_precision]) if plan else Precision.FP32
    bound = tolerance(recipe.probs_tolerance if head is Head.PROBS else recipe.tolerance, lowest)
    shapes = _verification_shapes(model, recipe, options)
    inputs = verification_inputs(recipe, shapes, embed_preprocess=options.embed_preprocess)
    if options.io_precision is Precision.FP16:
        inputs = (_in_float16(batch) for batch in inputs)
    kind = DeployedMatting if isinstance(model, A2UMatting) else DeployedSegmentation
    deployed = kind(model, head=head, recipe=recipe, embed_preprocess=options.embed_preprocess).eval()
    size = options.shape or Shape(1, 512, 512)
    exported, rewrites = rewritten(model, fuse=options.fuse, height=size.height, width=size.width)
    facts = facts_of(read, deployed, options, rewrites)
    logger.info("read: %s, %s, %s upsampling", source.name, facts["backbone"], facts["upsampler"])

    start = time.perf_counter()
    # A plan speaks of operators, so their bodies are inlined after it.
    graph = _graph(deployed.with_model(exported), options, inline=options.standard_ops and plan is None)
    typing = None
    if plan is not None:
        typing = _typed(graph, plan, options)
        facts["precision"] = typing.as_dict()
    logger.info("export: opset %d, %d nodes (%.1f s)", options.opset, len(graph.graph), time.perf_counter() - start)
    return publish_verified(
        graph,
        facts,
        target,
        eager=_eager(deployed, options.io_precision),
        typing=typing,
        outputs=[head.output],
        inputs=inputs,
        bound=bound,
        library=options.library,
        manifest_facts={
            "verification": "full" if options.full_verification else "quick",
            "reproduce": reproducing_command(source, target, options),
            "golden": golden_outputs(deployed, bound, options.shape),
        },
        notes=(*read.notes, *assumptions(model, read, recipe)),
    )


def _head(model: SegFormer | A2UMatting, options: ExportOptions) -> Head:
    heads = model.TASK.heads
    if options.head is None:
        return heads[0]
    if options.head not in heads:
        raise ExportError(
            f"{model.NAME} has no head '{options.head}', expected one of {', '.join(heads)}: give one with --head"
        )
    return Head(options.head)


def _verification_shapes(model: SegFormer | A2UMatting, recipe: Recipe, options: ExportOptions) -> Sequence[Shape]:
    if options.shape is not None:
        model.check_size(options.shape.height, options.shape.width)
        return [options.shape]
    if recipe.size_multiple % model.STRIDE:
        raise RecipeError(
            f"recipe '{recipe.name}' has size_multiple {recipe.size_multiple}, expected a multiple of {model.STRIDE} "
            f"for {model.NAME} of dynamic size: mend it, or give a fixed --shape"
        )
    shapes = recipe.full if options.full_verification else recipe.quick
    for shape in shapes:
        if shape.height % recipe.size_multiple or shape.width % recipe.size_multiple:
            raise RecipeError(
                f"recipe '{recipe.name}' verifies at {shape}, expected multiples of its size_multiple "
                f"{recipe.size_multiple}: mend quick and full"
            )
    return shapes


def _graph(deployed: Deployed, options: ExportOptions, *, inline: bool) -> ir.Model:
    multiple = deployed.recipe.size_multiple
    # With a dynamic shape no example size may be 1 or equal another: the exporter would take them for constants.
    example = deployed.example(options.shape or Shape(2, 2 * multiple, 3 * multiple))
    graph_options = GraphOptions(
        outputs={deployed.head.output: deployed.output_shape(options.shape)},
        dynamic_axes={} if options.shape else deployed.dynamic_axes(),
        dimensions={
            name: multiple * torch.export.Dim(inner, min=1)
            for name, inner in (("height", "rows"), ("width", "columns"))
        },
        opset=options.opset,
        standard_ops=inline,
        wrapper="model.",
        replaced=replaced_modules(deployed.model),
    )
    return onnx_from_model(deployed, example, graph_options)


def _plan(options: ExportOptions) -> PrecisionPlan | None:
    """What the graph is typed by; None where all of it is to be float32."""
    check_io(options.io_precision)
    plan = plan_for(options.precision, options.precision_plan)
    if lowest_of([plan.lowest, options.io_precision]) is Precision.FP32:
        return None
    opset = plan.lowest.lowest_opset
    if options.opset < opset:
        raise ExportError(
            f"{plan.lowest} needs opset {opset} or newer, from which on Conv takes {plan.lowest.type_name}; given "
            f"{options.opset}: give --opset {opset} (in Python, opset={opset})"
        )
    return plan


def _typed(graph: ir.Model, plan: PrecisionPlan, options: ExportOptions) -> Typing:
    typing = typed(graph, plan, io=options.io_precision)
    if options.standard_ops:
        inline_functions(graph)
    return typing


def _in_float16(batch: VerificationInput) -> VerificationInput:
    tensors = {name: x.astype(np.float16) if x.dtype == np.float32 else x for name, x in batch.tensors.items()}
    return replace(batch, tensors=tensors)


def _eager(deployed: Deployed, io_precision: Precision) -> Eager:
    output, outputs = deployed.head.output, eager_outputs(deployed)

    def through_float16(**tensors: torch.Tensor) -> dict[str, torch.Tensor]:
        results = outputs(**{name: x.float() if x.is_floating_point() else x for name, x in tensors.items()})
        return {name: x.half() if name == output and x.is_floating_point() else x for name, x in results.items()}

    return through_float16 if io_precision is Precision.FP16 else outputs
