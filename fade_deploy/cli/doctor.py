"""``fade-doctor``: what of this machine works, and the line that mends what does not."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Column, Table

from fade_deploy.cli import command

if TYPE_CHECKING:
    from fade_deploy.api.doctor import Diagnosis, Row

app = command.application()


@app.command()
def doctor(
    model: Annotated[
        Path | None,
        typer.Argument(help="An .onnx file that is looked into as well.", metavar="FILE.onnx", show_default=False),
    ] = None,
    library: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH", help="A native library that is examined as well; may be repeated.", show_default=False
        ),
    ] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds that each probe may take.", min=1)] = 20,
    as_json: command.JsonFlag = False,
) -> command.Outcome:
    """Examine this machine: each runtime is proven by a real run, and each fault comes with the line that mends it.

    Packages are imported, providers run a model and native libraries are used, each in a process of its own. What is
    optional and not installed is no failure; the exit code is 1 where something installed is broken or of a version
    that is out of range or known to fail.

    Examples:

    - `fade-doctor`

    - `fade-doctor model.onnx`

    - `fade-doctor --library libfade_tensorrt.so --json`
    """
    from fade_deploy.api.doctor import doctor as examine

    with command.progress(quiet=not sys.stderr.isatty()):  # seconds: a spinner for people
        diagnosis = examine(model, libraries=library or (), time_limit=time_limit)
    return _outcome(diagnosis)


def _outcome(diagnosis: Diagnosis) -> command.Outcome:
    counts = Counter(str(row.status) for row in diagnosis.rows)
    outcome = command.Outcome(
        artefact="this machine",
        passed=not diagnosis.faults,
        detail=", ".join(f"{count} {status}" for status, count in counts.items()),
        document={"rows": [asdict(row) for row in diagnosis.rows]},
    )
    table = Table(Column("what", no_wrap=True), Column("status", no_wrap=True), Column("found", overflow="fold"))
    for row in diagnosis.rows:
        found = ": ".join(part for part in (row.version, row.found) if part)
        table.add_row(row.name, row.status, found)
    outcome.tables.append(table)
    outcome.lines += _remedies([row for row in diagnosis.rows if row not in diagnosis.faults])
    outcome.lines += _remedies(list(diagnosis.faults))  # last: nearest to the verdict
    return outcome


def _remedies(rows: list[Row]) -> list[str]:
    """One line for each thing to do, with all that it mends."""
    names: dict[str, list[str]] = {}
    for row in rows:
        if row.remedy:
            told = f"{row.remedy}  ({row.thread})" if row.thread else row.remedy
            names.setdefault(told, []).append(row.name)
    return [f"{', '.join(dict.fromkeys(mended))}: {remedy}" for remedy, mended in names.items()]


def main() -> None:
    """Entry point of ``fade-doctor``."""
    command.main(app, "fade-doctor")
