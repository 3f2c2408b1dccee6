"""The custom-op library of the native rows, or why they are empty."""

from __future__ import annotations

from pathlib import Path

from benchmarks.runners import LeftOut
from fade_deploy.runtimes.native_libraries import NativeLibrary

__all__ = ["native_library"]


def native_library() -> Path:
    """The library that ``fade_deploy`` loads by itself for the CPU.

    Raises:
        LeftOut: It was not built.
    """
    library = NativeLibrary.ONNXRUNTIME_CPU
    if library.installed is None:
        raise LeftOut(f"{library} is not built (pip install . builds it where there is a C++ compiler)")
    return library.installed
