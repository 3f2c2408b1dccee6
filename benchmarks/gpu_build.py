"""Builds what the GPU check runs: the CUDA kernels behind a C interface, the TensorRT library and its harness."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.machine import ROOT
from fade_deploy.errors import MissingDependency

__all__ = ["Built", "build"]

_TENSORRT = ("fade_tensorrt", "fade_tensorrt_harness")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """Paths of what was built, and why the rest was not."""

    kernels: Path  # libfade_cuda_kernels.so
    tensorrt: Path | None = None  # libfade_tensorrt.so
    harness: Path | None = None
    left_out: str = ""  # why there is no TensorRT library


def build(folder: Path) -> Built:
    """Compile for the GPUs of this machine; takes about a minute, and nothing where all is up to date.

    Raises:
        MissingDependency: There is no CUDA compiler or no CMake.
        RuntimeError: Compiling fails; the compiler's own words are printed before.
    """
    if shutil.which("nvcc") is None and "CUDACXX" not in os.environ:
        raise MissingDependency(
            "nvcc is not on PATH, expected a CUDA compiler: install NVIDIA's CUDA toolkit, or set CUDACXX to its nvcc"
        )
    cmake = _cmake()
    root = os.environ.get("TENSORRT_ROOT", "")
    targets = ["fade_cuda_kernels", *(_TENSORRT if root else ())]
    options = ["-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_CUDA_ARCHITECTURES=native", "-DFADE_TESTS=ON"]
    options.append(f"-DFADE_REQUIRE={'cuda;tensorrt' if root else 'cuda'}")
    options.append(f"-DTENSORRT_ROOT={root}")
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    _run([*cmake, "-S", str(ROOT), "-B", str(folder), *generator, *options])
    _run([*cmake, "--build", str(folder), "--parallel", str(min(os.cpu_count() or 1, 8)), "--target", *targets])
    kernels = _only(folder, "libfade_cuda_kernels.so")
    if not root:
        return Built(kernels=kernels, left_out="TENSORRT_ROOT names no folder of TensorRT's headers")
    return Built(
        kernels=kernels,
        tensorrt=_only(folder, "libfade_tensorrt.so"),
        harness=_only(folder, "fade_tensorrt_harness"),
    )


def _cmake() -> list[str]:
    """The machine's own, or the Python package."""
    if shutil.which("cmake"):
        return ["cmake"]
    if subprocess.run([sys.executable, "-m", "cmake", "--version"], capture_output=True, check=False).returncode == 0:
        return [sys.executable, "-m", "cmake"]
    raise MissingDependency("CMake is not installed, expected 3.25 or newer: pip install cmake ninja")


def _run(command: list[str]) -> None:
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if finished.returncode:
        print(finished.stdout, file=sys.stderr)
        raise MissingDependency(
            f"{' '.join(command[:4])} ... ended with exit code {finished.returncode}, expected the kernels to compile: "
            "see the compiler's lines above"
        )


def _only(folder: Path, name: str) -> Path:
    (path,) = folder.rglob(name)
    return path
