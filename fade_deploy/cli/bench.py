"""``fade-bench``: the ways to run a model timed beside each other."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fade_deploy import artefact, optional
from fade_deploy.cli import command, compare_options
from fade_deploy.cli.compare_options import counted

if TYPE_CHECKING:
    from fade_deploy.api.bench.bench import Against, Benchmark, Candidate, CaseTimes

app = command.application()

_MB = 1_000_000


@app.command()
def bench(
    files: Annotated[list[Path], typer.Argument(help="Checkpoints, .onnx files, engines.", show_default=False)],
    on: Annotated[
        str, typer.Option(help="Where .onnx files run, a list: cpu, cuda, tensorrt.", metavar="LIST")
    ] = "cpu",
    shapes: Annotated[
        str, typer.Option(help="Sizes HxW, for example 512x512,256x384.", show_default="the files', else 512x512")
    ] = "",
    batches: Annotated[
        str, typer.Option(help="Batch sizes, for example 1,4,8.", show_default="1,4, or the files' own")
    ] = "",
    seconds: Annotated[
        float, typer.Option(help="For the timed runs of one shape, all candidates together.", min=0.1, max=86_400)
    ] = 10.0,
    threads: Annotated[
        int, typer.Option(help="Threads of each run.", min=0, max=1024, show_default="one for each core")
    ] = 0,
    baseline: Annotated[
        Path | None, typer.Option(help="The file that ratios are to.", show_default="the first file")
    ] = None,
    providers: Annotated[
        bool, typer.Option("--providers", help="Show which provider of ONNX Runtime runs how many nodes.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="JSON file for a later --against.", show_default=False)
    ] = None,
    report: compare_options.ReportOption = None,
    against: Annotated[
        Path | None,
        typer.Option(help="An earlier -o: exit code 1 where something got slower beyond noise.", show_default=False),
    ] = None,
    margin: Annotated[
        float,
        typer.Option(help="With --against: what the machine alone may do between the two; 0.1 is 10 %.", min=0, max=10),
    ] = 0.1,
    other_machine: Annotated[
        bool, typer.Option("--other-machine", help="With --against: though the machine or threads are others.")
    ] = False,
    recipe: Annotated[
        str, typer.Option(help="Recipe name or .toml file, of checkpoints.", show_default="their model's")
    ] = "",
    ema: compare_options.EmaFlag = False,
    library: command.LibraryOption = "auto",
    plugin: compare_options.PluginOption = "auto",
    force: compare_options.ForceFlag = False,
    as_json: command.JsonFlag = False,
    quiet: command.Quiet = False,
) -> command.Outcome:
    """Time checkpoints, .onnx files and engines beside each other: latency, throughput, memory, load time, accuracy.

    Runs are interleaved in one process, so ratios hold where milliseconds drift; memory and load times are of processes
    of their own. Accuracy is against the first file on a made picture, and is told, not judged: see fade-verify.

    Examples:

    - `fade-bench model.onnx`

    - `fade-bench model.pth model.onnx --shapes 512x512 --batches 1,4,8 --threads 2`

    - `fade-bench model.onnx model.engine --on cuda --providers`

    - `fade-bench model.onnx --batches 1 -o today.json --against yesterday.json`
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # PyTorch's threads would spin while sessions are timed
    optional.require("onnxruntime", extra="ort-cpu")
    from fade_deploy.api.bench.bench import bench as bench_files
    from fade_deploy.api.bench.options import BenchOptions, batches_of, providers_of, sizes_of
    from fade_deploy.api.report import check_report, write_benchmark_report

    options = BenchOptions(
        on=providers_of(on),
        sizes=sizes_of(shapes),
        batches=batches_of(batches),
        seconds=seconds,
        threads=threads,
        baseline="" if baseline is None else str(baseline),
        providers=providers,
        against=against,
        margin=margin,
        other_machine=other_machine,
        recipe=recipe,
        ema=ema,
        library=library,
        plugin=plugin,
    )
    compare_options.check_targets(files, output, report)
    if output is not None:
        artefact.check_target(output, force=force)
    if report is not None:
        check_report(report, force=force)
    with command.progress(quiet=quiet):
        result = bench_files(files, options)
        if output is not None:
            artefact.write(output, artefact.json_bytes(result.as_dict()))
        if report is not None:
            write_benchmark_report(result, report, command=compare_options.command_line("fade-bench"), force=force)
    outcome = _outcome(result, output, show_placement=providers)
    if report is not None:
        outcome.lines.append(f"report: {report}")
    return outcome


