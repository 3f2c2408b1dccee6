"""``fade-verify``: the ways to run a model compared with each other."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from fade_deploy import optional
from fade_deploy.cli import command, compare_options
from fade_deploy.cli.compare_options import counted
from fade_deploy.errors import InputError

if TYPE_CHECKING:
    from fade_deploy.api.verify.bisect import Boundary, Parting
    from fade_deploy.api.verify.options import VerifyOptions
    from fade_deploy.api.verify.verify import Comparison, Verification

app = command.application()

_BEFORE, _AFTER = 2, 5  # boundaries that are shown around the first that leaves the tolerance


@app.command()
def verify(
    files: Annotated[
        list[Path],
        typer.Argument(help="Checkpoints, .onnx files, engines; or one manifest (.json).", show_default=False),
    ],
    on: Annotated[
        str,
        typer.Option(help="Where .onnx files run, a list: cpu, cuda, tensorrt, reference, openvino.", metavar="LIST"),
    ] = "cpu",
    images: Annotated[Path | None, typer.Option(help="Pictures to compare on: a folder, or one picture.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Segmentation: true labels by the pictures' names; 255 is unknown.")
    ] = None,
    trimaps: Annotated[Path | None, typer.Option(help="Matting: trimaps by the pictures' names.")] = None,
    alphas: Annotated[Path | None, typer.Option(help="Matting: true alphas by the pictures' names.")] = None,
    shapes: Annotated[
        str, typer.Option(help="Sizes, for example 1x512x512,2x256x384.", show_default="a set that covers the files'")
    ] = "",
    seed: Annotated[
        int | None, typer.Option(help="Make pictures of this number.", min=0, show_default="the recipe's pictures")
    ] = None,
    tolerance: Annotated[
        str, typer.Option(help="Name of a tolerance, or the largest error.", show_default="the recipe's")
    ] = "",
    max_miou_drop: Annotated[
        float | None,
        typer.Option("--max-miou-drop", help="How far mIoU may lie below the reference's, 0..1.", min=0, max=1),
    ] = None,
    save_outputs: Annotated[
        Path | None, typer.Option(help="Folder for inputs and outputs that `polygraphy inspect data` reads.")
    ] = None,
    bisect: Annotated[
        bool, typer.Option("--bisect", help="Find the first module in which an .onnx file and its checkpoint part.")
    ] = False,
    report: compare_options.ReportOption = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="With --bisect: the precision plan to write.",
            show_default="the file's stem with .precision.toml, here",
        ),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Recipe name or .toml file.", show_default="the files', else their model's")
    ] = "",
    ema: compare_options.EmaFlag = False,
    library: command.LibraryOption = "auto",
    plugin: compare_options.PluginOption = "auto",
    force: compare_options.ForceFlag = False,
    as_json: command.JsonFlag = False,
    quiet: command.Quiet = False,
) -> command.Outcome:
    """Compare checkpoints, .onnx files and engines with each other, and say whether they agree.

    The reference is the first checkpoint, in eager PyTorch, else the first file. Exit code 1 where a runtime disagrees,
    with the command that shows the worst case.

    Examples:

    - `fade-verify model.onnx model.pth`

    - `fade-verify model.pth model.onnx model.engine --on cpu,cuda --images photos --labels truth`

    - `fade-verify model.onnx model.pth --images photos --report report.html`

    - `fade-verify --bisect model_fp16.onnx model.pth`

    - `fade-verify model.json`
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in fade-export: sessions and PyTorch take turns
    optional.require("onnxruntime", extra="ort-cpu")
    from fade_deploy.api.report import check_report, write_verification_report
    from fade_deploy.api.verify.options import VerifyOptions, backends, shapes_of

    options = VerifyOptions(
        on=backends(on),
        shapes=shapes_of(shapes),
        seed=seed,
        images=images,
        labels=labels,
        trimaps=trimaps,
        alphas=alphas,
        tolerance=tolerance,
        max_miou_drop=max_miou_drop,
        save_outputs=save_outputs,
        recipe=recipe,
        ema=ema,
        library=library,
        plugin=plugin,
    )
    if output is not None and not bisect:
        raise InputError(f"-o {output} is where --bisect writes its plan: leave it out, or look for a module")
    compare_options.check_targets(files, output, report)
    if report is not None:
        if bisect:
            raise InputError("--report shows a comparison, --bisect looks for a module: leave one of them out")
        check_report(report, force=force)
    if bisect:
        return _bisected(files, options, output, force=force, quiet=quiet)
    from fade_deploy.api.verify.verify import verify as verify_files

    with command.progress(quiet=quiet):
        result = verify_files(files, options)
        if report is not None:
            command_line = compare_options.command_line("fade-verify")
            write_verification_report(result, report, options=options, command=command_line, force=force)
    outcome = _verified(result)
    if report is not None:
        outcome.lines.append(f"report: {report}")
    return outcome


