"""Everything that one ``make bench`` measures, each case in a process of its own."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.exports import export_file
from benchmarks.head_growth import head_growth
from benchmarks.kept import Kept
from benchmarks.machine import stamp
from benchmarks.measure import AnyCase, AnyVariant, Pace, memory_growth, times
from benchmarks.models import MODELS
from benchmarks.native_kernels import native_kernels
from benchmarks.operators import OPERATOR_BASELINE, OPERATOR_CASES, OperatorCase, operator_variants_of
from benchmarks.roofline import work_of
from benchmarks.runners import LeftOut
from benchmarks.variants import BASELINE, VARIANTS, ModelCase, is_available, variants_of
from fade_deploy.timing.machine import load_average

__all__ = ["FULL", "QUICK", "Plan", "measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to measure, and how long."""

    models: tuple[ModelCase, ...]
    operators: tuple[OperatorCase, ...] = ()
    growth: tuple[str, ...] = ()  # models whose head's cost growth is measured
    threads: tuple[int, ...] = (1, 2)
    pace: Pace


_SIZES = ("segformer-b1", "a2u-matting")  # also in a batch and at 1024x1024
_ALL = tuple(variant.name for variant in VARIANTS)
# With torch.compile and the public einsum, too, matting alone would take as long as all the rest.
_BESIDE = {
    "segformer-b1": _ALL,
    "a2u-matting": tuple(name for name in _ALL if name not in ("einsum", "naive-compiled")),
}

QUICK = Plan(models=tuple(ModelCase(model=name) for name in _SIZES), pace=Pace(seconds=8, fewest=3, most=15))
FULL = Plan(
    models=(
        *(ModelCase(model=name, beside=_BESIDE.get(name, ())) for name in MODELS),
        *(ModelCase(model=name, batch=4) for name in _SIZES),
        *(ModelCase(model=name, height=1024, width=1024) for name in _SIZES),
    ),
    operators=OPERATOR_CASES,
    growth=("segformer-b1",),
    pace=Pace(seconds=12, fewest=3, most=15),
)


def measured(plan: Plan, *, folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    """Run the plan and return the results document, of which ``report`` makes tables.

    A run that was cut short is taken up where it stopped, by the same code on the same machine.

    Args:
        plan: What to measure.
        folder: Of exported files, and of what a run that was cut short has measured.
        tell: Is told what is about to run.
    """
    start = time.perf_counter()
    document: dict[str, Any] = stamp() | {"load_before": load_average(), "pace": asdict(plan.pace)}
    made_with = {name: document[name] for name in ("machine", "versions", "commit", "pace")}
    kept = Kept(folder / "measured.json", made_with=made_with | {"threads": plan.threads})
    if len(kept):
        tell(f"{len(kept)} measurements of a run that was cut short are taken up: {folder / 'measured.json'}")
    for model, file in _files(plan):
        tell(f"exporting {MODELS[model].title} as {file}")
        in_fresh_process(export_file, MODELS[model], file, folder)

    def case_of(case: AnyCase, variants: Sequence[AnyVariant], baseline: str) -> Any:
        measure = partial(_case, case, variants, baseline, plan, folder=folder, tell=tell)
        return kept.or_measured(str(asdict(case)), measure)

    document["models"] = [case_of(case, variants_of(case), BASELINE) for case in plan.models]
    document["operators"] = [
        case_of(case, operator_variants_of(case), OPERATOR_BASELINE) | {"work": asdict(work_of(case))}
        for case in plan.operators
    ]
    document["head_growth"] = [
        kept.or_measured(f"head of {name}", partial(_head_growth, name, plan, folder=folder, tell=tell))
        for name in plan.growth
    ]
    if plan.operators:
        tell("native kernels, without a runtime")
        document["kernels"] = kept.or_measured("kernels", native_kernels)
    document["seconds"] = round(time.perf_counter() - start)
    kept.finished()
    return document


def _head_growth(name: str, plan: Plan, *, folder: Path, tell: Callable[[str], None]) -> dict[str, Any]:
    tell(f"head of {MODELS[name].title}, cost growth")
    by_threads = {
        str(threads): in_fresh_process(head_growth, name, threads=threads, folder=folder, pace=plan.pace)
        for threads in plan.threads
    }
    return {"subject": MODELS[name].title, "threads": by_threads}


def in_fresh_process(function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    """Call the function in a new Python process, so that neither memory nor threads are left from an earlier case.

    Raises:
        LeftOut: The process was ended, as the system does where memory runs out.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        try:
            return pool.submit(function, *arguments, **named).result()
        except BrokenProcessPool as error:
            raise LeftOut("its process was ended, probably because memory ran out") from error


def _files(plan: Plan) -> list[tuple[str, str]]:
    """(model, file) of all that will be run, each once."""
    wanted = [
        (case.model, variant.file)
        for case in plan.models
        for variant in variants_of(case)
        if variant.file and is_available(variant)
    ]
    return list(dict.fromkeys(wanted))


def _case(
    case: AnyCase,
    variants: Sequence[AnyVariant],
    baseline: str,
    plan: Plan,
    *,
    folder: Path,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    by_threads = {}
    for threads in plan.threads:
        tell(f"{case}, {threads} threads")
        try:
            by_threads[str(threads)] = in_fresh_process(
                times, case, list(variants), baseline=baseline, threads=threads, folder=folder, pace=plan.pace
            )
        except LeftOut as reason:
            by_threads[str(threads)] = {"variants": {variant.name: {"left_out": str(reason)} for variant in variants}}
    tell(f"{case}, memory")
    memory = {}
    for variant in variants:
        try:
            memory[variant.name] = in_fresh_process(memory_growth, case, variant, threads=1, folder=folder)
        except LeftOut as reason:
            memory[variant.name] = {"left_out": str(reason)}
    return {
        "subject": str(case),
        "case": asdict(case),
        "baseline": baseline,
        "titles": {variant.name: variant.title for variant in variants},
        "threads": by_threads,
        "memory": memory,
    }
