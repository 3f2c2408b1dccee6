"""The process that builds one engine, or tells whether it could: ``python -m fade_deploy.engines.build_worker``.

It reads a job on its standard input. It is a process of its own because TensorRT may end it, and because TensorRT-RTX
needs its libraries' folder on the loader's path before a process starts. Standard output is JSON, one event a line
(``engines/build.py`` reads them); what TensorRT prints goes to standard error.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from fade_deploy import artefact
from fade_deploy.engines.build_failure import ParserFault, build_failure, parse_failure
from fade_deploy.engines.build_job import BuildJob
from fade_deploy.engines.layers import as_json, engine_layers, network_layers
from fade_deploy.engines.progress import monitor_for
from fade_deploy.engines.strategy import Strategy, strategy_for
from fade_deploy.errors import ExportError, FadeDeployError, MissingDependency
from fade_deploy.runtimes.engine_flavour import Flavour, imported
from fade_deploy.runtimes.engine_gpu import current_gpu
from fade_deploy.runtimes.engine_log import TensorRTLog, logger_for
from fade_deploy.runtimes.engine_plugin import load_plugin

__all__ = ["main"]

_PR_SET_PDEATHSIG = 1
_UNVERSIONED = "libtensorrt_rtx.so"
_HARMLESS = "already exists, the output tensors"  # of a function body that several nodes call

Tell = Callable[..., None]


def main() -> None:
    """Read the job, do it, and end; the last event is ``done`` or ``refused``, else this was a crash."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody is left to read what comes of an orphan
    events = os.fdopen(os.dup(1), "w", buffering=1, encoding="utf-8")
    os.dup2(2, 1)

    def tell(event: str, **facts: Any) -> None:
        events.write(json.dumps({"event": event, **facts}) + "\n")

    try:
        tell("done", **_done(BuildJob.from_json(sys.stdin.readline()), tell))
    except FadeDeployError as error:
        tell("refused", kind=type(error).__name__, message=str(error))


def _done(job: BuildJob, tell: Tell) -> dict[str, Any]:
    """Check the job and build its engine; what was built, as plain data, or nothing where there is no model."""
    trt = imported(job.options.flavour)
    if job.options.flavour is Flavour.RTX:
        _open_by_name(_UNVERSIONED)
    strategy = strategy_for(job.options.flavour, trt.__version__)
    strategy.check(job.options)
    strategy.capabilities_for(trt, job.options.compute_capabilities, ())  # which are unknown whatever the network is
    gpu = current_gpu()
    if strategy.needs_gpu and gpu is None:
        raise ExportError(
            f"{strategy.name} builds on the GPU that the engine is for, and this machine has none that works: run the "
            "same command there, or build for GeForce and RTX cards with --format tensorrt-rtx"
        )
    log = TensorRTLog(lambda severity, text: tell("log", severity=severity, text=text))
    logger = logger_for(trt, log)
    trt.init_libnvinfer_plugins(logger, "")
    if job.plugin is not None:
        load_plugin(trt, job.plugin, log)
    if job.model is None:
        return {}
    facts = _built(trt, strategy, job, job.model, log, logger, tell)
    return {**facts, "gpu": gpu.as_dict() if gpu and strategy.needs_gpu else None}


def _built(
    trt: ModuleType, strategy: Strategy, job: BuildJob, model: Path, log: TensorRTLog, logger: Any, tell: Tell
) -> dict[str, Any]:
    """Build the engine of a checked job."""
    title = f"{job.options.flavour.label} {trt.__version__}"
    tell("started", name=title)
    try:
        builder = trt.Builder(logger)
    except TypeError as error:  # what the bindings make of a null pointer
        raise build_failure(title, log.errors) from error
    network = strategy.network(trt, builder)
    _parse(trt, network, logger, model, log, title)
    layers = network_layers(trt, network)
    tell("parsed", layers=as_json(layers))
    capabilities, notes = strategy.capabilities_for(trt, job.options.compute_capabilities, layers)
    config = strategy.config(trt, builder, job.options, capabilities, job.plugin)
    if job.sizes:
        config.add_optimization_profile(_profile(builder, job))
    monitor = monitor_for(trt, lambda kind, *facts: tell(kind, facts=facts))
    config.progress_monitor = monitor
    cache = _timing_cache(config, job.options.timing_cache) if job.options.timing_cache else None
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise build_failure(title, log.errors)
    _write(job.engine, memoryview(plan))
    if cache is not None and job.options.timing_cache is not None:
        artefact.write(job.options.timing_cache, bytes(memoryview(config.get_timing_cache().serialize())))
    engine = _engine(trt, strategy, logger, plan, job)
    return {
        "version": trt.__version__,
        "compute_capabilities": capabilities,
        "inputs": [_tensor(network.get_input(i)) for i in range(network.num_inputs)],
        "outputs": [_tensor(network.get_output(i)) for i in range(network.num_outputs)],
        "engine": None if engine is None else as_json(engine_layers(trt, engine)),
        "notes": [*notes, *(line for line in dict.fromkeys(log.warnings) if _HARMLESS not in line)],
    }


def _open_by_name(library: str) -> None:
    """Open TensorRT-RTX's library by the name that its wheel lacks: opened once, the loader knows it by that.

    Its parser does so where there is a plugin, and ends the process where that fails.
    """
    try:
        ctypes.CDLL(library)
    except OSError as error:
        raise MissingDependency(
            f"TensorRT-RTX can't open {library} ({error}), expected it on the loader's path: pip install tensorrt-rtx, "
            "or put the folder with its libraries on LD_LIBRARY_PATH"
        ) from error


def _parse(trt: ModuleType, network: Any, logger: Any, model: Path, log: TensorRTLog, title: str) -> None:
    parser = trt.OnnxParser(network, logger)
    if parser.parse_from_file(str(model)):
        return
    faults = []
    for index in range(parser.num_errors):
        told = parser.get_error(index)
        faults.append(ParserFault(node=told.node_name(), operator=told.node_operator(), text=told.desc()))
    raise parse_failure(title, faults, log.errors)


def _profile(builder: Any, job: BuildJob) -> Any:
    profile = builder.create_optimization_profile()
    for name, (smallest, optimum, largest) in job.sizes.items():
        profile.set_shape(name, smallest, optimum, largest)
    return profile


def _timing_cache(config: Any, path: Path) -> Any:
    try:
        data = path.read_bytes() if path.is_file() else b""
    except OSError as error:
        raise ExportError(
            f"--timing-cache {path} can't be read ({error.strerror}): give the name of another file"
        ) from error
    cache = config.create_timing_cache(data)
    if cache is None or not config.set_timing_cache(cache, False):
        raise ExportError(
            f"--timing-cache {path} was not made by this TensorRT on this GPU: give the name of another file"
        )
    return cache


def _write(path: Path, plan: memoryview) -> None:
    with artefact.explained(path), path.open("wb") as file:
        file.write(plan)
        file.flush()
        os.fsync(file.fileno())


def _engine(trt: ModuleType, strategy: Strategy, logger: Any, plan: Any, job: BuildJob) -> Any:
    """The engine itself, where this machine can read it: TensorRT's own, on the GPU that it was built on."""
    if not strategy.needs_gpu:
        return None
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = job.options.version_compatible or job.options.embed_plugin
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise ExportError(f"{strategy.name} built an engine that it can't read back: report it to fade-deploy")
    return engine


def _tensor(tensor: Any) -> dict[str, Any]:
    return {"name": tensor.name, "dtype": tensor.dtype.name, "shape": list(tensor.shape)}


if __name__ == "__main__":
    main()
