"""Where an exported file and its checkpoint part, module by module, and the precision plan that mends it.

The file's inner tensors become outputs at the boundaries of the modules that its nodes name. The other side is the
model that the file was exported from: the checkpoint's after the same exact rewrites, in eager PyTorch, watched by
hooks under the same names. What a fusion replaced has no tensors any more, so the boundary there is the fused step,
told with the modules that it stands for.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fade_deploy import artefact
from fade_deploy.api.verify.batches import Batch, Batches
from fade_deploy.api.verify.checkpoint import EagerModel
from fade_deploy.api.verify.judging import judged, outputs_of
from fade_deploy.api.verify.options import VerifyOptions, check_unused, stated_tolerance
from fade_deploy.api.verify.runners import Candidate, Kind, kind_of
from fade_deploy.api.verify.subjects import Interface, Opened, opened
from fade_deploy.errors import InputError
from fade_deploy.graph.emulation import emulate_low_types
from fade_deploy.graph.taps import module_scopes, module_weights, with_outputs
from fade_deploy.models.fusion.fuse import rewritten
from fade_deploy.precision import Precision, PrecisionPlan, Rule, default_plan
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE
from fade_deploy.tolerances import tolerance
from fade_deploy.verification.boundaries import (
    Boundary,
    ChangedWeight,
    Parting,
    boundary_of,
    changed_weight,
    matched,
)
from fade_deploy.verification.verification import Comparison

__all__ = ["Boundary", "Parting", "bisect"]

logger = logging.getLogger(__name__)

_INNER = "ORT_CPU_FP32"  # name of the tolerance of inner tensors

Arrays = Mapping[str, NDArray[Any]]


def bisect(
    files: Sequence[Path | str],
    options: VerifyOptions | None = None,
    *,
    output: Path | str | None = None,
    force: bool = False,
) -> Parting:
    """Find the first module whose output leaves the tolerance, on ONNX Runtime's CPU in standard operators.

    Shapes are tried from the smallest up, until the file's output disagrees. A file of low precision is typed again
    from its checkpoint, with more and more of it in float32, until a small set of modules is found that mends it; the
    plan is written.

    Args:
        files: One checkpoint and one ``.onnx`` file that fade-export wrote from it, in any order.
        options: See :class:`VerifyOptions`, without those of other runtimes, scores and saved outputs.
        output: Path of the plan; by default the file's stem with ``.precision.toml`` in the current folder.
        force: Replace an existing plan.

    Raises:
        FadeDeployError: The user can mend it; nothing was written.
    """
    options = _checked(options or VerifyOptions())
    names = [str(file) for file in files]
    if sorted(kind_of(Path(name)) for name in names) != [Kind.CHECKPOINT, Kind.ONNX]:
        raise InputError(
            "--bisect compares one .onnx file with one checkpoint, expected exactly these two: fade-verify --bisect "
            "model.onnx model.pth"
        )
    subjects = opened(names, options)
    checkpoint = subjects.checkpoint
    assert checkpoint is not None
    (candidate,) = subjects.candidates
    file = Path(candidate.run.file)
    target = _target(file, candidate, output, force=force)
    batch, found = _first_disagreement(subjects, candidate, Batches(subjects.interface, options))
    logger.info("compare: %s at %s %s", file.name, batch.name, "agrees" if found.passed else "DISAGREES")
    exported, _ = rewritten(checkpoint.model, fuse=bool(subjects.facts.get("fused", True)))
    model = ir.load(candidate.run.file)
    weights = _changed_weights(model, exported)
    expected = _module_outputs(exported, checkpoint, subjects.interface, batch.tensors)
    boundaries = _boundaries(model, expected, candidate, batch, options)
    first = next((boundary for boundary in boundaries if not boundary.passed), None)
    notes = list(subjects.notes)
    if first is not None and found.passed:
        notes.append("a module leaves the tolerance, and the file's output does not: what follows damps it")
    parting = Parting(
        file=str(file),
        checkpoint=str(checkpoint.path),
        shape=str(batch.shape),
        source=batch.source,
        tolerance=candidate.bound,
        boundaries=tuple(boundaries),
        output=found,
        first=first,
        weights=weights,
        notes=tuple(notes),
    )
    if target is None or found.passed:
        return parting
    return _with_plan(parting, target, subjects, candidate, batch, options)


def _checked(options: VerifyOptions) -> VerifyOptions:
    """The options in standard operators; refused where one would do nothing."""
    idle = ["on", "labels", "alphas", "max_miou_drop", "save_outputs", "plugin"]
    reason = "with --bisect, which runs the file on ONNX Runtime's CPU in standard operators"
    check_unused(options, idle if str(options.library) in (AUTOMATIC, NONE) else [*idle, "library"], reason)
    return dataclasses.replace(options, library=NONE)


def _target(file: Path, candidate: Candidate, output: Path | str | None, *, force: bool) -> Path | None:
    """Where the plan goes; None of a float32 file, which has none."""
    if candidate.run.precision == Precision.FP32:
        if output is not None:
            raise InputError(f"{file} computes in float32, for which there is no plan to write: leave -o out")
        return None
    target = Path(output) if output is not None else Path(f"{file.stem}.precision.toml")
    artefact.check_target(target, force=force)
    return target


def _with_plan(
    parting: Parting, target: Path, subjects: Opened, candidate: Candidate, batch: Batch, options: VerifyOptions
) -> Parting:
    """The same with the plan that mends the file, written; or with a note on why there is none."""
    from fade_deploy.api.verify.mending import mended

    start, notes = _plan_of(candidate)
    mending = mended(subjects, candidate, batch, options, start)
    plan = ""
    if mending.plan is None:
        notes.append("not even float32 everywhere mends it: the file has other weights, or another fault than types")
    elif not mending.keep:
        notes.append(
            "its checkpoint typed by the same plan agrees, so the plan is not at fault: the file has other weights, or "
            "was typed otherwise; export it again"
        )
    else:
        artefact.write(target, mending.plan.toml().encode())
        plan = str(target)
    return dataclasses.replace(
        parting, keep=mending.keep, trials=mending.trials, plan=plan, notes=(*parting.notes, *notes)
    )


def _plan_of(candidate: Candidate) -> tuple[PrecisionPlan, list[str]]:
    """What the file was typed by, as its manifest says; without one the shipped plan, and a note that says so."""
    manifest = Path(candidate.run.file).with_suffix(".json")
    try:
        stated = json.loads(manifest.read_bytes())["precision_plan"]
        plan = PrecisionPlan(
            name=str(stated["name"]),
            precision=Precision(stated["precision"]),
            rules=tuple(
                Rule(
                    modules=tuple(rule.get("modules", ())),
                    op_types=tuple(rule.get("op_types", ())),
                    precision=Precision(rule["precision"]),
                    reason=str(rule["reason"]),
                )
                for rule in stated["rules"]
            ),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        note = f"{manifest} states no precision plan: the file is taken for one that was typed by the shipped plan"
        return default_plan(Precision(candidate.run.precision)), [note]
    return plan, []


def _first_disagreement(subjects: Opened, candidate: Candidate, batches: Batches) -> tuple[Batch, Comparison]:
    """The first batch on which they disagree, from the smallest up; else the smallest."""
    ordered = sorted(batches, key=lambda each: each.shape.batch * each.shape.height * each.shape.width)
    found = []
    for batch in ordered:
        given, expected = outputs_of(candidate, batch), outputs_of(subjects.reference, batch)
        found.append(judged(candidate, batch, given, expected, subjects.interface.head))
        if not found[-1].passed:
            return batch, found[-1]
    return ordered[0], found[0]


def _changed_weights(model: ir.Model, exported: nn.Module) -> tuple[ChangedWeight, ...]:
    """The file's weights that are not those of the model it was exported from."""
    known = {name: tensor.numpy() for name, tensor in exported.state_dict().items() if tensor.is_floating_point()}
    found = []
    for weight in module_weights(model):
        inside = {name: array for name, array in known.items() if name.startswith(f"{weight.module}.")}
        if weight.module and (changed := changed_weight(weight.values, inside)):
            found.append(changed)
    return tuple(found)


