"""Building an engine in a process of its own, and what comes of it: layers, or one clear line."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from fade_deploy import errors
from fade_deploy.engines.build_job import BuildJob
from fade_deploy.engines.layers import Layer, from_json
from fade_deploy.engines.options import EngineOptions
from fade_deploy.engines.progress import BuildProgress
from fade_deploy.errors import ExportError, FadeDeployError
from fade_deploy.runtimes.engine_flavour import Flavour

__all__ = ["WORKER", "Built", "build_engine", "check_build", "library_environment"]

# -P: nothing is imported from the current folder.
WORKER = (sys.executable, "-P", "-m", "fade_deploy.engines.build_worker")
_RTX_LIBRARIES = "tensorrt_rtx_libs"  # the package that holds them
_RTX_NAMES = ("libtensorrt_rtx.so", "libtensorrt_rtx.so.1")
_REAL_NAME = "libtensorrt_rtx.so.1"
_TAIL = 400  # characters of what a process said before it crashed

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What was built: facts of the machine and the layers of the network, and of the engine where it can be read."""

    version: str  # of TensorRT
    gpu: dict[str, str] | None  # that it was built on; None for TensorRT-RTX, which needs none
    compute_capabilities: tuple[str, ...]  # of TensorRT-RTX
    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    network: list[Layer]
    engine: list[Layer] | None  # None: it was built for another machine
    notes: tuple[str, ...]  # what to know of it, TensorRT's warnings among that
    seconds: float


def check_build(options: EngineOptions, plugin: Path | None, folder: Path) -> None:
    """Ask, before minutes of export, whether the installed TensorRT could build so; in a child process, too.

    Args:
        options: What is asked of the engine.
        plugin: The library to load.
        folder: For files that are needed meanwhile.

    Raises:
        FadeDeployError: TensorRT is missing, crashes, lacks an option, a compute capability or a GPU, or can't load the
            plugin.
    """
    job = BuildJob(model=None, engine=folder / "engine", options=options, sizes={}, plugin=plugin)
    _ended_child(job, folder, check=lambda _: None, worker=WORKER)


def build_engine(
    job: BuildJob, folder: Path, *, check: Callable[[list[Layer]], None], worker: Sequence[str] = WORKER
) -> Built:
    """Build an engine in a child process, with its progress in the log; the process ends with this call.

    Args:
        job: What to build; its file of the engine gets the engine.
        folder: For files that are needed meanwhile.
        check: Called with the layers of the network before anything is built; what it raises ends the build.
        worker: The command of the child process.

    Raises:
        FadeDeployError: TensorRT is missing, refuses the file or an option, gave up, or crashed.
        RuntimeError: The process ended with a traceback: a bug of ours.
    """
    start = time.perf_counter()
    network, facts = _ended_child(job, folder, check=check, worker=worker)
    return Built(
        version=facts["version"],
        gpu=facts["gpu"],
        compute_capabilities=tuple(facts["compute_capabilities"]),
        inputs=facts["inputs"],
        outputs=facts["outputs"],
        network=network,
        engine=None if facts["engine"] is None else from_json(facts["engine"]),
        notes=tuple(facts["notes"]),
        seconds=time.perf_counter() - start,
    )


def _ended_child(
    job: BuildJob, folder: Path, *, check: Callable[[list[Layer]], None], worker: Sequence[str]
) -> tuple[list[Layer], dict[str, Any]]:
    """Have a child process do the job; the network, and the facts that it told last."""
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            worker,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            env=library_environment(job.options.flavour, folder),
            text=True,
            encoding="utf-8",
        )
        with _ended(process):
            assert process.stdin is not None
            assert process.stdout is not None
            with contextlib.suppress(BrokenPipeError):  # it ended before: why is told below
                process.stdin.write(job.to_json() + "\n")
                process.stdin.close()
            network, facts = _followed(process.stdout, check)
            code = process.wait()
        if facts is None:
            raise _crash(code, said, job)
    return network, facts


@contextlib.contextmanager
def _ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """However the block ends, the process has ended, too."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _followed(events: IO[str], check: Callable[[list[Layer]], None]) -> tuple[list[Layer], dict[str, Any] | None]:
    """Log what the process tells until it ends; the network, and the facts of the engine or None where it told none.

    Raises:
        FadeDeployError: It refused, with the line to show.
    """
    progress, told = BuildProgress(), ""
    network: list[Layer] = []
    for line in events:
        if not line.endswith("\n"):
            break  # cut short by the end of the process
        event = json.loads(line)
        match event["event"]:
            case "started":
                logger.info("build: %s", event["name"])
            case "parsed":
                network = from_json(event["layers"])
                logger.info("build: %d layers", len(network))
                check(network)
            case "log":
                logger.debug("TensorRT: %s: %s", event["severity"], event["text"])
            case "start" | "step" | "finish" as kind:
                getattr(progress, kind)(*event["facts"])
                told = _tell(progress, told)
            case "refused":
                raise getattr(errors, event["kind"], FadeDeployError)(event["message"])
            case "done":
                return network, dict(event)
    return network, None


def _tell(progress: BuildProgress, told: str) -> str:
    """Log the progress at each tenth, and at each hundredth for who shows a bar; what was told last.

    A record's ``fraction`` is 0..1 of its ``phase``.
    """
    hundredth = int(progress.fraction * 100)
    now = f"{progress.phase} {hundredth}"
    if now != told:
        level = logging.INFO if hundredth % 10 == 0 and hundredth else logging.DEBUG
        logger.log(
            level,
            "build: %s, %d %%",
            progress.phase,
            hundredth,
            extra={"fraction": progress.fraction, "phase": progress.phase},
        )
    return now


def library_environment(flavour: Flavour, folder: Path) -> dict[str, str]:
    """This process's environment; for TensorRT-RTX with a folder in which its library has the names it is opened by.

    Its wheel lacks the unversioned name, by which the library opens itself for plugins; without it the process aborts.
    The loader reads its path when a process starts, no later.
    """
    environment = dict(os.environ)
    if flavour is not Flavour.RTX:
        return environment
    found = importlib.util.find_spec(_RTX_LIBRARIES)
    if found is None or not found.submodule_search_locations:
        return environment  # libraries from elsewhere, an archive for instance, which has both names
    for name in _RTX_NAMES:
        link = folder / name
        link.unlink(missing_ok=True)
        link.symlink_to(Path(found.submodule_search_locations[0]) / _REAL_NAME)
    before = environment.get("LD_LIBRARY_PATH")
    environment["LD_LIBRARY_PATH"] = os.pathsep.join([str(folder.resolve()), *([before] if before else [])])
    return environment


def _crash(code: int, said: IO[bytes], job: BuildJob) -> Exception:
    """What to raise for a process that ended without a result."""
    said.seek(0)
    text = said.read().decode(errors="replace").strip()
    if code > 0:  # Python's own end, after an exception
        return RuntimeError(f"the process that builds engines failed with exit code {code}:\n{text}")
    name = signal.Signals(-code).name if code else "exit code 0"
    last = " ".join(text[-_TAIL:].split())
    if code == -signal.SIGKILL:
        reason = "most often the machine ran out of memory: give a smaller --profile, or build on a larger machine"
    elif job.plugin is not None:
        reason = "build with --plugin none to see whether the plugin library is the cause"
    else:
        reason = "try another version of it, and report it there"
    title = job.options.flavour.label
    return ExportError(f"{title} ended its process while building ({name}{': ' + last if last else ''}): {reason}")
