"""What ``fade-verify`` and ``fade-bench`` have in common: options, and words about what they did."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence, Sized
from pathlib import Path
from typing import Annotated

import typer

from fade_deploy.artefact import is_same_file
from fade_deploy.errors import OutputError

__all__ = ["EmaFlag", "ForceFlag", "PluginOption", "ReportOption", "check_targets", "command_line", "counted"]

EmaFlag = Annotated[bool, typer.Option("--ema", help="Use the averaged weights of a checkpoint with both.")]

ForceFlag = Annotated[bool, typer.Option("--force", help="Replace existing files.")]

PluginOption = Annotated[
    str,
    typer.Option(
        "--plugin",
        metavar="auto|PATH",
        help="TensorRT plugin that engines were built with.",
        show_default="auto: the installed one",
    ),
]

ReportOption = Annotated[
    Path | None, typer.Option(help="HTML page to write, one file that opens offline.", show_default=False)
]


def command_line(command: str) -> str:
    """What was typed, for a report to print."""
    return shlex.join([command, *sys.argv[1:]])


def counted(things: Sized, name: str) -> str:
    """``1 run``, ``2 runs``."""
    return f"{len(things)} {name}{'' if len(things) == 1 else 's'}"


def check_targets(files: Sequence[Path], output: Path | None, report: Path | None) -> None:
    """Refuse to write over what is compared: ``--force`` is for results of before.

    Raises:
        OutputError: Both targets are one, or one of them is a file that was given.
    """
    if output is not None and output == report:
        raise OutputError(f"-o and --report are both {output}, expected two files: give one of them another name")
    for option, target in (("-o", output), ("--report", report)):
        if target is not None and any(is_same_file(target, file) for file in files):
            raise OutputError(f"{option} {target} is one of the given files, expected another one to write: rename it")