def _boundaries(
    model: ir.Model,
    expected: Mapping[str, Sequence[NDArray[Any]]],
    candidate: Candidate,
    batch: Batch,
    options: VerifyOptions,
) -> list[Boundary]:
    """Every module that both sides have a tensor of, in the order in which the file computes them."""
    scopes = module_scopes(model)
    if not scopes:
        raise InputError(
            f"{candidate.run.file} names no modules on its nodes, expected a file as fade-export wrote it: don't "
            "simplify or convert it before"
        )
    if candidate.run.precision == Precision.BF16:
        emulate_low_types(model)  # onnxruntime has no kernels for it on the CPU
    computed = {value.name for node in model.graph for value in node.outputs}
    names = [name for name in dict.fromkeys(name for scope in scopes for name in scope.values) if name in computed]
    given = outputs_of(candidate.with_model(with_outputs(model, names)), batch)
    # Inner tensors are compared in units of their own spread, whatever the task: see Boundary.
    bound = stated_tolerance(options.tolerance) or tolerance(_INNER, Precision(candidate.run.precision))
    boundaries = []
    for scope in scopes:
        leaving = [given[name] for name in scope.values if name in given]
        if pairs := matched(expected.get(scope.module, ()), leaving):
            boundaries.append(boundary_of(scope.module, scope.replaces, pairs, bound))
    return boundaries


def _module_outputs(
    exported: nn.Module, checkpoint: EagerModel, interface: Interface, tensors: Arrays
) -> dict[str, list[NDArray[Any]]]:
    """Name of a module of the exported model -> the floats that it returned."""
    deployed = checkpoint.deployed(exported, interface.head, embed_preprocess=interface.embed_preprocess)
    found: dict[str, list[NDArray[Any]]] = {}
    with torch.no_grad(), _watched(exported, found):
        deployed(**{name: torch.from_numpy(array.copy()) for name, array in tensors.items()})
    return found


@contextmanager
def _watched(model: nn.Module, found: dict[str, list[NDArray[Any]]]) -> Iterator[None]:
    def keep(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, result: Any) -> None:
            # Copies: what follows may work in place.
            found[name] = [tensor.numpy().copy() for tensor in _tensors(result) if tensor.is_floating_point()]

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in model.named_modules() if name]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, list | tuple):
        for part in result:
            yield from _tensors(part)
