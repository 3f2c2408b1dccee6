"""Commands as a user calls them, with their exit code and both their outputs."""

from __future__ import annotations

import importlib
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

# What a command needs and a plain installation lacks, `import` name by name.
_WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {absent!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Absent())
sys.argv[0] = {command!r}
from fade_deploy.cli.{module} import main
main()
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command left on the terminal."""

    code: int
    out: str
    err: str


def run(
    command: str,
    *arguments: Path | str,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    absent: Sequence[str] = (),
    largest_file: int | None = None,
) -> Finished:
    """Run an installed command of ours and wait for its end.

    Args:
        command: ``fade-export`` and so on.
        arguments: Follow it.
        cwd: Its current folder.
        environment: Added to this process's.
        absent: Top-level packages that can't be imported there.
        largest_file: Bytes; longer files fail to be written, for root too, as on a full disk.
    """
    words = [str(Path(sys.executable).with_name(command))]
    if absent:
        module = command.removeprefix("fade-")
        words = [sys.executable, "-c", _WITHOUT.format(absent=set(absent), command=command, module=module)]
    finished = subprocess.run(
        [*words, *(str(argument) for argument in arguments)],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=300,
        preexec_fn=_limit(largest_file),
    )
    return Finished(finished.returncode, finished.stdout, finished.stderr)


def run_here(
    command: str, *arguments: Path | str, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]
) -> Finished:
    """The same in this process and its current folder: faster, and its insides can be changed. Needs ``capfd``."""
    module = importlib.import_module(f"fade_deploy.cli.{command.removeprefix('fade-')}")
    patch.setattr(sys, "argv", [command, *(str(argument) for argument in arguments)])
    capture.readouterr()
    with pytest.raises(SystemExit) as ended:
        module.main()
    captured = capture.readouterr()
    assert isinstance(ended.value.code, int)
    return Finished(ended.value.code, captured.out, captured.err)


def _limit(largest_file: int | None) -> Callable[[], None] | None:
    if largest_file is None:
        return None
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder, hidden ones too, with a file's bytes: what a failed command must leave alone."""
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}
