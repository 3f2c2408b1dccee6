"""``fade-inspect``: what a checkpoint or an exported file is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from fade_deploy.cli import command
from fade_deploy.recipe import Shape

app = command.application()


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A checkpoint or an .onnx file.", show_default=False)],
    recipe: Annotated[
        str, typer.Option(help="Recipe name or .toml file.", show_default="the checkpoint's, else segformer")
    ] = "",
    shape: Annotated[str, typer.Option(help="Input that a checkpoint's MACs are counted for.")] = "1x512x512",
    ema: Annotated[bool, typer.Option("--ema", help="Look at the averaged weights where there are both.")] = False,
    as_json: command.JsonFlag = False,
) -> command.Outcome:
    """Say what a checkpoint or an .onnx file is: family, backbone, upsampler, classes, size, cost, provenance.

    Examples:

    - `fade-inspect model.pth`

    - `fade-inspect model.onnx --json`
    """
    from fade_deploy.api.inspect import inspect as inspect_file

    size = Shape.parse(shape)
    with command.progress(quiet=not sys.stderr.isatty()):  # a second or two: a spinner for people, no log lines
        document = inspect_file(file, recipe=recipe, ema=ema, height=size.height, width=size.width)
    outcome = command.Outcome(artefact=str(file), passed=True, document=document)
    table = Table("what", Column("value", overflow="fold"))
    for key, value in document.items():
        if key not in ("notes", "config", "palette", "file"):
            table.add_row(key, _text(key, value))
    outcome.tables.append(table)
    outcome.lines += [f"note: {note}" for note in document["notes"]]
    return outcome


def _text(key: str, value: Any) -> str:
    if key == "classes" and isinstance(value, list):  # what a file says of itself may be anything
        shown = ", ".join(str(name) for name in value[:8])
        return f"{len(value)}: {shown}{', ...' if len(value) > 8 else ''}"
    if key == "macs" and isinstance(value, dict) and value.keys() >= {"count", "height", "width"}:
        return f"{value['count']} at {value['height']}x{value['width']}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {content}" for name, content in value.items())
    if isinstance(value, list):
        return "; ".join(str(entry) for entry in value)
    return str(value)


def main() -> None:
    """Entry point of ``fade-inspect``."""
    command.main(app, "fade-inspect")
