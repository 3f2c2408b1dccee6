"""A probe runs in a process of its own: what a package does to that process is an answer, never the doctor's end."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from fade_deploy.diagnosis.child import ask
from tests.diagnosis.fakes import ABORTS, ABSENT, HANGS, RAISES, Fakes

LIMIT = 30.0


def test_a_package_that_works_tells_its_version(fakes: Fakes) -> None:
    fakes.module("works", "__version__ = '1.2'\nprint('hello from a package')\n")
    answer = ask("package", limit=LIMIT, module="works")
    assert (answer.facts, answer.fault, answer.absent) == ({"version": "1.2", "works": True}, "", "")


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        (RAISES, "ImportError: libthat.so.1: cannot open shared object file"),
        (ABORTS, "ended by SIGABRT: it said nothing"),
        ("import sys\nsys.exit(3)\n", "SystemExit: 3"),
        ("import os\nos._exit(0)\n", "exit code 0: it said nothing"),
        ("import os\nos.write(2, b'before\\n  the end  \\n')\nos._exit(9)\n", "exit code 9: the end"),
        ("def f(): f()\nf()\n", "RecursionError: maximum recursion depth exceeded"),
        ("import ctypes\nctypes.string_at(0)\n", "ended by SIGSEGV: it said nothing"),
        ("raise RuntimeError('two\\nlines')\n", "RuntimeError: two lines"),
    ],
)
def test_a_package_that_does_not_is_one_line(fakes: Fakes, code: str, fault: str) -> None:
    fakes.module("works_not", code)
    answer = ask("package", limit=LIMIT, module="works_not")
    assert answer.fault.startswith(fault)
    assert "works" not in answer.facts


def test_a_package_that_is_absent_is_told_from_one_that_misses_another(fakes: Fakes) -> None:
    assert ask("package", limit=LIMIT, module="no_such_package").absent == "no_such_package"
    fakes.module("needs", "import no_such_dependency\n")
    assert ask("package", limit=LIMIT, module="needs").absent == "no_such_dependency"
    fakes.module("gone", ABSENT)
    assert ask("package", limit=LIMIT, module="gone").absent == "gone"


def test_a_package_that_hangs_is_given_up(fakes: Fakes) -> None:
    fakes.module("hangs", HANGS)
    start = time.monotonic()
    answer = ask("package", limit=1.0, module="hangs")
    assert answer.fault == "no answer within 1 s, expected one: on a busy machine give it --time-limit 3"
    assert time.monotonic() - start < 10


def test_a_package_that_ignores_the_alarm_is_killed(fakes: Fakes) -> None:
    fakes.module("ignores", "import signal\nsignal.signal(signal.SIGALRM, signal.SIG_IGN)\n" + HANGS)
    start = time.monotonic()
    assert ask("package", limit=0.5, module="ignores").fault.startswith("no answer within 0.5 s, ")
    assert time.monotonic() - start < 20


def test_what_it_leaves_running_does_not_keep_the_doctor(fakes: Fakes, tmp_path: Path) -> None:
    """A grandchild that holds both outputs open."""
    note = tmp_path / "pid"
    fakes.module(
        "forks",
        f"import pathlib, subprocess\n"
        f"pathlib.Path({str(note)!r}).write_text(str(subprocess.Popen(['sleep', '60']).pid))\n",
    )
    start = time.monotonic()
    assert ask("package", limit=LIMIT, module="forks").facts["works"]
    assert time.monotonic() - start < 20
    os.kill(int(note.read_text()), signal.SIGKILL)


def test_the_current_folder_is_no_place_for_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "numpy.py").write_text("raise RuntimeError('somebody else wrote this')\n")
    assert ask("package", limit=LIMIT, module="numpy").facts["works"]
