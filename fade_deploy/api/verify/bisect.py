"""Where an exported file and its checkpoint part, module by module, and the precision plan that mends it.

The file's inner tensors become outputs at the boundaries of the modules that its nodes name. The other side is the
model that the file was exported from: the checkpoint's after the same exact rewrites, in eager PyTorch, watched by
hooks under the same names. What a fusion replaced has no tensors any more, so the boundary there is the fused step,
told with the modules that it stands for.
"""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fade_deploy import artefact
from fade_deploy.api.verify.batches import Batch, Batches
from fade_deploy.api.verify.options import Backend, VerifyOptions, stated_tolerance
from fade_deploy.api.verify.runners import Candidate, Kind, kind_of
from fade_deploy.api.verify.subjects import Opened, opened
from fade_deploy.errors import InputError
from fade_deploy.graph.emulation import emulate_low_types
from fade_deploy.graph.taps import module_scopes, module_weights, with_outputs
from fade_deploy.models.fusion.fuse import rewritten
from fade_deploy.precision import Precision, PrecisionPlan, Rule, default_plan
from fade_deploy.runtimes.native_libraries import NONE
from fade_deploy.runtimes.ort import session_from_onnx
from fade_deploy.tolerances import tolerance
from fade_deploy.verification.boundaries import (
    Boundary,
    ChangedWeight,
    Parting,
    boundary_of,
    changed_weight,
    matched,
)
from fade_deploy.verification.comparing import compared
from fade_deploy.verification.model_inputs import pictures_in
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
    """Find the first module whose output leaves the tolerance, on ONNX Runtime's CPU.

    Shapes are tried from the smallest up, until the file's output disagrees. A file of low precision is typed again
    from its checkpoint, with more and more of it in float32, until a small set of modules is found that mends it; the
    plan is written.

    Args:
        files: One checkpoint and one ``.onnx`` file that fade-export wrote from it, in any order.
        options: See :class:`VerifyOptions`; where the file runs is not asked.
        output: Path of the plan; by default the file's stem with ``.precision.toml`` in the current folder.
        force: Replace an existing plan.

    Raises:
        FadeDeployError: The user can mend it; nothing was written.
    """
    asked = options or VerifyOptions()
    options = VerifyOptions(
        shapes=asked.shapes,
        seed=asked.seed,
        images=asked.images,
        trimaps=asked.trimaps,
        tolerance=asked.tolerance,
        recipe=asked.recipe,
        ema=asked.ema,
        library=NONE,
        on=(Backend.CPU,),
    )
    names = [str(file) for file in files]
    if sorted(kind_of(Path(name)) for name in names) != [Kind.CHECKPOINT, Kind.ONNX]:
        raise InputError(
            "--bisect compares one .onnx file with one checkpoint, expected exactly these two: fade-verify --bisect "
            "model.onnx model.pth"
        )
    subjects = opened(names, options)
    (candidate,) = subjects.candidates
    file = Path(candidate.run.file)
    target = Path(output) if output is not None else Path(f"{file.stem}.precision.toml")
    is_low = candidate.run.precision != Precision.FP32
    if is_low:
        artefact.check_target(target, force=force)
    batches = Batches(subjects.interface, options)
    batch, found = _first_disagreement(subjects, candidate, batches)
    logger.info("compare: %s at %s %s", file.name, batch.name, "agrees" if found.passed else "DISAGREES")
    exported, _ = rewritten(subjects.checkpoint.model, fuse=bool(subjects.facts.get("fused", True)))
    model = ir.load(candidate.run.file)
    weights = _changed_weights(model, exported)
    boundaries = _boundaries(model, exported, subjects, candidate, batch, options)
    first = next((boundary for boundary in boundaries if not boundary.passed), None)
    keep: tuple[str, ...] = ()
    trials, plan = 0, ""
    notes = list(subjects.notes)
    if is_low and not found.passed:
        from fade_deploy.api.verify.mending import mended

        mending = mended(subjects, candidate, batch, options, _plan_of(file, candidate))
        keep, trials = mending.keep, mending.trials
        if mending.plan is None:
            notes.append(
                "not even float32 everywhere mends it: the file has other weights, or another fault than types"
            )
        else:
            artefact.write(target, mending.plan.toml().encode())
            plan = str(target)
    if first is not None and found.passed:
        notes.append("a module leaves the tolerance, and the file's output does not: what follows damps it")
    return Parting(
        file=str(file),
        checkpoint=str(subjects.checkpoint.path),
        shape=str(batch.shape),
        source=batch.source,
        tolerance=candidate.bound,
        boundaries=tuple(boundaries),
        output=found,
        first=first,
        weights=weights,
        keep=keep,
        plan=plan,
        trials=trials,
        notes=tuple(notes),
    )


def _plan_of(file: Path, candidate: Candidate) -> PrecisionPlan:
    """What the file was typed by: its manifest says it; without one it is taken for the shipped plan."""
    try:
        stated = json.loads(file.with_suffix(".json").read_bytes())["precision_plan"]
        return PrecisionPlan(
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
        return default_plan(Precision(candidate.run.precision))


def _first_disagreement(subjects: Opened, candidate: Candidate, batches: Batches) -> tuple[Batch, Comparison]:
    """The first batch on which they disagree, from the smallest up; else the smallest."""
    found = []
    for batch in sorted(batches, key=lambda each: each.shape.batch * each.shape.height * each.shape.width):
        comparison = _compared(subjects, candidate, batch, candidate.run_on(batch.tensors))
        if not comparison.passed:
            return batch, comparison
        found.append((batch, comparison))
    return found[0]


def _compared(subjects: Opened, candidate: Candidate, batch: Batch, given: Arrays) -> Comparison:
    """What a file gave for a batch against the unchanged eager module."""
    recipe = subjects.interface.recipe
    _, trimaps = pictures_in(batch.tensors, mean=recipe.mean, std=recipe.std)
    return compared(
        given,
        subjects.reference.run_on(batch.tensors),
        run=candidate.run.name,
        input_name=batch.name,
        shape=str(batch.shape),
        source=batch.source,
        head=subjects.interface.head,
        tolerance=candidate.bound,
        trimaps=trimaps,
    )


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
    exported: nn.Module,
    subjects: Opened,
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
    given = _inner_tensors(with_outputs(model, names), names, candidate, batch.tensors)
    expected = _module_outputs(exported, subjects, batch.tensors)
    # Inner tensors are compared in units of their own spread, whatever the task: see Boundary.
    bound = stated_tolerance(options.tolerance) or tolerance(_INNER, Precision(candidate.run.precision))
    boundaries = []
    for scope in scopes:
        leaving = [given[name] for name in scope.values if name in given]
        if pairs := matched(expected.get(scope.module, ()), leaving):
            boundaries.append(boundary_of(scope.module, scope.replaces, pairs, bound))
    return boundaries


def _inner_tensors(data: bytes, names: Sequence[str], candidate: Candidate, tensors: Arrays) -> dict[str, NDArray[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tapped.onnx"
        path.write_bytes(data)
        session = session_from_onnx(path, library=NONE)
    if candidate.io is Precision.FP16:
        tensors = {name: x.astype(np.float16) if x.dtype == np.float32 else x for name, x in tensors.items()}
    return dict(zip(names, session.run(list(names), dict(tensors)), strict=True))


def _module_outputs(exported: nn.Module, subjects: Opened, tensors: Arrays) -> dict[str, list[NDArray[Any]]]:
    """Name of a module of the exported model -> the floats that it returned."""
    interface = subjects.interface
    deployed = subjects.checkpoint.deployed(exported, interface.head, embed_preprocess=interface.embed_preprocess)
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
