"""The modules of a low-precision file that have to keep float32, by trial: typed again, run, compared."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from fade_deploy.api.export.export import export
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.api.verify.batches import Batch
from fade_deploy.api.verify.judging import judged, outputs_of
from fade_deploy.api.verify.options import VerifyOptions
from fade_deploy.api.verify.runners import Candidate
from fade_deploy.api.verify.subjects import Opened
from fade_deploy.contract import Head
from fade_deploy.graph.emulation import emulate_low_types
from fade_deploy.graph.passes import MODULE_KEY
from fade_deploy.graph.precision import typed
from fade_deploy.precision import Precision, PrecisionPlan, Rule
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import NONE
from fade_deploy.verification.narrowing import smallest_mending

__all__ = ["Mending", "mended"]

logger = logging.getLogger(__name__)

_GROUP = 2  # leading parts of a module's name: backbone.block1, decode_head.chains
_MOST_GROUPS = 4  # whose modules are tried one by one; where more are needed whole groups are kept,
_MOST_TRIALS = 80  # and also where so many graphs were tried: then everything adds to the error


@dataclass(frozen=True, slots=True, kw_only=True)
class Mending:
    """What was found."""

    keep: tuple[str, ...]  # modules to keep in float32; none where the plan that the file was typed by agrees as it is
    plan: PrecisionPlan | None  # None where float32 everywhere does not mend the file
    trials: int


class _TooManyTrials(Exception):
    """The search is given up."""


class _Trials:
    """Sets of modules that are tried in float32.

    Args:
        agrees: Tries a plan.
        start: The plan that the sets are added to.
    """

    def __init__(self, agrees: Callable[[PrecisionPlan], bool], start: PrecisionPlan) -> None:
        self._agrees = agrees
        self._start = start
        self.count = 0

    def plan(self, patterns: tuple[str, ...]) -> PrecisionPlan:
        """The start with these modules in float32."""
        if not patterns:
            return self._start
        rule = Rule(
            modules=patterns,
            precision=Precision.FP32,
            reason="found by fade-verify --bisect: with these in float32 the file agrees where it did not",
        )
        return replace(self._start, rules=(*self._start.rules, rule))

    def smallest(
        self,
        units: Sequence[str],
        patterns_of: Callable[[tuple[str, ...]], tuple[str, ...]],
        *,
        otherwise: tuple[str, ...] | None,
    ) -> tuple[str, ...] | None:
        """As :func:`smallest_mending`; ``otherwise`` where too many sets would have to be tried."""

        def mends(kept: tuple[str, ...]) -> bool:
            if self.count >= _MOST_TRIALS:
                raise _TooManyTrials
            self.count += 1
            passed = self._agrees(self.plan(patterns_of(kept)))
            logger.info("mend: %d kept in float32, %s", len(kept), "agrees" if passed else "disagrees")
            return passed

        try:
            return smallest_mending(units, mends)
        except _TooManyTrials:
            return otherwise


def mended(
    subjects: Opened, candidate: Candidate, batch: Batch, options: VerifyOptions, start: PrecisionPlan
) -> Mending:
    """Search for a small set of modules that, in float32, make the file agree on this batch.

    Groups of modules first, then the modules in those that are needed: each set is tried by typing the checkpoint's
    float32 graph again and running it on ONNX Runtime's CPU.

    Args:
        subjects: The checkpoint and the file.
        candidate: The file.
        batch: On which it disagrees.
        options: Of the verification.
        start: The plan that the file was typed by.
    """
    base = _float32_graph(subjects, options)
    modules = list(dict.fromkeys(node.metadata_props.get(MODULE_KEY, "") for node in base.graph))
    modules = [module for module in modules if module]
    expected = outputs_of(subjects.reference, batch)
    head = subjects.interface.head
    return _narrowed(modules, _Trials(lambda plan: _agrees(base, plan, candidate, batch, expected, head), start))


def _narrowed(modules: Sequence[str], trials: _Trials) -> Mending:
    groups = tuple(dict.fromkeys(_group(module) for module in modules))
    needed = trials.smallest(groups, lambda kept: _with_inner(kept, modules), otherwise=groups)
    if needed is None:
        return Mending(keep=(), plan=None, trials=trials.count)
    if 0 < len(needed) <= _MOST_GROUPS:
        inside = [module for module in modules if _group(module) in needed]
        single = trials.smallest(inside, lambda kept: kept, otherwise=None)
        if single is not None:
            return Mending(keep=single, plan=trials.plan(single), trials=trials.count)
    return Mending(keep=needed, plan=trials.plan(_with_inner(needed, modules)), trials=trials.count)


def _float32_graph(subjects: Opened, options: VerifyOptions) -> ir.Model:
    """The checkpoint exported as the file was, in float32."""
    facts, checkpoint = subjects.facts, subjects.checkpoint
    assert checkpoint is not None
    export_options = ExportOptions(
        recipe=options.recipe,
        head=Head(facts["head"]),
        embed_preprocess=facts["embed_preprocess"],
        shape=None if facts["shape"] == "dynamic" else Shape.parse(facts["shape"]),
        opset=facts["opset"],
        fuse=facts["fused"],
        ema=options.ema,
        full_verification=False,
        library=NONE,
    )
    with tempfile.TemporaryDirectory() as folder:
        exported = export(checkpoint.path, Path(folder) / "float32.onnx", export_options)
        return ir.from_proto(ir.to_proto(ir.load(exported.path)))  # its weights are in the file, which goes


def _agrees(
    base: ir.Model,
    plan: PrecisionPlan,
    candidate: Candidate,
    batch: Batch,
    expected: Mapping[str, NDArray[Any]],
    head: Head,
) -> bool:
    model = base.clone()
    typed(model, plan, io=candidate.io)
    if plan.lowest is Precision.BF16:
        emulate_low_types(model)
    trial = candidate.with_model(ir.serde.serialize_model(model).SerializeToString())
    return judged(candidate, batch, outputs_of(trial, batch), expected, head).passed


def _group(module: str) -> str:
    return ".".join(module.split(".")[:_GROUP])


def _with_inner(groups: Sequence[str], modules: Sequence[str]) -> tuple[str, ...]:
    """Patterns for the groups' own nodes and those of everything inside; only such as match, or a plan is refused.

    What is inside a module that is no group of its own name, as ``backbone``, is in other groups.
    """
    own = [group for group in groups if group in modules]
    inside = {group: {_group(name) for name in modules if name.startswith(f"{group}.")} for group in groups}
    return (*own, *(f"{group}.*" for group in groups if inside[group] == {group}))
