"""What a benchmark measured, as a page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from fade_deploy.recipe import Shape
from fade_deploy.report.content import (
    Block,
    Cell,
    Column,
    Commands,
    Facts,
    Latencies,
    Note,
    Report,
    Section,
    Series,
    Table,
    Throughput,
    Tone,
    Verdict,
)
from fade_deploy.report.number_text import counted, error_text, percent, rate_text, size_text
from fade_deploy.timing import against as earlier
from fade_deploy.timing.benchmark import Benchmark, Candidate, CaseTimes

__all__ = ["benchmark_report"]

_TONES = {
    earlier.Verdict.FASTER: Tone.GOOD,
    earlier.Verdict.SLOWER: Tone.BAD,
    earlier.Verdict.SAME: Tone.NEUTRAL,
}


def benchmark_report(result: Benchmark, *, command: str, sections: Sequence[Section] = ()) -> Report:
    """The page of a benchmark.

    Args:
        result: What was measured.
        command: The command line that measured it.
        sections: Further chapters, which stand before provenance.
    """
    return Report(
        title=", ".join(dict.fromkeys(Path(one.file).name for one in result.candidates)),
        subtitle=f"{result.machine.cpu}, {counted(result.threads, 'thread')}; {result.date}",
        verdict=_verdict(result),
        sections=(
            _runtimes(result),
            _latency(result),
            *([_throughput(result)] if _batched(result) else []),
            *([_against(result.against)] if result.against else []),
            _besides(result),
            *sections,
            _provenance(result, command),
        ),
    )


def _numbered(result: Benchmark) -> list[tuple[int, Candidate]]:
    return list(enumerate(result.candidates, start=1))


def _verdict(result: Benchmark) -> Verdict:
    lines = [f"Beware: {doubt}." for doubt in result.doubts]
    lines += [_told_ratio(result, candidate) for candidate in result.candidates if candidate.name != result.baseline]
    lines += [f"Note: {note}." for note in result.notes]
    if result.against is None:
        shape = result.shapes[0]
        fastest = min(result.candidates, key=lambda one: one.cases[0].milliseconds(50))
        milliseconds = fastest.cases[0].milliseconds(50)
        headline = f"Fastest at {shape}: {fastest.name}, {_milliseconds(milliseconds)} ms at the median."
        return Verdict(tone=Tone.NEUTRAL, word="MEASURED", headline=headline, lines=tuple(lines))
    slower = [f"{change.name} at {change.shape}: {change.ratio:.2f} times as long" for change in result.against.slower]
    since = f"{result.against.file} of {result.against.date}"
    return Verdict(
        tone=Tone.GOOD if result.passed else Tone.BAD,
        word="PASSED" if result.passed else "FAILED",
        headline=f"Slower than in {since}: {'; '.join(slower)}." if slower else f"Nothing is slower than in {since}.",
        lines=tuple(lines),
    )


def _told_ratio(result: Benchmark, candidate: Candidate) -> str:
    case = candidate.cases[0]
    return (
        f"{candidate.name} takes {case.ratio(50):.2f} times as long as {result.baseline} at {case.shape} "
        f"(quartiles {case.ratio(25):.2f} to {case.ratio(75):.2f})."
    )


def _case(candidate: Candidate, shape: Shape) -> CaseTimes:
    return next(case for case in candidate.cases if case.shape == shape)


def _milliseconds(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}"


def _runtimes(result: Benchmark) -> Section:
    has_labels = any(case.accuracy.label_agreement is not None for one in result.candidates for case in one.cases)
    rows: list[tuple[Cell | str, ...]] = []
    for number, candidate in _numbered(result):
        errors = [case.accuracy.max_error for case in candidate.cases if case.accuracy.max_error is not None]
        shares = [
            case.accuracy.label_agreement for case in candidate.cases if case.accuracy.label_agreement is not None
        ]
        worst = math.nan if any(math.isnan(error) for error in errors) else max(errors, default=None)
        rows.append(
            (
                Cell(text=candidate.name, number=number),
                candidate.runtime,
                candidate.precision,
                size_text(candidate.file_bytes),
                f"{candidate.load:.2f}",
                error_text(worst),
                *([percent(min(shares)) if shares else "-"] if has_labels else []),
            )
        )
    columns = [
        Column("run"),
        Column("computed by"),
        Column("precision"),
        *(Column(name, is_number=True) for name in ("file", "load, s", "max error")),
        *([Column("same labels", is_number=True)] if has_labels else []),
    ]
    note = f"Errors are against {result.reference}, on the same made picture, the worst of all shapes."
    return Section(title="Runtimes", blocks=(Table(title="", columns=tuple(columns), rows=tuple(rows), note=note),))


def _latency(result: Benchmark) -> Section:
    blocks: list[Block] = []
    for shape in result.shapes:
        cases = [(number, candidate, _case(candidate, shape)) for number, candidate in _numbered(result)]
        series = tuple(
            Series(
                number=number,
                name=candidate.name,
                values=tuple(1000 * one for one in case.seconds),
                detail=f"{_milliseconds(case.milliseconds(50))} ms, {counted(len(case.seconds), 'run')}",
            )
            for number, candidate, case in cases
        )
        blocks += [Latencies(title=f"Latency at {shape}", series=series), _times_table(result, cases)]
    return Section(
        title="Latency",
        intro="Dots are single runs; the box holds the middle half, the bar is the median, the ticks are p90 and p99. "
        f"Of fewer than 100 runs p99 lies between the two slowest. The baseline is {result.baseline}; a ratio is taken "
        "within each round, and told as median and quartiles. Memory is what a process of its own grew by in its first "
        "run.",
        blocks=tuple(blocks),
    )


def _times_table(result: Benchmark, cases: Sequence[tuple[int, Candidate, CaseTimes]]) -> Table:
    has_gpu = any(case.memory.gpu_mib is not None for _, _, case in cases)
    rows: tuple[tuple[Cell | str, ...], ...] = tuple(
        (
            Cell(text=candidate.name, number=number),
            _milliseconds(case.milliseconds(50)),
            _milliseconds(case.milliseconds(90)),
            _milliseconds(case.milliseconds(99)),
            rate_text(case.pictures_per_second),
            f"{case.ratio(50):.3f} ({case.ratio(25):.3f} to {case.ratio(75):.3f})",
            _mib(case.memory.run_mib),
            *([_mib(case.memory.gpu_mib)] if has_gpu else []),
        )
        for number, candidate, case in cases
    )
    columns = ["p50, ms", "p90, ms", "p99, ms", "pictures a second", "ratio to the baseline", "memory, MiB"]
    columns += ["GPU, MiB"] if has_gpu else []
    reasons = dict.fromkeys(case.memory.reason for _, _, case in cases if case.memory.reason)
    return Table(
        title="",
        columns=(Column("run"), *(Column(name, is_number=True) for name in columns)),
        rows=rows,
        note=" ".join(f"Not known: {reason}." for reason in reasons),
    )


def _mib(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _sizes(result: Benchmark) -> list[tuple[int, int]]:
    return list(dict.fromkeys((shape.height, shape.width) for shape in result.shapes))


def _batched(result: Benchmark) -> bool:
    return len({shape.batch for shape in result.shapes}) > 1


def _throughput(result: Benchmark) -> Section:
    blocks: list[Block] = []
    for height, width in _sizes(result):
        batches = tuple(
            sorted({shape.batch for shape in result.shapes if (shape.height, shape.width) == (height, width)})
        )
        series = tuple(
            Series(
                number=number,
                name=candidate.name,
                values=tuple(_case(candidate, Shape(batch, height, width)).pictures_per_second for batch in batches),
            )
            for number, candidate in _numbered(result)
        )
        blocks.append(Throughput(title=f"Pictures a second at {height}x{width}", batches=batches, series=series))
    return Section(title="Throughput", blocks=tuple(blocks))


def _against(against: earlier.Against) -> Section:
    rows = tuple(
        (
            change.name,
            change.shape,
            _milliseconds(change.before_ms),
            _milliseconds(change.now_ms),
            f"{change.ratio:.3f} ({change.low:.3f} to {change.high:.3f})",
            Cell(text=str(change.verdict), tone=_TONES[change.verdict]),
        )
        for change in against.changes
    )
    columns = (
        Column("run"),
        Column("shape"),
        *(Column(name, is_number=True) for name in ("before, ms", "now, ms", "now to before")),
        Column("verdict"),
    )
    note = (
        f"Medians, with an interval from resampled runs; less than {against.margin:.0%} is what the machine alone "
        "may do."
    )
    return Section(
        title="Against an earlier benchmark",
        intro=f"{against.file}, {against.date}.",
        blocks=(Table(title="", columns=columns, rows=rows, note=note), *(Note(text) for text in against.notes)),
    )


def _besides(result: Benchmark) -> Section:
    """Where nodes ran, what loading takes, and what Polygraphy's runner takes."""
    rows = []
    for number, candidate in _numbered(result):
        placement = candidate.placement
        nodes = ", ".join(f"{name} {count}" for name, count in placement.nodes.items()) if placement else "not told"
        rows.append(
            (
                Cell(text=candidate.name, number=number),
                nodes,
                str(placement.native) if placement else "-",
                _mib(candidate.cases[0].memory.load_mib),
            )
        )
    columns = (
        Column("run"),
        Column("nodes by provider"),
        Column("native operators", is_number=True),
        Column("memory of loading, MiB", is_number=True),
    )
    blocks: list[Block] = [Table(title="Where it ran", columns=columns, rows=tuple(rows))]
    if result.polygraphy:
        times = tuple((f"{one.name}, {one.shape}", one.explanation) for one in result.polygraphy)
        blocks.append(Facts(title="Polygraphy's runner beside bound inputs and outputs", items=times))
    return Section(title="Placement and loading", blocks=tuple(blocks))


def _provenance(result: Benchmark, command: str) -> Section:
    files = {one.file: one.sha256 for one in result.candidates}
    machine = [(name.replace("_", " "), str(value)) for name, value in result.machine.as_dict().items() if value]
    settings = (
        ("threads", str(result.threads)),
        ("seconds a shape", f"{result.budget:g}"),
        ("load average before", f"{result.load:g}"),
        ("date", result.date),
    )
    return Section(
        title="Provenance",
        blocks=(
            Facts(title="Files", items=tuple((file, f"sha256 {digest}") for file, digest in files.items())),
            Facts(title="Machine", items=(*machine, *settings)),
            Facts(title="Versions", items=tuple(result.versions.items())),
            Commands(title="To reproduce", lines=(command,)),
        ),
    )
