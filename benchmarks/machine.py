"""What a measurement belongs to: the machine, the versions, the commit, the date."""

from __future__ import annotations

import datetime
import subprocess
from pathlib import Path
from typing import Any

from fade_deploy.timing.machine import this_machine, versions

__all__ = ["ROOT", "stamp"]

ROOT = Path(__file__).parents[1]

_PACKAGES = ("fade-deploy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy")


def stamp() -> dict[str, Any]:
    """Machine, versions, commit and date, for a report."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": this_machine().as_dict(),
        "versions": versions(_PACKAGES),
        "commit": _commit(),
    }


def _commit() -> str:
    """The checkout's commit, marked where files differ from it; empty outside a checkout."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
