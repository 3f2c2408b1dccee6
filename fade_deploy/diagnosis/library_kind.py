"""What a native library is for, told by the names it exports, also where it can't be loaded here."""

from __future__ import annotations

import mmap
from enum import StrEnum
from pathlib import Path

from fade_deploy.errors import InputError
from fade_deploy.runtimes.native_libraries import NativeLibrary

__all__ = ["Kind", "entry_points", "kind_of"]

# A library holds each name that it exports, and each of its texts, between two zeros.
_NAMES = (
    "RegisterCustomOps",  # ONNX Runtime's entry point
    "fade_onnxruntime_version",
    "CUDAExecutionProvider",  # no export of ours, but the provider that its nodes run on
    "getCreators",  # TensorRT's
    "getPluginCreators",  # the same of before TensorRT 10
    "setLoggerFinder",
    "initLibNvInferPlugins",  # of the plugins that come with TensorRT
    "fade_tensorrt_version",
)


class Kind(StrEnum):
    """What a file is."""

    ONNXRUNTIME_CPU = "fade-deploy's operators for ONNX Runtime on the CPU"
    ONNXRUNTIME_CUDA = "fade-deploy's operators for ONNX Runtime on CUDA"
    TENSORRT = "fade-deploy's plugin for TensorRT"
    OTHER_ONNXRUNTIME = "somebody else's operators for ONNX Runtime"
    OTHER_TENSORRT = "somebody else's plugin for TensorRT"
    OTHER_LIBRARY = "a library without operators"
    NO_LIBRARY = "no library of this kind of machine"

    @property
    def library(self) -> NativeLibrary | None:
        """Which of ours it is."""
        return NativeLibrary[self.name] if self.name in NativeLibrary.__members__ else None

    @property
    def usage(self) -> str:
        """Where it belongs."""
        match self:
            case Kind.ONNXRUNTIME_CPU | Kind.ONNXRUNTIME_CUDA | Kind.OTHER_ONNXRUNTIME:
                return "for ONNX Runtime (--library), not for TensorRT"
            case Kind.TENSORRT | Kind.OTHER_TENSORRT:
                return "for TensorRT (--plugin, trtexec --dynamicPlugins), not for ONNX Runtime"
            case _:
                return "for neither ONNX Runtime nor TensorRT"


def entry_points(path: Path) -> tuple[str, ...]:
    """The names that it exports, among those that tell what a library is for.

    Raises:
        InputError: It can't be read.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return tuple(name for name in _NAMES if data.find(b"\0" + name.encode() + b"\0") >= 0)
    except ValueError:  # an empty file can't be mapped
        return ()
    except OSError as error:
        raise InputError(
            f"--library {path} can't be read ({error.strerror or error}), expected the path of a native library: check "
            "its name and permissions"
        ) from error


def kind_of(path: Path) -> Kind:
    """What a file is.

    Raises:
        InputError: It can't be read.
    """
    names = entry_points(path)
    with path.open("rb") as file:
        # Of Linux; of macOS, with one processor's code (64 bits) or several's.
        is_library = file.read(4) in (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
    if not is_library:
        return Kind.NO_LIBRARY
    if "fade_tensorrt_version" in names:
        return Kind.TENSORRT
    if "fade_onnxruntime_version" in names:
        return Kind.ONNXRUNTIME_CUDA if "CUDAExecutionProvider" in names else Kind.ONNXRUNTIME_CPU
    if "RegisterCustomOps" in names:
        return Kind.OTHER_ONNXRUNTIME
    if {"getCreators", "getPluginCreators", "initLibNvInferPlugins"} & set(names):
        return Kind.OTHER_TENSORRT
    return Kind.OTHER_LIBRARY
