"""The process that loads one file and runs it once: ``python -m fade_deploy.api.bench.worker``.

It is a process of its own because memory and load times of a process in which others have run say little. Standard
input is a job as JSON, standard output the result (``api/bench/processes.py`` reads it); what libraries print goes to
standard error.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from fade_deploy.api.bench.loading import load
from fade_deploy.api.bench.ways import Loaded, Way
from fade_deploy.api.verify.runners import Kind, kind_of
from fade_deploy.errors import FadeDeployError
from fade_deploy.optional import require
from fade_deploy.provider import Provider
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.engine_flavour import Flavour, imported
from fade_deploy.runtimes.engine_manifest import read_manifest
from fade_deploy.timing.benchmark import Memory
from fade_deploy.timing.gpu_memory import gpu_mib_used
from fade_deploy.timing.memory import MemoryUnknown, growth_while, resident_mib

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Read the job, measure, write what was found or why it was refused, and end."""
    with contextlib.suppress(AttributeError):  # Linux: nobody is left to read what comes of an orphan
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    result = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.load(sys.stdin)
    try:
        found = _measured(Way(**job["way"]), Shape.parse(job["shape"]))
    except FadeDeployError as error:
        found = {"refused": type(error).__name__, "message": str(error)}
    result.write(json.dumps(found))
    result.close()


def _measured(way: Way, shape: Shape) -> dict[str, Any]:
    kind = kind_of(Path(way.file))
    _import_runtime(kind, Path(way.file))
    on_gpu = kind is Kind.ENGINE or (kind is Kind.ONNX and way.provider != Provider.CPU)
    gpu_before = gpu_mib_used() if on_gpu else None
    loaded: Loaded | None = None
    reason, load_mib, run_mib = "", None, None
    try:
        before = resident_mib()
        loaded = load(way)
        load_mib = resident_mib() - before
        run_mib = growth_while(_first_run(loaded, shape))
    except MemoryUnknown as error:
        reason = str(error)
        loaded = loaded or load(way)
        _first_run(loaded, shape)()
    gpu_after = gpu_mib_used() if on_gpu else None
    gpu_mib = None if gpu_before is None or gpu_after is None else gpu_after - gpu_before
    memory = Memory(load_mib=load_mib, run_mib=run_mib, gpu_mib=gpu_mib, reason=reason)
    return {"load_seconds": loaded.seconds, "memory": asdict(memory)}


def _import_runtime(kind: Kind, path: Path) -> None:
    """Imported before anything is measured: that is paid once a process, whatever it loads."""
    if kind is Kind.CHECKPOINT:
        require("torch", extra="export")
        importlib.import_module("fade_deploy.checkpoints.recognise")
    elif kind is Kind.ONNX:
        require("onnxruntime", extra="ort-cpu")
    elif kind is Kind.ENGINE:
        imported(Flavour(read_manifest(path)["tensorrt"]["flavour"]))


def _first_run(loaded: Loaded, shape: Shape) -> Callable[[], object]:
    bound = loaded.explained(shape, partial(loaded.ready, shape))
    return partial(loaded.explained, shape, bound.run)


if __name__ == "__main__":
    main()
