"""Our plugin library in a process that has TensorRT."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from fade_deploy.contract import DOMAIN
from fade_deploy.errors import InputError
from fade_deploy.runtimes.engine_log import TensorRTLog

__all__ = ["load_plugin"]


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
