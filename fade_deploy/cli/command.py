"""What every command has in common: exit codes, the last line, ``--json``, and progress on standard error.

Exit codes: 0 done and agreed; 1 the runtimes disagree; 2 the user can mend it; 70 a bug of ours, with its traceback.
"""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer
from rich.columns import Columns
from rich.console import Console
from rich.progress_bar import ProgressBar
from rich.table import Table

from fade_deploy import artefact
from fade_deploy.errors import FadeDeployError

__all__ = ["JsonFlag", "LibraryOption", "Outcome", "Quiet", "application", "main", "progress"]

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on standard output, nothing else there.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on standard error.")]

LibraryOption = Annotated[
    str,
    typer.Option(
        "--library",
        metavar="auto|none|PATH",
        help="Custom-op library with our native operators; none runs standard ones.",
        show_default="auto: the installed one, if there is one",
    ),
]

_BUG = 70  # EX_SOFTWARE; 1 means that runtimes disagree
# What runs after each stage that the log reports.
_NEXT_STAGE = {
    "read": "tracing",
    "load": "running",
    "export": "comparing with PyTorch",
    "verify": "comparing with PyTorch",
}
_BAR = 40  # columns of a progress bar
_WIDE = 10_000  # columns of an output that is not a terminal: tables are never wrapped or cropped there


def application() -> typer.Typer:
    """A typer application for one command, with shell completion and without typer's own tracebacks."""
    return typer.Typer(pretty_exceptions_enable=False, rich_markup_mode="markdown")


@dataclass(kw_only=True)
class Outcome:
    """The result of a command: tables and lines for people, one document for programs, and the last line."""

    artefact: str  # what the last line names
    passed: bool  # whether everything agreed
    document: dict[str, Any]  # JSON content
    detail: str = ""  # follows the artefact in the last line
    tables: list[Table] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


def main(app: typer.Typer, name: str) -> None:
    """Run a command whose function returns an :class:`Outcome`, and exit with its code."""
    start = time.perf_counter()
    before = {
        number: signal.signal(number, lambda number, _: _stop(number, start))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        _run(app, name, start)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(app: typer.Typer, name: str, start: float) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a class name or path that the terminal can't show is no failure
            stream.reconfigure(errors="backslashreplace")
    try:
        outcome = app(prog_name=name, standalone_mode=False)
    except (FadeDeployError, typer.TyperException) as error:
        message = error.format_message() if isinstance(error, typer.TyperException) else str(error)
        if isinstance(error, typer.TyperException):
            message = message.replace("Value error, ", "")  # what typer's checker puts before its own sentence
            message = f"{message.rstrip('.')}; see {name} --help"
        _refuse(message, start)
        sys.exit(2)
    except Exception:  # a bug of ours: no other code may stand for it
        traceback.print_exc()
        _refuse("this is a bug of fade-deploy; please report it with the lines above", start)
        sys.exit(_BUG)
    if not isinstance(outcome, Outcome):  # --help, --install-completion
        sys.exit(outcome or 0)
    try:
        _tell(outcome, start)
    except (BrokenPipeError, SystemExit):  # the reader has seen enough: `| head`; rich turns it into an exit code 1
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(0 if outcome.passed else 1)


def _stop(number: int, start: float) -> None:
    """End at once on Ctrl-C or SIGTERM, with nothing half-written left.

    Not by an exception: torch and its compilers swallow one now and then, and the command would go on.
    """
    artefact.discard_staged()
    message = "interrupted; nothing was replaced"
    if "--json" in sys.argv[1:]:
        os.write(1, json.dumps({"status": "error", "error": message}).encode() + b"\n")
    show_cursor = b"\x1b[?25h\n" if sys.stderr.isatty() else b""  # the spinner had hidden it
    os.write(2, show_cursor + f"FAILED  {message}  ({time.perf_counter() - start:.1f} s)\n".encode())
    os._exit(128 + number)  # 130 and 143, what shells expect


def _tell(outcome: Outcome, start: float) -> None:
    as_json = "--json" in sys.argv[1:]
    if as_json:
        _print_json({"status": "passed" if outcome.passed else "failed", **outcome.document})
    else:
        console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False, markup=False, emoji=False)
        for table in outcome.tables:
            console.print(_shown_table(table))
        for line in outcome.lines:
            console.print(_shown(line), soft_wrap=True)
    verdict = "PASSED" if outcome.passed else "FAILED"
    _last_line(verdict, outcome.artefact, outcome.detail, time.perf_counter() - start, error=as_json)


def _refuse(message: str, start: float) -> None:
    message = " ".join(message.split())
    if "--json" in sys.argv[1:]:
        _print_json({"status": "error", "error": message})
    _last_line("FAILED", message, "", time.perf_counter() - start, error=True)


def _print_json(document: dict[str, Any]) -> None:
    is_unicode = sys.stdout.encoding.lower().startswith("utf")
    text = json.dumps(document, indent=2, ensure_ascii=not is_unicode)
    # json leaves the control characters above ASCII as they are, and some terminals obey those too.
    sys.stdout.write("\n".join(_shown(line) for line in text.split("\n")) + "\n")
    sys.stdout.flush()


def _last_line(verdict: str, artefact: str, detail: str, seconds: float, *, error: bool) -> None:
    stream = sys.stderr if error else sys.stdout
    stream.write(_shown("  ".join(part for part in (verdict, artefact, detail, f"({seconds:.1f} s)") if part)) + "\n")
    stream.flush()


def _shown_table(table: Table) -> Table:
    shown = Table(*(column.copy() for column in table.columns), title=table.title)
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        shown.add_row(*(_shown(str(cell)) for cell in cells))
    return shown


def _shown(text: str) -> str:
    """Text on one line without control characters: a name from a file may hold what a terminal would obey."""
    return "".join(letter if letter.isprintable() else json.dumps(letter)[1:-1] for letter in text)


@contextmanager
def progress(*, quiet: bool) -> Iterator[None]:
    """Show the package's log on standard error: a live line on a terminal, plain lines elsewhere."""
    package = logging.getLogger("fade_deploy")
    if quiet:
        yield
        return
    console = Console(stderr=True, highlight=False, markup=False)
    if not console.is_terminal:
        handler: logging.Handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        with _attached(package, handler):
            yield
        return
    with console.status("starting") as status, _attached(package, _LiveLine(console, status), logging.DEBUG):
        yield


@contextmanager
def _attached(logger: logging.Logger, handler: logging.Handler, level: int = logging.INFO) -> Iterator[None]:
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


class _LiveLine(logging.Handler):
    """Prints each finished stage and keeps a spinner with the stage that follows, or a bar where one tells how far.

    A record with a ``fraction`` in 0..1 of its ``phase`` moves the bar and is not printed.
    """

    def __init__(self, console: Console, status: Any) -> None:
        super().__init__()
        self.console = console
        self.status = status

    def emit(self, record: logging.LogRecord) -> None:
        fraction = getattr(record, "fraction", None)
        if fraction is not None:
            bar = ProgressBar(total=1, completed=fraction, width=_BAR)
            self.status.update(Columns([bar, _shown(f"{100 * fraction:3.0f} % {getattr(record, 'phase', '')}")]))
            return
        if record.levelno < logging.INFO:
            return
        message = _shown(record.getMessage())
        self.console.print(message)
        self.status.update(_NEXT_STAGE.get(message.partition(":")[0], "working"))
