"""Runs a probe in a process of its own: a package that crashes or hangs while it is imported ends only that."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import IO, Any

__all__ = ["Answer", "ask"]

_GRACE = 1.0  # seconds: the process ends itself at the limit, and is ended from here if it does not
_LONGEST_REASON = 300  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a probe told: facts, those from before a fault too, and the fault on one line; ``""`` where there is none.

    ``absent`` is the module that Python did not find.
    """

    facts: dict[str, Any]
    fault: str = ""
    absent: str = ""


def ask(probe: str, *, limit: float, **arguments: Any) -> Answer:
    """Run one probe of :mod:`fade_deploy.diagnosis.probe` and wait for its end.

    Args:
        probe: Its name.
        limit: Seconds that it may take.
        arguments: Of the probe, JSON values.
    """
    # -P: the current folder is none that modules may come from, as in any installed command.
    words = [sys.executable, "-P", "-m", "fade_deploy.diagnosis.probe", probe, str(limit), json.dumps(arguments)]
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as said:  # a pipe could be held by a grandchild
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=told, stderr=said)
        try:
            code = process.wait(limit + _GRACE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            code = -signal.SIGALRM
        facts: dict[str, Any] = {}
        for line in _text(told).splitlines():
            facts.update(json.loads(line))
        fault, absent = facts.pop("fault", ""), facts.pop("absent", "")
        if not fault and not absent and (code or not facts):  # a package may also end it as if all were well
            fault = _end(code, _text(said), limit)
        return Answer(facts=facts, fault=fault, absent=absent)


def _end(code: int, said: str, limit: float) -> str:
    """Why a process ended that told no fault itself."""
    if code == -signal.SIGALRM:
        return f"no answer within {limit:g} s, expected one: on a busy machine give it --time-limit {3 * limit:g}"
    how = f"exit code {code}" if code >= 0 else f"ended by {_signal_name(-code)}"
    last = [line.strip() for line in said.splitlines() if line.strip()][-1:]
    reason = last[0][:_LONGEST_REASON] if last else "it said nothing"
    return f"{how}: {reason}"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", errors="replace")
