"""``fade-predict``: a picture through an exported file."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from fade_deploy import optional
from fade_deploy.cli import command
from fade_deploy.provider import Provider

app = command.application()


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(help="An .onnx file that fade-export wrote.", show_default=False)],
    picture: Annotated[Path, typer.Argument(help="Any picture.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="PNG to write.",
            show_default="PICTURE's stem, here, with .labels.png, .overlay.png, .alpha.png or .cutout.png",
        ),
    ] = None,
    overlay: Annotated[
        bool,
        typer.Option(
            "--overlay", help="Segmentation: lay the classes over the picture instead of writing a label picture."
        ),
    ] = False,
    trimap: Annotated[
        Path | None,
        typer.Option(
            help="Matting: a picture of the same size, white in the foreground, black in the background; every other "
            "value is what the model decides.",
        ),
    ] = None,
    background: Annotated[
        str | None,
        typer.Option(
            metavar="PICTURE|COLOUR",
            help="Matting: write the picture over this background instead of its alpha. The picture keeps its own "
            "colours, so soft edges keep some of the old background.",
        ),
    ] = None,
    threads: Annotated[int, typer.Option(help="Threads of ONNX Runtime; 0 lets it choose.", min=0)] = 0,
    provider: Annotated[
        Provider, typer.Option(help="Where ONNX Runtime computes; with an NVIDIA GPU: cuda, tensorrt.")
    ] = Provider.CPU,
    library: command.LibraryOption = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    as_json: command.JsonFlag = False,
) -> command.Outcome:
    """Label every pixel of a picture, or cut its foreground out: the reference's pre- and post-processing, no PyTorch.

    The label picture is a palette PNG: its values are the class numbers, its palette shows them in colour. The alpha of
    a matting model is an 8-bit grey PNG: 255 is foreground.

    Examples:

    - `fade-predict model.onnx street.jpg -o mask.png`

    - `fade-predict model.onnx street.jpg --overlay`

    - `fade-predict matting.onnx cat.jpg --trimap cat_trimap.png -o alpha.png`

    - `fade-predict matting.onnx cat.jpg --trimap cat_trimap.png --background seagreen`
    """
    extra = "ort-cpu" if provider is Provider.CPU else "ort-gpu"
    optional.require("onnxruntime", extra=extra)
    optional.require("PIL", extra=extra)
    from fade_deploy.api.predict import predict as predict_file

    with command.progress(quiet=not sys.stderr.isatty()):  # a second or two: a spinner for people, no log lines
        result = predict_file(
            model,
            picture,
            output,
            overlay=overlay,
            trimap=trimap,
            background=background,
            threads=threads,
            provider=provider,
            library=library,
            force=force,
        )
    outcome = command.Outcome(
        artefact=str(result.output),
        passed=True,
        detail=f"{result.width}x{result.height}, {result.seconds:.2f} s predicting",
        document={**asdict(result), "output": str(result.output)},
    )
    table = Table("what", "share of the picture")
    for name, share in result.shares.items():
        table.add_row(name, f"{share:.1%}")
    outcome.tables.append(table)
    outcome.lines += [f"note: {note}" for note in result.notes]
    return outcome


def main() -> None:
    """Entry point of ``fade-predict``."""
    command.main(app, "fade-predict")