def _bisected(
    files: list[Path], options: VerifyOptions, output: Path | None, *, force: bool, quiet: bool
) -> command.Outcome:
    optional.require_exporting()
    from fade_deploy.api.verify.bisect import bisect as bisect_files

    with command.progress(quiet=quiet):
        result = bisect_files(files, options, output=output, force=force)
    outcome = command.Outcome(
        artefact=result.file,
        passed=result.passed,
        detail=f"{counted(result.boundaries, 'module')} compared in standard operators at {result.shape}",
        document=result.as_dict(),
    )
    if result.first is not None:
        outcome.tables.append(_boundary_table(result, result.first))
        outcome.lines.append(f"first to leave the tolerance: {_named(result.first)}")
    elif not result.passed:
        outcome.lines.append("no module's output leaves the tolerance: they part after the last module, in the head")
    outcome.lines += [
        f"weight that is not the checkpoint's: {weight.name} ({weight.changed} of {weight.values} values, by up to "
        f"{weight.max_difference:.1e})"
        for weight in result.weights
    ]
    if not result.passed:
        outcome.lines.append(f"the file's output: {result.output.reason}")
    if result.plan:
        outcome.lines.append(f"keep in float32: {', '.join(result.keep)} ({result.trials} graphs tried)")
        outcome.lines.append(f"precision plan: {result.plan} (fade-export --precision-plan {result.plan})")
    outcome.lines += [f"note: {note}" for note in result.notes]
    return outcome


def _boundary_table(result: Parting, first: Boundary) -> Table:
    table = Table("module", "max error", "in its std", "verdict")
    at = result.boundaries.index(first)
    for boundary in result.boundaries[max(0, at - _BEFORE) : at + _AFTER]:
        table.add_row(
            boundary.module,
            f"{boundary.max_error:.1e}",
            f"{boundary.relative_error:.1e}",
            "agrees" if boundary.passed else "leaves",
        )
    return table


def _named(boundary: Boundary) -> str:
    stands_for = f", which stands for {', '.join(boundary.replaces)}" if boundary.replaces else ""
    return (
        f"{boundary.module}{stands_for} (max error {boundary.max_error:.1e}, {boundary.relative_error:.1e} of its "
        "standard deviation)"
    )


def _verified(result: Verification) -> command.Outcome:
    failed = sum(not comparison.passed for comparison in result.comparisons)
    outcome = command.Outcome(
        artefact=result.reference.file,
        passed=result.passed,
        detail=f"{counted(result.runs, 'run')}, {counted(result.inputs, 'input')}, "
        f"{failed} of {len(result.comparisons)} comparisons disagree",
        document=result.as_dict(),
    )
    numbers = {run.name: str(number) for number, run in enumerate(result.runs, start=1)}
    runs = Table("run", "file", "computed by", "tolerance")
    runs.add_row("reference", Path(result.reference.file).name, result.reference.runtime, "")
    for run in result.runs:
        runs.add_row(numbers[run.name], Path(run.file).name, run.runtime, run.tolerance)
    outcome.tables.append(runs)
    outcome.tables.append(_comparison_table(result, numbers))
    if result.scores:
        outcome.tables.append(_score_table(result, numbers))
    outcome.lines += [f"note: {note}" for note in result.notes]
    if result.worst is not None and not result.worst.passed:
        outcome.lines.append(f"worst: {result.worst.run} at {result.worst.input}: {result.worst.reason}")
    if result.command:
        outcome.lines.append(f"shown by: {result.command}")
    if result.reduced is not None:
        outcome.lines.append(f"fails down to {result.reduced.shape}: {result.reduced.command}")
    return outcome


def _comparison_table(result: Verification, numbers: dict[str, str]) -> Table:
    has_labels = any(found.agreement and found.agreement.labels_compared is not None for found in result.comparisons)
    has_band = any(found.band is not None for found in result.comparisons)
    extra = [*(["labels"] if has_labels else []), *(["unknown band"] if has_band else [])]
    table = Table("input", "run", "max", "mean", "99.9 %", "1 - cos", "PSNR dB", *extra, "verdict")
    for found in result.comparisons:
        measured = found.measures
        cells = [found.input, numbers.get(found.run, "-")]
        cells += (
            [
                f"{measured.max_error:.1e}",
                f"{measured.mean_error:.1e}",
                f"{measured.p999_error:.1e}",
                f"{1 - measured.cosine:.0e}",
                "equal" if math.isinf(measured.psnr) else f"{measured.psnr:.0f}",
            ]
            if measured
            else ["-"] * 5
        )
        if has_labels:
            cells.append(_labels(found))
        if has_band:
            cells.append(f"{found.band.max_error:.1e}" if found.band else "-")
        table.add_row(*cells, "agrees" if found.passed else "DISAGREES")
    return table


def _labels(found: Comparison) -> str:
    agreement = found.agreement
    if agreement is None or agreement.labels_compared is None:
        return "-"
    return f"{agreement.labels_agreeing} of {agreement.labels_compared}"


def _score_table(result: Verification, numbers: dict[str, str]) -> Table:
    """Each score with its difference from the reference's."""
    names = list(result.scores[0].scores)
    table = Table("run", "pictures", *names, "verdict")
    for scored in result.scores:
        differences = scored.differences
        table.add_row(
            numbers.get(scored.run, "reference"),
            str(scored.pictures),
            *(
                f"{scored.scores[name]:.4g} {differences[name]:+.0e}" if differences else f"{scored.scores[name]:.4g}"
                for name in names
            ),
            "agrees" if scored.passed else "DISAGREES",
        )
    return table


def main() -> None:
    """Entry point of ``fade-verify``."""
    command.main(app, "fade-verify")
