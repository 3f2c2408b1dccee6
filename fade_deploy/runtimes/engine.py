"""TensorRT engines: loaded with every check that can be made before, and run on this machine's GPU.

Neither torch nor onnx is needed. Polygraphy runs the engine: it owns the buffers, the stream and the copies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.artefact import sha256_of
from fade_deploy.errors import InputError, MissingDependency
from fade_deploy.optional import require
from fade_deploy.runtimes.engine_flavour import Flavour, imported, major_minor
from fade_deploy.runtimes.engine_gpu import Gpu, current_gpu
from fade_deploy.runtimes.engine_log import TensorRTLog, logger_for
from fade_deploy.runtimes.engine_manifest import read_manifest
from fade_deploy.runtimes.engine_plugin import load_plugin
from fade_deploy.runtimes.engine_refusal import refusal
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NativeLibrary, library_for

__all__ = ["LoadedEngine", "load_engine"]

_ONNX = b"\x08"  # of every ONNX file the first byte: the field with its IR version


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
            version or GPU; or the plugin library is missing or can't be loaded.
        MissingDependency: TensorRT or Polygraphy is not installed, or there is no GPU.
    """
    path = Path(path)
    data = _read(path)
    manifest = read_manifest(path)
    _check_whole(path, len(data), manifest)
    flavour = Flavour(manifest["tensorrt"]["flavour"])
    trt = imported(flavour)
    _check_version(path, manifest, trt)
    _check_gpu(path, manifest, current_gpu())
    _check_code(path, manifest, allow_code=allow_code)
    log = TensorRTLog()
    logger = logger_for(trt, log)
    trt.init_libnvinfer_plugins(logger, "")
    library = _library(path, manifest, plugin)
    if library is not None:
        load_plugin(trt, library, log)
    runtime = trt.Runtime(logger)
    runtime.engine_host_code_allowed = allow_code
    engine = runtime.deserialize_cuda_engine(data)
    if engine is None:
        raise refusal(path, manifest, " | ".join(log.errors), version=trt.__version__)
    return LoadedEngine(engine=engine, manifest=manifest, logger=logger, runner=_runner(flavour, engine))


def _read(path: Path) -> bytes:
    remedy = "give an engine that fade-export built"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror or error}): {remedy}") from error
    if not data:
        raise InputError(f"{path} is empty: {remedy}")
    if path.suffix.lower() == ".onnx" or data.startswith(_ONNX):
        raise InputError(
            f"{path} is an .onnx file, expected an engine: build one with fade-export {path.name} --format tensorrt"
        )
    return data


def _check_whole(path: Path, size: int, manifest: Mapping[str, Any]) -> None:
    stated = manifest["artefact"]
    if size != stated.get("bytes"):
        raise InputError(
            f"{path} has {size} bytes, its manifest says {stated.get('bytes')}: it is truncated or another build; "
            "copy both files again"
        )
    if sha256_of(path) != stated.get("sha256"):
        raise InputError(f"{path} is not the file that its manifest describes (SHA-256): copy both files again")


def _check_version(path: Path, manifest: Mapping[str, Any], trt: ModuleType) -> None:
    """TensorRT itself refuses another version, with an error that names internal tags."""
    built, here = str(manifest["tensorrt"]["version"]), str(trt.__version__)
    flavour = Flavour(manifest["tensorrt"]["flavour"])
    if flavour is Flavour.RTX:
        if major_minor(here) >= major_minor(built) and major_minor(here)[0] == major_minor(built)[0]:
            return  # whether a later one takes it is its own to say
    elif manifest["options"].get("version_compatible"):
        if major_minor(here) >= major_minor(built) and major_minor(here)[0] == major_minor(built)[0]:
            return
    elif here == built:
        return
    raise InputError(
        f"{path} was built with {flavour.label} {built}, installed is {here}: pip install {flavour}=={built}, or build "
        "it again with the installed version"
    )


def _check_gpu(path: Path, manifest: Mapping[str, Any], gpu: Gpu | None) -> None:
    if gpu is None:
        raise MissingDependency(
            f"{path} needs an NVIDIA GPU, and this machine's driver shows none: see that nvidia-smi lists one, or run "
            "the .onnx file with onnxruntime"
        )
    here, stated = gpu.compute_capability, manifest["tensorrt"]
    if stated["flavour"] == Flavour.RTX:
        known = stated.get("compute_capabilities", [])
        if here in known:
            return
        expected = f"one of {', '.join(known)}"
    else:
        built_on = (stated.get("gpu") or {}).get("compute_capability", "")
        level = manifest["options"].get("hardware_compatibility")
        if here == built_on or (level == "ampere+" and major_minor(here) >= (8, 0)):
            return
        expected = "8.0 or newer" if level == "ampere+" else built_on
    raise InputError(
        f"{path} is for compute capability {expected}, this GPU ({gpu.name}) has {here}: build it again on this "
        f"machine with fade-export --format {stated['flavour']}"
    )


def _check_code(path: Path, manifest: Mapping[str, Any], *, allow_code: bool) -> None:
    embedded = (manifest["plugin"] or {}).get("embedded")
    if allow_code or not (embedded or manifest["options"].get("version_compatible")):
        return
    what = "an embedded plugin" if embedded else "its own runtime"
    raise InputError(
        f"{path} holds {what}, code that would run on this machine: allow it if you trust the file (allow_code=True), "
        "or build it without"
    )


def _library(path: Path, manifest: Mapping[str, Any], choice: Path | str) -> Path | None:
    stated = manifest["plugin"]
    if stated is None or stated.get("embedded"):
        return None
    library = library_for(choice, NativeLibrary.TENSORRT)
    if library is None:
        raise InputError(
            f"{path} was built with the plugin library {stated.get('file')}, which is not installed here: give its "
            "path (plugin), install fade-deploy with TENSORRT_ROOT set, or build the engine with --plugin none"
        )
    return library


def _runner(flavour: Flavour, engine: Any) -> Any:
    config: Any = require("polygraphy.config", extra=str(flavour))
    config.USE_TENSORRT_RTX = flavour is Flavour.RTX  # read when the next line imports it: one flavour in a process
    return require("polygraphy.backend.trt", extra=str(flavour)).TrtRunner(engine)


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
