"""``fade-export``: a checkpoint becomes a verified ONNX file."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from fade_deploy import optional
from fade_deploy.cli import command
from fade_deploy.contract import LOWEST_ONNXRUNTIME, Head
from fade_deploy.recipe import Shape

if TYPE_CHECKING:
    from fade_deploy.api.verified_file import ExportResult

app = command.application()


class Format(StrEnum):
    """What can be written."""

    ONNX = "onnx"


class Verification(StrEnum):
    """How many shapes are compared."""

    QUICK = "quick"
    FULL = "full"


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Weights: .pth, .pt or .safetensors.", show_default=False)],
    target_format: Annotated[Format, typer.Option("--format", help="What to write.")] = Format.ONNX,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write.", show_default="CHECKPOINT's stem, .onnx, here"),
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Recipe name or .toml file.", show_default="the checkpoint's, else its model's")
    ] = "",
    head: Annotated[
        Head | None,
        typer.Option(help="What the file returns: logits, labels, probs; alpha, raw.", show_default="logits; alpha"),
    ] = None,
    shape: Annotated[
        str, typer.Option(help="Fixed input shape, for example 1x3x512x512.", show_default="dynamic")
    ] = "",
    embed_preprocess: Annotated[
        bool, typer.Option("--embed-preprocess", help="Take uint8 [N,H,W,3] RGB and normalise inside the file.")
    ] = False,
    opset: Annotated[
        int, typer.Option(help=f"ONNX opset, {min(LOWEST_ONNXRUNTIME)} to {max(LOWEST_ONNXRUNTIME)}.")
    ] = 18,
    standard_ops: Annotated[
        bool, typer.Option("--standard-ops", help="Inline the fade operators, for runtimes that read no functions.")
    ] = False,
    fuse: Annotated[
        bool, typer.Option("--fuse/--no-fuse", help="Rewrite the model before export, exactly, to compute less.")
    ] = True,
    ema: Annotated[bool, typer.Option("--ema", help="Use the averaged weights where the checkpoint has both.")] = False,
    verify: Annotated[Verification, typer.Option(help="How many shapes to compare with PyTorch.")] = Verification.FULL,
    library: command.LibraryOption = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Also print what each exact rewrite of the model saves.")
    ] = False,
    as_json: command.JsonFlag = False,
    quiet: command.Quiet = False,
) -> command.Outcome:
    """Export a checkpoint to one ONNX file that is verified against PyTorch before it gets its name.

    The model is recognised from its weights. A manifest (.json) is written beside the file. If ONNX Runtime disagrees
    with PyTorch the file is kept as STEM.unverified.onnx and the exit code is 1.

    Examples:

    - `fade-export model.pth --format onnx`

    - `fade-export model.pth -o labels.onnx --head labels --embed-preprocess`

    - `fade-export model.pth --shape 1x3x512x512 --opset 21 --force`
    """
    # Before torch is loaded: its threads spin while they wait, and where another process holds a core the eager
    # reference then takes several times as long; on an idle machine it makes no difference.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    optional.require_exporting()
    from fade_deploy.api.export import export as export_file
    from fade_deploy.api.options import ExportOptions

    options = ExportOptions(
        recipe=recipe,
        head=head,
        embed_preprocess=embed_preprocess,
        shape=Shape.parse(shape) if shape else None,
        opset=opset,
        standard_ops=standard_ops,
        fuse=fuse,
        ema=ema,
        full_verification=verify is Verification.FULL,
        library=library,
        force=force,
    )
    with command.progress(quiet=quiet):
        result = export_file(checkpoint, output, options)
    return _outcome(result, verbose=verbose)


def _outcome(result: ExportResult, *, verbose: bool) -> command.Outcome:
    facts = result.document
    operators = "standard operators" if facts["operators"] == "standard" else facts["operators"]
    outcome = command.Outcome(
        artefact=str(result.path),
        passed=result.passed,
        detail=f"{facts['artefact']['bytes'] / 1e6:.1f} MB, opset {facts['opset']}, {operators}, "
        f"sha256 {facts['artefact']['sha256'][:12]}",
        document={"path": str(result.path), "notes": list(result.notes), "manifest": facts},
    )
    if verbose and facts["rewrites"]:
        outcome.tables.append(_rewrite_table(facts))
    outcome.tables.append(_agreement_table(result))
    classes = f"{len(facts['classes'])} classes, " if "classes" in facts else ""
    outcome.lines += [f"note: {note}" for note in result.notes]
    outcome.lines.append(
        f"{facts['model']}, {facts['backbone']} with {facts['upsampler']} upsampling, {classes}"
        f"{facts['parameters']} parameters; needs ONNX Runtime {facts['lowest_onnxruntime']} or newer"
    )
    if facts["agreement"]["verification"] == "quick" and facts["shape"] == "dynamic":
        shapes = len({agreement.shape for agreement in result.agreements})
        outcome.lines.append(f"verified quickly (shapes: {shapes}); --verify full compares all of the recipe's shapes")
    outcome.lines.append(f"manifest: {result.manifest}")
    if not result.passed:
        outcome.lines.append("the runtimes disagree: the file is kept under another name; please report the manifest")
    return outcome


def _rewrite_table(facts: dict[str, Any]) -> Table:
    size = "{height}x{width}".format(**facts["macs"])
    table = Table("exact rewrite", f"GMACs before, {size}", "after")
    for rewrite in facts["rewrites"]:
        counts = (rewrite[key] for key in ("macs_before", "macs_after"))
        table.add_row(rewrite["name"], *(f"{macs / 1e9:.3f}" for macs in counts))
    return table


def _agreement_table(result: ExportResult) -> Table:
    labels = any(agreement.labels_compared is not None for agreement in result.agreements)
    table = Table(
        "input", "run with", "max error", "mean error", "99.9 %", *(["labels agreeing"] if labels else []), "verdict"
    )
    for agreement in result.agreements:
        errors = (agreement.max_error, agreement.mean_error, agreement.p999_error)
        table.add_row(
            agreement.shape,
            agreement.candidate,
            *("-" if error is None else f"{error:.1e}" for error in errors),
            *([f"{agreement.labels_agreeing} of {agreement.labels_compared}"] if labels else []),
            "agrees" if agreement.passed else "DISAGREES",
        )
    return table


def main() -> None:
    """Entry point of ``fade-export``."""
    command.main(app, "fade-export")
