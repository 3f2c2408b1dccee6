"""TensorRT engines: loaded with every check that can be made before, and run on this machine's GPU.

Neither torch nor onnx is needed. Polygraphy runs the engine: it owns the buffers, the stream and the copies.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.errors import InputError, MissingDependency
from fade_deploy.optional import require
from fade_deploy.runtimes.engine_flavour import Flavour, imported, major_minor
from fade_deploy.runtimes.engine_gpu import Gpu, current_gpu
from fade_deploy.runtimes.engine_log import TensorRTLog, logger_for
from fade_deploy.runtimes.engine_manifest import read_engine
from fade_deploy.runtimes.engine_plugin import library_for_engine, load_plugin
from fade_deploy.runtimes.engine_refusal import refusal
from fade_deploy.runtimes.native_libraries import AUTOMATIC

__all__ = ["LoadedEngine", "load_engine"]

_RUNNERS = "polygraphy.backend.trt"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedEngine:
    """An engine on the GPU; a context manager that frees it.

    ``engine`` is TensorRT's own object; ``run`` needs Polygraphy and numpy only.
    """

    engine: Any
    manifest: Mapping[str, Any]
    logger: Any  # TensorRT writes to it as long as the engine lives
    runner: Any  # of Polygraphy

    def __enter__(self) -> LoadedEngine:
        self.runner.activate()
        return self

    def __exit__(self, *_: object) -> None:
        self.runner.deactivate()

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """The outputs by name, for inputs as the manifest declares them.

        Raises:
            InputError: A name, dtype or shape is not what the engine takes.
        """
        _check_inputs(self.engine, self.manifest, inputs)
        outputs = self.runner.infer({name: np.ascontiguousarray(array) for name, array in inputs.items()})
        return {name: np.array(output) for name, output in outputs.items()}  # the next run overwrites the runner's own


def load_engine(path: Path | str, *, plugin: Path | str = AUTOMATIC, allow_code: bool = False) -> LoadedEngine:
    """Load an engine that ``fade-export`` built, on the first GPU of this process.

    Args:
        path: The engine; its manifest lies beside it.
        plugin: The library that the engine was built with: ``auto`` for the installed one, or its path.
        allow_code: Whether code in the file may run: an embedded plugin, or the runtime of a version-compatible engine.

    Raises:
        InputError: The file or its manifest is missing, truncated, changed, an .onnx file, for another TensorRT,
            version or GPU; the plugin library is missing, another one or can't be loaded; or this process has loaded an
            engine of the other TensorRT.
        MissingDependency: TensorRT or Polygraphy is not installed, or there is no GPU.
    """
    path = Path(path)
    data, manifest = read_engine(path)
    flavour = Flavour(manifest["tensorrt"]["flavour"])
    trt = imported(flavour)
    _check_version(path, manifest, trt)
    _check_gpu(path, manifest, current_gpu())
    _check_code(path, manifest, allow_code=allow_code)
    library = library_for_engine(path, manifest, plugin, option="--plugin; in Python, plugin")
    _choose_runner(path, flavour)
    log = TensorRTLog()
    logger = logger_for(trt, log)
    trt.init_libnvinfer_plugins(logger, "")
    if library is not None:
        load_plugin(trt, library, log)
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = allow_code
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise refusal(path, manifest, " | ".join(log.errors), version=trt.__version__)
    runner = require(_RUNNERS, extra=str(flavour)).TrtRunner(engine)
    return LoadedEngine(engine=engine, manifest=manifest, logger=logger, runner=runner)


def _check_version(path: Path, manifest: Mapping[str, Any], trt: ModuleType) -> None:
    """TensorRT itself refuses another version, with an error that names internal tags."""
    built, here = str(manifest["tensorrt"]["version"]), str(trt.__version__)
    flavour = Flavour(manifest["tensorrt"]["flavour"])
    # Whether a later TensorRT-RTX takes it is that one's own to say.
    may_be_later = flavour is Flavour.RTX or manifest["options"].get("version_compatible")
    is_later = major_minor(here) >= major_minor(built) and major_minor(here)[0] == major_minor(built)[0]
    if here != built and not (may_be_later and is_later):
        raise InputError(
            f"{path} was built with {flavour.label} {built}, installed is {here}: pip install {flavour}=={built}, or "
            "build it again with the installed version"
        )


def _check_gpu(path: Path, manifest: Mapping[str, Any], gpu: Gpu | None) -> None:
    """Before TensorRT, which takes an engine of another model of the same compute capability with a mere warning."""
    if gpu is None:
        raise MissingDependency(
            f"{path} needs an NVIDIA GPU, and this machine's driver shows none: see that nvidia-smi lists one, or run "
            "the .onnx file with onnxruntime"
        )
    here, stated = gpu.compute_capability, manifest["tensorrt"]
    remedy = f"build it again on this machine with fade-export --format {stated['flavour']}"
    if stated["flavour"] == Flavour.RTX:
        known = stated.get("compute_capabilities", [])
        fits, expected = here in known, f"compute capability {', '.join(known)}"
        remedy = f"build it again with --compute-capability {here}"
    else:
        built_on = Gpu(**{key: str((stated.get("gpu") or {}).get(key, "")) for key in ("name", "compute_capability")})
        is_alike = here == built_on.compute_capability
        match manifest["options"].get("hardware_compatibility"):
            case "ampere+":
                fits, expected = major_minor(here) >= (8, 0), "compute capability 8.0 or newer"
            case "same-compute-capability":
                fits, expected = is_alike, f"compute capability {built_on.compute_capability}"
            case _:
                fits = gpu == built_on
                expected = f"{built_on.name} of compute capability {built_on.compute_capability} alone"
                remedy += ", or there with --hardware-compatibility same-compute-capability" if is_alike else ""
    if not fits:
        raise InputError(f"{path} is for {expected}, this GPU ({gpu.name}) has {here}: {remedy}")


def _check_code(path: Path, manifest: Mapping[str, Any], *, allow_code: bool) -> None:
    embedded = (manifest["plugin"] or {}).get("embedded")
    if allow_code or not (embedded or manifest["options"].get("version_compatible")):
        return
    what = "an embedded plugin" if embedded else "its own runtime"
    raise InputError(
        f"{path} holds {what}, code that would run on this machine: allow it if you trust the file (allow_code=True), "
        "or build it without"
    )


def _choose_runner(path: Path, flavour: Flavour) -> None:
    """Have Polygraphy's runner use the TensorRT of the engine: it looks that up once, when it is imported."""
    config: Any = require("polygraphy.config", extra=str(flavour))
    is_rtx = flavour is Flavour.RTX
    if _RUNNERS in sys.modules and is_rtx != config.USE_TENSORRT_RTX:
        raise InputError(
            f"{path} is for {flavour.label}, and this process has loaded Polygraphy for the other TensorRT, expected "
            "one of them in a process: run the engines one after the other"
        )
    config.USE_TENSORRT_RTX = is_rtx


def _check_inputs(engine: Any, manifest: Mapping[str, Any], inputs: Mapping[str, NDArray[Any]]) -> None:
    expected = {given["name"]: given for given in manifest["inputs"]}
    if inputs.keys() != expected.keys():
        raise InputError(f"given the inputs {', '.join(sorted(inputs))}, expected {', '.join(sorted(expected))}")
    for name, array in inputs.items():
        dtype = expected[name]["dtype"]
        if array.dtype.name != dtype:
            raise InputError(f"input '{name}' is {array.dtype}, expected {dtype}: convert it with astype")
        smallest, _, largest = (tuple(shape) for shape in engine.get_tensor_profile_shape(name, 0))
        fits = len(array.shape) == len(smallest) and all(
            low <= size <= high for low, size, high in zip(smallest, array.shape, largest, strict=True)
        )
        if not fits:
            raise InputError(
                f"input '{name}' is {list(array.shape)}, the engine takes {list(smallest)} to {list(largest)}: resize "
                "it, or build the engine with another --profile"
            )
