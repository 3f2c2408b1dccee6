"""What a verification found, as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from fade_deploy.report.content import (
    Block,
    Cell,
    Column,
    Commands,
    Facts,
    Histogram,
    Note,
    Report,
    Section,
    Series,
    Table,
    Tone,
    Verdict,
)
from fade_deploy.report.number_text import bound_text, counted, difference_text, error_text, percent, score_text
from fade_deploy.report.run_pictures import picture_section
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.measures import HISTOGRAM_EDGES
from fade_deploy.verification.verification import Comparison, TaskScores, Verification

__all__ = ["verification_report"]

_REFERENCE = "reference"
_SCORES = {"miou": "mIoU", "biou": "bIoU", "sad": "SAD", "mse": "MSE", "grad": "Grad", "conn": "Conn"}


def verification_report(result: Verification, *, command: str, sections: Sequence[Section] = ()) -> Report:
    """The page of a verification.

    Args:
        result: What was found.
        command: The command line that found it.
        sections: Further chapters, which stand before provenance.
    """
    return Report(
        title=", ".join(dict.fromkeys(Path(run.file).name for run in (result.reference, *result.runs))),
        subtitle=f"{result.task}, {result.head}; verified on {counted(len(result.inputs), 'input')}",
        verdict=_verdict(result),
        sections=(
            _runtimes(result),
            *([_scores(result)] if result.scores else []),
            _comparisons(result),
            _errors(result),
            picture_section(result, numbers=_numbers(result)),
            *sections,
            _provenance(result, command),
        ),
    )


def _numbers(result: Verification) -> dict[str, int]:
    return {run.name: number for number, run in enumerate(result.runs, start=1)}


def _verdict(result: Verification) -> Verdict:
    failed = [found for found in result.comparisons if not found.passed]
    gated = [scored for scored in result.scores if not scored.passed]
    runs, total = counted(len(result.runs), "run"), len(result.comparisons)
    reference = f"{Path(result.reference.file).name} ({result.reference.runtime})"
    lines = []
    if failed:
        headline = f"{len(failed)} of {counted(total, 'comparison')} with {reference} disagree."
    elif gated:
        headline = f"{runs} within tolerance of {reference}, but beyond a gate on scores."
    else:
        headline = f"{runs} within tolerance of {reference} on {counted(len(result.inputs), 'input')}."
    if (worst := result.worst) is not None:
        error = worst.agreement.max_error if worst.agreement else None
        told = worst.reason or (f"max error {error_text(error)}" if error is not None else "")
        word = "Largest error" if worst.passed else "Worst"
        bound = result.bounds.get(worst.run)
        tolerated = f", tolerated {bound_text(bound.atol)}" if worst.passed and bound and error is not None else ""
        if told:
            lines.append(f"{word}: {worst.run} on {worst.input}: {told}{tolerated}.")
    lines += [f"Beyond its gate: {scored.run}, {_differences(scored)}." for scored in gated]
    if result.reduced is not None:
        lines.append(f"The smallest shape that still fails is {result.reduced.shape}.")
    lines += [f"Note: {note}." for note in result.notes]
    commands = [result.command, result.reduced.command if result.reduced else ""]
    return Verdict(
        tone=Tone.GOOD if result.passed else Tone.BAD,
        word="PASSED" if result.passed else "FAILED",
        headline=headline,
        lines=tuple(lines),
        commands=tuple(dict.fromkeys(line for line in commands if line)),
    )


def _differences(scored: TaskScores) -> str:
    return ", ".join(f"{name} {difference_text(value)}" for name, value in (scored.differences or {}).items())


def _runtimes(result: Verification) -> Section:
    numbers = _numbers(result)
    reference = result.reference
    rows: list[tuple[Cell | str, ...]] = [
        (_run_cell(reference.name, numbers), reference.runtime, reference.precision, "", "", "")
    ]
    for run in result.runs:
        mine = [found for found in result.comparisons if found.run == run.name]
        errors = [found.agreement.max_error for found in mine if found.agreement]
        known = [error for error in errors if error is not None]
        agreeing = sum(found.passed for found in mine)
        bound = result.bounds.get(run.name)
        rows.append(
            (
                Cell(text=run.name, number=numbers[run.name]),
                run.runtime,
                run.precision,
                run.tolerance if bound is None else _tolerated(run.tolerance, bound),
                error_text(_largest(known)),
                _verdict_cell(agreeing == len(mine), f"{agreeing} of {len(mine)} agree"),
            )
        )
    columns = (
        Column("run"),
        Column("computed by"),
        Column("precision"),
        Column("tolerance"),
        Column("max error", is_number=True),
        Column("verdict"),
    )
    return Section(title="Runtimes", blocks=(Table(title="", columns=columns, rows=tuple(rows)),))


def _tolerated(name: str, bound: Tolerance) -> str:
    number = bound_text(bound.atol)
    return number if name in ("", number, f"{bound.atol:g}") else f"{number} ({name})"


def _largest(errors: Sequence[float]) -> float | None:
    """Of errors, where one that is no number is larger than any."""
    return next((error for error in errors if math.isnan(error)), max(errors, default=None))


def _verdict_cell(passed: bool, text: str) -> Cell:
    return Cell(text=text, tone=Tone.GOOD if passed else Tone.BAD)


def _scores(result: Verification) -> Section:
    numbers = _numbers(result)
    names = list(result.scores[0].scores)
    rows = []
    for scored in result.scores:
        cells: list[Cell | str] = [_run_cell(scored.run, numbers), str(scored.pictures)]
        for name in names:
            beside = f" ({difference_text(scored.differences[name])})" if scored.differences else ""
            cells.append(f"{score_text(scored.scores[name])}{beside}")
        agrees = _verdict_cell(scored.passed, "agrees" if scored.passed else "beyond its gate")
        rows.append((*cells, "" if scored.differences is None else agrees))
    columns = (
        Column("run"),
        Column("pictures", is_number=True),
        *(Column(_SCORES.get(name, name), is_number=True) for name in names),
        Column("verdict"),
    )
    more_is_better = "miou" in names
    return Section(
        title="Scores against the truth",
        intro=f"In brackets the difference from the reference; {'more' if more_is_better else 'less'} is better.",
        blocks=(Table(title="", columns=columns, rows=tuple(rows)),),
    )


def _run_cell(run: str, numbers: dict[str, int]) -> Cell:
    return Cell(text=run, number=numbers[run]) if run in numbers else Cell(text=f"{_REFERENCE}: {run}")


def _comparisons(result: Verification) -> Section:
    numbers = _numbers(result)
    has_labels = any(found.agreement and found.agreement.labels_compared is not None for found in result.comparisons)
    has_band = any(found.band is not None for found in result.comparisons)
    names = ["max", "mean", "p50", "p99", "p99.9", "1 - cos", "PSNR, dB", "NaN, infinite"]
    names += [*(["labels that agree"] if has_labels else []), *(["unknown band, max / mean"] if has_band else [])]
    rows = []
    for found in result.comparisons:
        cells: list[Cell | str] = [found.input, Cell(text=found.run, number=numbers.get(found.run))]
        cells += _measured(found)
        if has_labels:
            cells.append(_labels(found))
        if has_band:
            band = found.band
            cells.append(f"{error_text(band.max_error)} / {error_text(band.mean_error)}" if band else "-")
        rows.append((*cells, _verdict_cell(found.passed, found.reason or "agrees")))
    columns = (
        Column("input"),
        Column("run"),
        *(Column(name, is_number=True) for name in names),
        Column("verdict"),
    )
    note = (
        "Errors are absolute; 99.9 % of the values are at most as far from the reference as p99.9 says. "
        "Labels count where the reference is decided: its best class leads by more than the tolerated error."
        if has_labels
        else "Errors are absolute; 99.9 % of the values are at most as far from the reference as p99.9 says."
    )
    return Section(title="Every comparison", blocks=(Table(title="", columns=columns, rows=tuple(rows), note=note),))


def _measured(found: Comparison) -> list[Cell | str]:
    measures = found.measures
    if measures is None:
        return [error_text(found.agreement.max_error if found.agreement else None), *["-"] * 7]
    errors = (
        measures.max_error,
        measures.mean_error,
        measures.p50_error,
        measures.p99_error,
        measures.p999_error,
    )
    psnr = "equal" if measures.psnr == math.inf else f"{measures.psnr:.0f}"
    return [
        *(error_text(error) for error in errors),
        error_text(max(0.0, 1 - measures.cosine)) if math.isfinite(measures.cosine) else "-",
        psnr,
        f"{measures.nan}, {measures.inf}",
    ]


def _labels(found: Comparison) -> str:
    agreement = found.agreement
    if agreement is None or agreement.labels_compared is None or agreement.labels_agreeing is None:
        return "-"
    return f"{agreement.labels_agreeing:,} of {agreement.labels_compared:,}"


def _errors(result: Verification) -> Section:
    series = []
    for run, number in _numbers(result).items():
        measured = [found.measures for found in result.comparisons if found.run == run and found.measures]
        if not measured:
            continue
        # The first bin holds what is equal, and has no place on the axis.
        equal, *counts = [sum(bin_) for bin_ in zip(*(measures.histogram for measures in measured), strict=True)]
        values = sum(measures.values for measures in measured)
        bound = result.bounds.get(run)
        series.append(
            Series(
                number=number,
                name=run,
                values=(0.0, *map(float, counts)),
                detail=f"{counted(values, 'value')}, {percent(equal / values)} closer than "
                f"{error_text(HISTOGRAM_EDGES[1])}",
                bound=bound.atol if bound and bound.atol > 0 else None,
            )
        )
    block: Block
    if series:
        block = Histogram(
            title="How far values are from the reference",
            edges=HISTOGRAM_EDGES,
            series=tuple(series),
            note="All inputs together. The dashed line is the absolute tolerance; a larger error may still be within "
            "the relative one.",
        )
    elif result.head == "labels":
        block = Note("Labels are equal or not: there are no distances to count.")
    else:
        block = Note("Left out: no output could be compared value by value.")
    return Section(title="Errors", blocks=(block,))


def _provenance(result: Verification, command: str) -> Section:
    runs = [result.reference, *result.runs]
    files = {run.file: run.sha256 for run in runs}
    bounds = {run.tolerance or "given": result.bounds[run.name] for run in result.runs if run.name in result.bounds}
    facts = [
        Facts(title="Files", items=tuple((file, f"sha256 {digest}") for file, digest in files.items())),
        Facts(
            title="Inputs",
            items=tuple((used.name, f"{used.shape}, {used.source}") for used in result.inputs),
        ),
        Facts(
            title="Tolerances",
            items=tuple(
                (name, f"{bound_text(bound.atol)} absolute, {bound_text(bound.rtol)} of the value: {bound.why}")
                for name, bound in bounds.items()
            ),
        ),
        Facts(title="Measured on", items=tuple((name, str(value)) for name, value in result.about.items())),
    ]
    return Section(
        title="Provenance",
        blocks=(*(fact for fact in facts if fact.items), Commands(title="To reproduce", lines=(command,))),
    )
