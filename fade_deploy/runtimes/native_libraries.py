"""The native libraries: which one a session loads, and from where.

They lie inside the installed package (``fade_deploy/_native``) where a C++ compiler was there when it was installed,
or wherever the user says. Never are they looked for in the current folder or beside a model: a model file that brings
its own code along would be a way to run anybody's. Standard library only.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any

from fade_deploy.errors import InputError

__all__ = ["AUTOMATIC", "NONE", "NativeLibrary", "library_for", "register"]

AUTOMATIC = "auto"
NONE = "none"
_FOLDER = Path(__file__).parents[1] / "_native"


class NativeLibrary(StrEnum):
    """The libraries that an installation may hold: for each execution provider of ONNX Runtime, and for TensorRT."""

    ONNXRUNTIME_CPU = "libfade_onnxruntime.so"
    ONNXRUNTIME_CUDA = "libfade_onnxruntime_cuda.so"
    TENSORRT = "libfade_tensorrt.so"

    @property
    def installed(self) -> Path | None:
        """Where it is inside this installation; None where it was not built."""
        path = _FOLDER / self
        return path if path.is_file() else None


def library_for(choice: str | Path, library: NativeLibrary) -> Path | None:
    """The library that a session should load, or None to run the function bodies in standard ops.

    Args:
        choice: ``auto`` for the installed one where there is one; ``none``; or the path of a library.
        library: The one that the session's provider needs.

    Returns:
        An absolute path without links.

    Raises:
        InputError: The given path is no file.
    """
    if str(choice) == NONE:
        return None
    if str(choice) == AUTOMATIC:
        return library.installed and library.installed.resolve()
    try:
        path = Path(choice).resolve(strict=True)
    except (OSError, RuntimeError) as error:  # a chain of links that has no end is a RuntimeError
        raise InputError(_wrong_path(choice, library, "is not there")) from error
    if not path.is_file():
        raise InputError(_wrong_path(choice, library, "is not a file"))
    return path


def register(options: Any, path: Path) -> None:
    """Have the sessions of ``options`` (``onnxruntime.SessionOptions``) use a library's operators.

    Raises:
        InputError: onnxruntime can't load the library, or the library refuses this onnxruntime.
    """
    try:
        options.register_custom_ops_library(str(path))
    except Exception as error:  # onnxruntime's own exceptions have no common parent below Exception
        reason = " ".join(str(error).split())
        reason = reason.removeprefix("[ONNXRuntimeError] : 1 : FAIL : ")
        raise InputError(
            f"{path} can't be loaded by onnxruntime ({reason}), expected a library that fade-deploy's build made: "
            "build it again on this machine (pip install .), or leave it out with --library none"
        ) from error


def _wrong_path(choice: str | Path, library: NativeLibrary, fault: str) -> str:
    flag, file = "--library", f"{NativeLibrary.ONNXRUNTIME_CPU} (or its CUDA sibling)"
    if library is NativeLibrary.TENSORRT:
        flag, file = "--plugin", str(library)
    return (
        f"{flag} {choice} {fault}, expected the path of {file}, "
        f"'{AUTOMATIC}' for the installed one, or '{NONE}' to run without"
    )