def _outcome(result: Benchmark, output: Path | None, *, show_placement: bool) -> command.Outcome:
    slower = len(result.against.slower) if result.against else 0
    outcome = command.Outcome(
        artefact=str(output or result.candidates[0].file),
        passed=result.passed,
        detail=f"{counted(result.candidates, 'candidate')}, {counted(result.shapes, 'shape')}"
        + (f", {slower} of {len(result.against.changes)} slower" if result.against else ""),
        document=result.as_dict(),
    )
    numbers = {candidate.name: str(number) for number, candidate in enumerate(result.candidates, start=1)}
    outcome.tables.append(_candidate_table(result, numbers))
    outcome.tables.append(_time_table(result, numbers))
    if show_placement:
        outcome.tables.append(_placement_table(result, numbers))
    if result.against is not None:
        outcome.tables.append(_change_table(result.against, numbers))
    machine = result.machine
    outcome.lines.append(
        f"measured on {machine.cpu}, {machine.cores} cores, {machine.vectors}{', ' * bool(machine.gpu)}{machine.gpu}; "
        f"threads {result.threads}, load {result.load:.1f} before, {result.date}"
    )
    outcome.lines.append(", ".join(f"{name} {version}" for name, version in result.versions.items()))
    outcome.lines += [f"polygraphy, {times.name}: {times.explanation}" for times in result.polygraphy]
    outcome.lines += [f"note: {note}" for note in _notes(result)]
    return outcome


def _notes(result: Benchmark) -> list[str]:
    reasons = dict.fromkeys(case.memory.reason for candidate in result.candidates for case in candidate.cases)
    return [
        *result.notes,
        *result.doubts,
        *(f"memory is not known: {reason}" for reason in reasons if reason),
        *(result.against.notes if result.against else ()),
    ]


def _candidate_table(result: Benchmark, numbers: dict[str, str]) -> Table:
    table = Table("run", "file", "computed by", "precision", "MB", "load s")
    for candidate in result.candidates:
        table.add_row(
            numbers[candidate.name],
            Path(candidate.file).name,
            candidate.runtime,
            candidate.precision,
            f"{candidate.file_bytes / _MB:.1f}",
            f"{candidate.load:.2f}",
        )
    return table


def _time_table(result: Benchmark, numbers: dict[str, str]) -> Table:
    on_gpu = any(case.memory.gpu_mib is not None for candidate in result.candidates for case in candidate.cases)
    has_labels = any(
        case.accuracy.label_agreement is not None for candidate in result.candidates for case in candidate.cases
    )
    table = Table(
        *("shape", "run", "p50 ms", "p90", "p99", "runs", "pictures/s", f"x run {numbers[result.baseline]}", "run MiB"),
        *(["GPU MiB"] if on_gpu else []),
        "max error",
        *(["labels"] if has_labels else []),
    )
    for index in range(len(result.shapes)):
        for candidate in result.candidates:
            cells = _time_cells(candidate, candidate.cases[index], numbers[candidate.name], on_gpu, has_labels)
            table.add_row(*cells)
    return table


def _time_cells(candidate: Candidate, case: CaseTimes, number: str, on_gpu: bool, has_labels: bool) -> list[str]:
    labels, error = case.accuracy.label_agreement, case.accuracy.max_error
    return [
        str(case.shape),
        number,
        *(_rounded(case.milliseconds(percent), 4) for percent in (50, 90, 99)),
        str(len(case.seconds)),
        _rounded(case.pictures_per_second, 3),
        f"{case.ratio(50):.2f} ({case.ratio(25):.2f}-{case.ratio(75):.2f})",
        "-" if case.memory.run_mib is None else f"{case.memory.run_mib:.0f}",
        *(["-" if case.memory.gpu_mib is None else f"{case.memory.gpu_mib:.0f}"] if on_gpu else []),
        "-" if error is None else f"{error:.1e}",
        *(["-" if labels is None else f"{labels:.3%}"] if has_labels else []),
    ]


def _placement_table(result: Benchmark, numbers: dict[str, str]) -> Table:
    table = Table("run", "provider", "nodes", "of them native")
    for candidate in result.candidates:
        for provider, nodes in candidate.placement.nodes.items() if candidate.placement else ():
            native = candidate.placement.native if candidate.placement else 0
            table.add_row(numbers[candidate.name], provider, str(nodes), str(native))
    return table


def _change_table(against: Against, numbers: dict[str, str]) -> Table:
    table = Table("shape", "run", "then ms", "now ms", "now / then", "99 % within", "verdict")
    for change in against.changes:
        table.add_row(
            change.shape,
            numbers[change.name],
            _rounded(change.before_ms, 4),
            _rounded(change.now_ms, 4),
            f"{change.ratio:.3f}",
            f"{change.low:.3f}-{change.high:.3f}",
            str(change.verdict),
        )
    return table


def _rounded(value: float, digits: int) -> str:
    """To that many digits or to a whole number, never with an exponent: 0.0512, 51.2, 5120."""
    return f"{value:.{digits}g}" if value < 10 ** (digits - 1) else f"{value:.0f}"


def main() -> None:
    """Entry point of ``fade-bench``."""
    command.main(app, "fade-bench")
