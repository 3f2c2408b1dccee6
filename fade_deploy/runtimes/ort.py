"""ONNX Runtime: a session from an exported file, on the CPU or a GPU, with our native operators or without.

Needs neither torch nor onnx.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any

from fade_deploy.errors import FadeDeployError, InputError, MissingDependency
from fade_deploy.optional import require
from fade_deploy.provider import Provider
from fade_deploy.runtimes.engine_manifest import ENGINE_ENDINGS
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NativeLibrary, library_for, register
from fade_deploy.runtimes.providers import (
    check_loaded,
    check_placement,
    chosen,
    execution_providers,
    failure_on_gpu,
    not_loaded,
    placed_nodes,
    prepared,
)

if TYPE_CHECKING:
    import numpy as np
    import onnxruntime
    from numpy.typing import NDArray

__all__ = ["ort_version", "output_of", "session_from_onnx"]

_QUIET = 4  # "fatal": onnxruntime raises what it would log as an error, so lower levels only say it twice
_PACKAGES = ("onnxruntime", "onnxruntime-gpu")  # both fill the folder `onnxruntime` of site-packages


def session_from_onnx(
    path: Path,
    *,
    threads: int = 0,
    provider: Provider | str = Provider.CPU,
    library: Path | str = AUTOMATIC,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> onnxruntime.InferenceSession:
    """Load an ``.onnx`` file on one of onnxruntime's providers, with our native operators where they are installed.

    Args:
        path: The file; its fade operators carry their function bodies, which run where no library has them.
        threads: Threads within one operator; 0 leaves the number to onnxruntime (one a physical core).
        provider: Where to compute. Whatever it can't run on the GPU is refused, arithmetic on sizes aside.
        library: ``auto``, the installed custom-op library of the provider, if there is one; ``none``; or its path.
        settings: More entries of onnxruntime's session configuration; older versions ignore what they don't know.

    Raises:
        MissingDependency: onnxruntime is not installed, it and onnxruntime-gpu overwrite each other, or the provider
            is missing or can't be loaded.
        InputError: The file is missing, empty, not ONNX, truncated, or beyond this onnxruntime; a node runs on the CPU
            that should not; the provider is unknown; or the library is missing or can't be loaded.
    """
    provider = chosen(provider)
    if all(_is_installed(package) for package in _PACKAGES):
        raise MissingDependency(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other's files, expected one: "
            "pip uninstall -y onnxruntime onnxruntime-gpu, then pip install 'fade-deploy[ort-cpu]' or '[ort-gpu]'"
        )
    ort = require("onnxruntime", extra="ort-cpu" if provider is Provider.CPU else "ort-gpu")
    _check_readable(path)
    native = _library(library, provider)
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    options.intra_op_num_threads = threads
    for name, value in settings.items():
        options.add_session_config_entry(name, value)
    with prepared(ort, provider, options):
        if native is not None:
            register(options, native)
        try:
            # Of onnxruntime's own fallbacks this ends one: a new session on the CPU, announced on standard output.
            session = ort.InferenceSession(
                str(path), options, providers=execution_providers(provider), enable_fallback=0
            )
        except Exception as error:  # onnxruntime's own exceptions have no common parent below Exception
            raise _failure(ort, path, provider, native, error) from error
    session.disable_fallback()  # and this the same while it runs
    check_loaded(ort, provider, session.get_providers())
    if provider is not Provider.CPU:
        check_placement(placed_nodes(session), provider, name=str(path))
    return session


def output_of(
    session: onnxruntime.InferenceSession,
    output: str,
    inputs: Mapping[str, NDArray[Any]],
    *,
    name: str = "the file",
) -> NDArray[np.generic] | object:
    """Run the file and give back one output: an array, or what a foreign file returns instead.

    Args:
        session: From :func:`session_from_onnx`.
        output: Its name.
        inputs: By name, as the file declares them.
        name: How an error calls the file, its path for instance.

    Raises:
        InputError: A node can't compute what it should.
        MissingDependency: The GPU lacks a library that only some nodes need.
        MemoryError: There is less memory than it takes.
    """
    try:
        value: object = session.run([output], dict(inputs))[0]
    except MemoryError:
        raise
    except Exception as error:  # as while loading
        message = " ".join(str(error).split())
        if "Failed to allocate memory" in message:
            raise MemoryError(message) from error
        raise failure_on_gpu(message, name=name) or InputError(
            f"{name} can't be run by onnxruntime {ort_version()} ({_reason(message)}), expected a file of fade-export: "
            "export it again"
        ) from error
    return value


def ort_version() -> str:
    """Version of the installed onnxruntime, of whichever package."""
    return str(require("onnxruntime", extra="ort-cpu").__version__)


def _is_installed(package: str) -> bool:
    try:
        importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _check_readable(path: Path) -> None:
    if path.suffix in ENGINE_ENDINGS and path.is_file():
        raise InputError(
            f"{path} is a TensorRT engine, expected the .onnx file: run the engine with "
            "fade_deploy.runtimes.engine.load_engine, or compare it with fade-verify"
        )
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror or error}); expected an .onnx file that fade-export wrote"
        ) from error
    if empty:
        raise InputError(f"{path} is empty, expected an .onnx file: export it again with fade-export")


def _library(choice: Path | str, provider: Provider) -> Path | None:
    """The library whose operators run on ``provider``; one of another would take the nodes away from it."""
    if provider is Provider.TENSORRT and str(choice) == AUTOMATIC:
        return None  # its engines hold the function bodies
    own = NativeLibrary.ONNXRUNTIME_CPU if provider is Provider.CPU else NativeLibrary.ONNXRUNTIME_CUDA
    return library_for(choice, own)


def _failure(ort: ModuleType, path: Path, provider: Provider, native: Path | None, error: Exception) -> FadeDeployError:
    """What to say of a file that can't be loaded: it is the library's fault where it loads without, or the provider's
    where the CPU takes it.
    """
    reason = _reason(" ".join(str(error).split()))
    if native is not None and _refusal(ort, path, provider) is None:
        return InputError(
            f"{path} can't be loaded with the operators of {native} ({reason}), expected float32 or float16 and the "
            "provider that the library is for: run it in standard operators with --library none"
        )
    if provider is not Provider.CPU:
        on_cpu = _refusal(ort, path, Provider.CPU)
        if on_cpu is None:
            return MissingDependency(not_loaded(ort, provider, reason))
        error = on_cpu
    return InputError(_explain(path, str(error), version=ort.__version__))


def _refusal(ort: ModuleType, path: Path, provider: Provider) -> Exception | None:
    """What onnxruntime raises when it loads the file without a library; None where it loads it."""
    options = ort.SessionOptions()
    options.log_severity_level = _QUIET
    try:
        ort.InferenceSession(str(path), options, providers=execution_providers(provider), enable_fallback=0)
    except Exception as error:  # as above
        return error
    return None


def _explain(path: Path, message: str, *, version: str) -> str:
    """One line for what onnxruntime says while loading a file: given, expected, remedy."""
    message = " ".join(message.split())
    if re.search("INVALID_PROTOBUF|No graph was found|does not have a graph", message):
        return (
            f"{path} is not ONNX or is truncated, expected an .onnx file: copy it again, or export it with fade-export"
        )
    if found := re.search(r"\bfade:(\w+)\(|No Op registered for (Fade\w+)", message):
        return (
            f"{path} was exported without its function bodies, expected a body for {found[1] or found[2]}: "
            "export it again with fade-export (--standard-ops leaves no fade operator in the file)"
        )
    upgrade = "upgrade it (pip install -U onnxruntime) or export the file for an older one"
    if found := re.search(r"IR version: (\d+), max supported IR version: (\d+)", message):
        return f"{path} has ONNX IR version {found[1]}, onnxruntime {version} reads up to {found[2]}: {upgrade}"
    if found := re.search(r"Opset (\d+) is under development.* domain (\S+) is till opset (\d+)", message):
        return f"{path} has opset {found[1]} of {found[2]}, onnxruntime {version} knows up to {found[3]}: {upgrade}"
    return (
        f"{path} can't be loaded by onnxruntime {version} ({_reason(message)}), expected a file of fade-export: "
        "export it again"
    )


def _reason(message: str) -> str:
    """What onnxruntime says on one line, without its codes and without where in its own source it was raised."""
    reason = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (Load model from .*? failed:)?", "", message)
    return re.sub(r"\S+\.(cc|h):\d+ .*?\) (const )?(?=\w)", "", reason)
