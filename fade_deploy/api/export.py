"""From a checkpoint to a verified ONNX file with its manifest."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import torch
from polygraphy.backend.onnxrt import OnnxrtRunner

from fade_deploy import artefact, contract
from fade_deploy.api.manifest import facts_of, manifest_document
from fade_deploy.api.options import ExportOptions, reproducing_command
from fade_deploy.checkpoints.checkpoint import read_checkpoint
from fade_deploy.checkpoints.recognise import recipe_for, segformer_from_checkpoint
from fade_deploy.contract import Head
from fade_deploy.errors import ExportError, RecipeError
from fade_deploy.graph.onnx_from_model import GraphOptions, onnx_from_model
from fade_deploy.models.deployed import DeployedSegmentation
from fade_deploy.models.segformer import STRIDE, SegFormer
from fade_deploy.recipe import Recipe, Shape
from fade_deploy.runtimes.eager import EagerRunner
from fade_deploy.runtimes.ort import session_from_onnx
from fade_deploy.tolerances import Tolerance, tolerance
from fade_deploy.verify.agreement import SCORES, Agreement, compare
from fade_deploy.verify.inputs import VerificationInput, verification_inputs

__all__ = ["ExportOptions", "ExportResult", "export"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportResult:
    """What was written and what was measured."""

    path: Path
    manifest: Path
    passed: bool
    agreements: tuple[Agreement, ...]
    document: dict[str, Any]  # the manifest's content
    notes: tuple[str, ...]  # what was left out of the checkpoint, and other things to know


def export(
    checkpoint: Path | str, output: Path | str | None = None, options: ExportOptions | None = None
) -> ExportResult:
    """Turn a checkpoint into one ``.onnx`` file that is checked against eager PyTorch before it gets its name.

    The reference of the comparison is the unchanged eager module. If a runtime disagrees the file is kept as
    ``STEM.unverified.onnx`` and ``passed`` is False; nothing ever stands under the asked name without agreement.

    Args:
        checkpoint: Weights of a SegFormer, see :func:`fade_deploy.checkpoints.checkpoint.read_checkpoint`.
        output: Path of the file; by default the checkpoint's stem with ``.onnx`` in the current folder.
        options: See :class:`ExportOptions`.

    Raises:
        FadeDeployError: The user can mend it; nothing was written.
    """
    options = options or ExportOptions()
    source = Path(checkpoint)
    asked = target = Path(output) if output is not None else Path(f"{source.stem}.onnx")
    manifest = target.with_suffix(".json")
    _check_request(target, options)

    read = read_checkpoint(source, ema=options.ema)
    recipe = recipe_for(read, options.recipe)
    bound = tolerance(recipe.probs_tolerance if options.head == Head.PROBS else recipe.tolerance)
    model = segformer_from_checkpoint(read, recipe)
    shapes = _verification_shapes(model, recipe, options)
    inputs = verification_inputs(recipe, shapes, embed_preprocess=options.embed_preprocess)
    deployed = DeployedSegmentation(
        model, head=Head(options.head), mean=recipe.mean, std=recipe.std, embed_preprocess=options.embed_preprocess
    ).eval()
    facts = facts_of(read, model, recipe, options)
    logger.info("read: %s, %s, %s upsampling", source.name, facts["backbone"], facts["upsampler"])

    start = time.perf_counter()
    graph = _graph(deployed, model, recipe, options)
    graph.metadata_props[contract.METADATA_KEY] = json.dumps(facts, sort_keys=True, ensure_ascii=False)
    data = ir.serde.serialize_model(graph).SerializeToString(deterministic=True)
    onnx.checker.check_model(data, full_check=True)
    logger.info("export: opset %d, %.1f MB (%.1f s)", options.opset, len(data) / 1e6, time.perf_counter() - start)

    verification = "full" if options.full_verification else "quick"
    reproduce = reproducing_command(source, asked, options)
    with artefact.staged(target, data) as staged:
        agreements = _verify(staged, deployed, inputs, bound)
        passed = all(agreement.passed for agreement in agreements)
        if not passed:
            target = _unverified(asked)
            manifest = target.with_suffix(".json")
        document = manifest_document(facts, staged, target, bound, agreements, passed, verification, reproduce)
        with artefact.staged(manifest, artefact.json_bytes(document)) as staged_manifest:
            artefact.publish(staged, target)
            artefact.publish(staged_manifest, manifest)
    return ExportResult(
        path=target,
        manifest=manifest,
        passed=passed,
        agreements=tuple(agreements),
        document=document,
        notes=read.notes,
    )


def _unverified(target: Path) -> Path:
    return target.with_suffix(".unverified.onnx")


def _check_request(target: Path, options: ExportOptions) -> None:
    """Everything that can be refused before the checkpoint is read."""
    if options.opset not in contract.LOWEST_ONNXRUNTIME:
        first, *_, last = contract.LOWEST_ONNXRUNTIME
        raise ExportError(f"opset {options.opset} is not supported: give --opset {first} to {last}")
    if target.suffix != ".onnx":
        raise ExportError(f"{target} does not end in .onnx, which runtimes expect; give another name with -o")
    for path in (target, _unverified(target)):
        artefact.check_target(path, force=options.force)
        artefact.check_target(path.with_suffix(".json"), force=options.force)


def _verification_shapes(model: SegFormer, recipe: Recipe, options: ExportOptions) -> Sequence[Shape]:
    if options.shape is not None:
        model.check_size(options.shape.height, options.shape.width)
        return [options.shape]
    if recipe.size_multiple % STRIDE:
        raise RecipeError(
            f"recipe '{recipe.name}' has size_multiple {recipe.size_multiple}, expected a multiple of {STRIDE} for a "
            "SegFormer of dynamic size: mend it, or give a fixed --shape"
        )
    shapes = recipe.full if options.full_verification else recipe.quick
    for shape in shapes:
        if shape.height % recipe.size_multiple or shape.width % recipe.size_multiple:
            raise RecipeError(
                f"recipe '{recipe.name}' verifies at {shape}, expected multiples of its size_multiple "
                f"{recipe.size_multiple}: mend quick and full"
            )
    return shapes


def _graph(deployed: DeployedSegmentation, model: SegFormer, recipe: Recipe, options: ExportOptions) -> ir.Model:
    # With a dynamic shape no example size may be 1 or equal another: the exporter would take them for constants.
    example = options.shape or Shape(2, 2 * recipe.size_multiple, 3 * recipe.size_multiple)
    batch, height, width = ("batch", "height", "width") if options.shape is None else _sizes(options.shape)
    quarter: tuple[int | str, int | str] = ("height/4", "width/4")
    if options.shape is not None:
        quarter = (-(-options.shape.height // 4), -(-options.shape.width // 4))
    classes = model.config.classes
    output_shape: Sequence[int | str] = {
        Head.LOGITS: (batch, classes, *quarter),
        Head.PROBS: (batch, classes, height, width),
        Head.LABELS: (batch, height, width),
    }[options.head]
    if options.embed_preprocess:
        image = torch.zeros(example.batch, example.height, example.width, 3, dtype=torch.uint8)
    else:
        image = torch.zeros(example.batch, 3, example.height, example.width)
    return onnx_from_model(
        deployed,
        image,
        GraphOptions(
            output_name=str(options.head),
            output_shape=output_shape,
            opset=options.opset,
            dynamic=options.shape is None,
            size_multiple=recipe.size_multiple,
            spatial_axes=(1, 2) if options.embed_preprocess else (2, 3),
            standard_ops=options.standard_ops,
        ),
    )


def _sizes(shape: Shape) -> tuple[int, int, int]:
    return shape.batch, shape.height, shape.width


def _verify(
    path: Path, deployed: DeployedSegmentation, inputs: Iterable[VerificationInput], bound: Tolerance
) -> list[Agreement]:
    """Compare the file on disk with the eager module, one line of log for each shape."""
    session = session_from_onnx(path)
    given = session.get_inputs()[0]
    shape = tuple(size if isinstance(size, int) else -1 for size in given.shape)
    dtype = np.dtype(np.uint8 if deployed.embed_preprocess else np.float32)
    output = str(deployed.head)
    agreements: list[Agreement] = []

    def head_and_scores(image: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = deployed.class_scores(image)
        return {output: deployed.from_scores(scores), SCORES: scores}

    reference = EagerRunner(head_and_scores, dtype=dtype, shape=shape)
    for batch in inputs:
        start = time.perf_counter()
        try:
            agreements += compare(reference, OnnxrtRunner(session), [batch], output=output, tolerance=bound)
        except (MemoryError, RuntimeError) as error:  # torch's allocator raises the latter
            if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
                raise
            raise ExportError(
                f"comparing with PyTorch at {batch.shape} takes more memory than this machine has: give a smaller "
                "--shape, or a recipe that verifies at smaller ones"
            ) from error
        logger.info("verify: %s", _line(agreements[-1], time.perf_counter() - start))
    return agreements


def _line(agreement: Agreement, seconds: float) -> str:
    verdict = "agrees" if agreement.passed else "DISAGREES"
    error = "" if agreement.max_error is None else f"max error {agreement.max_error:.1e}, "
    labels = f"labels {agreement.labels_agreeing} of {agreement.labels_compared}"
    return f"{agreement.shape} {verdict}: {error}{labels} ({seconds:.1f} s)"
