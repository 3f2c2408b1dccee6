"""Our plugin library: the one that an engine was built with, and loaded into a process that has TensorRT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from fade_deploy.artefact import sha256_of
from fade_deploy.contract import DOMAIN
from fade_deploy.errors import InputError
from fade_deploy.runtimes.engine_log import TensorRTLog
from fade_deploy.runtimes.native_libraries import NONE, NativeLibrary, library_for

__all__ = ["library_for_engine", "load_plugin"]


def library_for_engine(path: Path, manifest: Mapping[str, Any], choice: Path | str, *, option: str) -> Path | None:
    """The plugin library that an engine needs beside it; None where it needs none or has its own inside.

    Args:
        path: The engine.
        manifest: Beside it, from :func:`~fade_deploy.runtimes.engine_manifest.read_manifest`.
        choice: ``auto`` for the installed library, ``none``, or a path.
        option: How an error calls that choice.

    Raises:
        InputError: It needs one and there is none, or it was built with another.
    """
    stated = manifest["plugin"]
    if stated is None or stated["embedded"]:
        return None
    library = library_for(choice, NativeLibrary.TENSORRT)
    if library is None:
        where = "is left out" if str(choice) == NONE else "is not installed here"
        raise InputError(
            f"{path} was built with the plugin library {stated['file']}, which {where}: give its path ({option}), "
            "install fade-deploy with TENSORRT_ROOT set, or build the engine with --plugin none"
        )
    if sha256_of(library) != stated["sha256"]:
        raise InputError(
            f"{path} was built with another plugin library than {library} (SHA-256): give the path of that one "
            f"({option}), or build the engine again with this one"
        )
    return library


def load_plugin(trt: ModuleType, path: Path, log: TensorRTLog) -> None:
    """Load a plugin library into TensorRT's registry, unless our operators are there: it takes none of them twice.

    Args:
        trt: ``tensorrt`` or ``tensorrt_rtx``.
        path: Of the library.
        log: Where TensorRT's logger writes, for the reason.

    Raises:
        InputError: TensorRT can't load it.
    """
    registry = trt.get_plugin_registry()
    if any(creator.plugin_namespace == DOMAIN for creator in registry.all_creators):
        return
    before = len(log.errors)
    try:
        handle = registry.load_library(str(path))
    except RuntimeError as error:
        raise _refused(path, str(error)) from error
    if handle is None:
        raise _refused(path, "; ".join(log.errors[before:]) or "it gives no reason")


def _refused(path: Path, reason: str) -> InputError:
    return InputError(
        f"{path} can't be loaded by TensorRT ({' '.join(reason.split())}), expected the library that fade-deploy's "
        "build made on this machine: build it again, or leave it out with --plugin none"
    )
