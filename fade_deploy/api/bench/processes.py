"""Load time and memory of one way to run a file, from a process in which nothing else happens."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

from fade_deploy import errors
from fade_deploy.api.bench.ways import Way
from fade_deploy.errors import FadeDeployError, InputError
from fade_deploy.recipe import Shape
from fade_deploy.timing.benchmark import Memory

__all__ = ["fresh_process"]

_TAIL = 300  # characters of what a process said at its end


def fresh_process(way: Way, shape: Shape) -> tuple[float, Memory]:
    """Load the file in a new process and run it once there: seconds of the loading, and the memory of both.

    Raises:
        FadeDeployError: The file can't be loaded there, or the process was ended, for lack of memory most often.
    """
    job = json.dumps({"way": way.as_dict(), "shape": str(shape)})
    # -P: what lies in the current folder is never imported.
    command = [sys.executable, "-P", "-m", "fade_deploy.api.bench.worker"]
    finished = subprocess.run(
        command, input=job, capture_output=True, encoding="utf-8", errors="backslashreplace", check=False
    )
    if finished.returncode == -signal.SIGKILL:
        raise InputError(
            f"{way.file} was ended by the system while it ran {shape} alone, most often for lack of memory: give "
            "smaller --shapes or --batches"
        )
    if finished.returncode:
        raise RuntimeError(
            f"the process that measures {way.file} failed with exit code {finished.returncode}:\n"
            f"{finished.stderr[-_TAIL:]}"
        )
    found = json.loads(finished.stdout)
    if "refused" in found:
        raise getattr(errors, found["refused"], FadeDeployError)(found["message"])
    return float(found["load_seconds"]), Memory(**found["memory"])
