"""``fade-inspect``: what a checkpoint, an exported file or an engine is, and the papers' complexity tables."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from fade_deploy.api.tables import PaperTable
from fade_deploy.cli import command
from fade_deploy.errors import InputError
from fade_deploy.recipe import Shape

app = command.application()


@app.command()
def inspect(
    file: Annotated[
        Path | None, typer.Argument(help="A checkpoint, an .onnx file or an engine.", show_default="none, with --table")
    ] = None,
    recipe: Annotated[
        str, typer.Option(help="Recipe name or .toml file.", show_default="the checkpoint's, else its model's")
    ] = "",
    shape: Annotated[
        str, typer.Option(help="Input that a checkpoint's MACs are counted for.", show_default="1x512x512")
    ] = "",
    ema: Annotated[bool, typer.Option("--ema", help="Look at the averaged weights where there are both.")] = False,
    table: Annotated[
        PaperTable | None,
        typer.Option(help="Count a complexity table of the papers instead of reading a file.", show_default=False),
    ] = None,
    as_json: command.JsonFlag = False,
) -> command.Outcome:
    """Say what a checkpoint, an .onnx file or an engine is: family, backbone, upsampler, size, cost, provenance.

    Or print what every upsampler costs, beside the numbers that the papers print.

    Examples:

    - `fade-inspect model.pth`

    - `fade-inspect model.onnx --json`

    - `fade-inspect model.engine`

    - `fade-inspect --table segformer-b1`
    """
    if table is not None:
        if file is not None or recipe or shape or ema:
            raise InputError(f"--table {table} takes no file and none of a file's options; leave one or the other out")
        with _spinner():
            return _table_outcome(table, narrow=sys.stdout.isatty())
    if file is None:
        raise InputError(
            "no file was given; give a checkpoint, an .onnx file or an engine, or --table with one of "
            f"{', '.join(PaperTable)}"
        )
    from fade_deploy.api.inspect import inspect as inspect_file

    size = Shape.parse(shape or "1x512x512")
    with _spinner():
        document = inspect_file(file, recipe=recipe, ema=ema, height=size.height, width=size.width)
    if shape and document["kind"] != "checkpoint":
        raise InputError(f"{file} is exported already, so --shape means nothing for it: leave it out")
    outcome = command.Outcome(artefact=str(file), passed=True, document=document)
    facts = Table("what", Column("value", overflow="fold"))
    for key, value in document.items():
        if key not in ("notes", "config", "palette", "file"):
            facts.add_row(key, _text(key, value))
    outcome.tables.append(facts)
    outcome.lines += [f"note: {note}" for note in document["notes"]]
    return outcome


def _spinner() -> AbstractContextManager[None]:
    return command.progress(quiet=not sys.stderr.isatty())  # a few seconds: a spinner for people, no log lines


def _text(key: str, value: Any) -> str:
    if key == "classes" and isinstance(value, list):  # what a file says of itself may be anything
        shown = ", ".join(str(name) for name in value[:8])
        return f"{len(value)}: {shown}{', ...' if len(value) > 8 else ''}"
    if key == "macs" and isinstance(value, dict) and value.keys() >= {"count", "height", "width"}:
        return f"{value['count']} at {value['height']}x{value['width']}"
    if key == "rewrites" and isinstance(value, list) and all(isinstance(entry, dict) for entry in value):
        return "; ".join(f"{e.get('name')}: {e.get('macs_before')} -> {e.get('macs_after')} MACs" for e in value)
    if isinstance(value, dict):
        parts = {name: _text("", content) if isinstance(content, dict) else content for name, content in value.items()}
        parts = {name: ", ".join(map(str, part)) if isinstance(part, list) else part for name, part in parts.items()}
        return ("; " if parts != value else ", ").join(f"{name} {content}" for name, content in parts.items())
    if isinstance(value, list):
        return "; ".join(str(entry) for entry in value)
    return str(value)


def _table_outcome(table: PaperTable, *, narrow: bool) -> command.Outcome:
    from fade_deploy.api.tables import paper_table

    document = paper_table(table)
    outcome = command.Outcome(artefact=str(table), passed=True, document=document)
    published = any(row["source"] for row in document["rows"])
    for size in dict.fromkeys((row["height"], row["width"]) for row in document["rows"]):
        rows = [row for row in document["rows"] if (row["height"], row["width"]) == size]
        title = document["title"] if published else f"{document['title']}, output {size[0]}x{size[1]}"
        if narrow:  # a terminal: two narrow ones; all digits stand in --json, and in what is piped
            outcome.tables += [
                _narrow_table(f"{title}: parameters", rows, published=published, parameters=True),
                _narrow_table(
                    f"{title}: GFLOPs, with / without the blend", rows, published=published, parameters=False
                ),
            ]
        else:
            outcome.tables.append(_complexity_table(title, rows, published=published))
    outcome.lines += [f"note: {note}" for note in document["notes"]]
    outcome.lines += [f"published, {name}: {source}" for name, source in document["sources"].items()]
    return outcome


def _narrow_table(title: str, rows: list[dict[str, Any]], *, published: bool, parameters: bool) -> Table:
    """What fits 80 columns: ours and the published of one quantity."""
    beside = ("published", "difference", "fits") if published else ()
    table = Table(
        Column("row", overflow="fold"),
        *(Column(name, justify="left" if name == "fits" else "right", no_wrap=True) for name in ("ours", *beside)),
        title=title,
    )
    for row in rows:
        sign = "+" if row["adds"] else ""
        if parameters:
            ours, compared = f"{row['parameters']['count']:{sign}d}", _beside(row["parameters"], "{:+d}", 1)
        else:
            ours, compared = _gflops(row["macs"], sign), _beside(row["macs"], "{:+.3f}", 1e9)
        fits = compared[2].replace("the blend", "blend")
        table.add_row(row["label"], ours, *((*compared[:2], fits) if published else ()))
    return table


def _gflops(macs: dict[str, Any], sign: str) -> str:
    counts = dict.fromkeys((macs["with_blend"], macs["without_blend"]))  # one where there is no blend
    return " / ".join(f"{count / 1e9:{sign}.3f}" for count in counts)


def _complexity_table(title: str, rows: list[dict[str, Any]], *, published: bool) -> Table:
    beside = ("published", "difference", "fits") if published else ()
    headers = ("row", "upsampler", "parameters", *beside, "MACs with\nthe blend", "MACs\nwithout", "GFLOPs", *beside)
    left = ("row", "upsampler", "fits")
    table = Table(
        *(Column(name, justify="left" if name in left else "right", overflow="fold") for name in headers),
        title=title,
    )
    for row in rows:
        sign = "+" if row["adds"] else ""
        parameters, macs = row["parameters"], row["macs"]
        table.add_row(
            row["label"],
            row["upsampler"],
            f"{parameters['count']:{sign}d}",
            *(_beside(parameters, "{:+d}", 1) if published else ()),
            f"{macs['with_blend']:{sign}d}",
            f"{macs['without_blend']:{sign}d}",
            _gflops(macs, sign),
            *(_beside(macs, "{:+.3f}", 1e9) if published else ()),
        )
    return table


def _beside(compared: dict[str, Any], form: str, unit: float) -> tuple[str, str, str]:
    if compared["published"] is None:
        return "", "", ""
    difference = compared["difference"] if unit == 1 else compared["difference"] / unit
    return compared["published"], form.format(difference), compared["fits"]


def main() -> None:
    """Entry point of ``fade-inspect``."""
    command.main(app, "fade-inspect")
