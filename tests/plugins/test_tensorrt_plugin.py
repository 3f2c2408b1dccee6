"""The TensorRT library, compiled with the headers that TENSORRT_ROOT names: its harness, and under TensorRT-RTX."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fade_deploy import contract
from fade_deploy.runtimes.native_libraries import NativeLibrary

ROOT = Path(__file__).parents[2]
BUILT = ROOT / "build" / "tensorrt"
HOW = "TENSORRT_ROOT is not set: name the folder of TensorRT's headers (10.15 or newer), which no package on PyPI has"


def run(*command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def required(tool: str) -> str:
    if (found := shutil.which(tool)) is None:
        pytest.skip(f"{tool} is not installed")
    return found


@pytest.fixture(scope="module")
def library() -> Path:
    """Built as `make trt-compile` builds it, warnings as errors; minutes where the kernels are not compiled yet."""
    headers = os.environ.get("TENSORRT_ROOT") or pytest.skip(HOW)
    cmake = required("cmake")
    required("nvcc")
    for step in (
        ["--preset", "tensorrt", f"-DTENSORRT_ROOT={Path(headers).resolve()}"],
        ["--build", "--preset", "tensorrt"],
    ):
        finished = run(cmake, *step)
        assert finished.returncode == 0, finished.stdout
    return BUILT / "plugins" / "tensorrt" / NativeLibrary.TENSORRT


@pytest.mark.slow
def test_the_harness_passes(library):
    finished = run(BUILT / "plugins" / "tests" / "fade_tensorrt_harness", library)
    print(finished.stdout.splitlines()[-1])
    assert finished.returncode == 0, "\n".join(line for line in finished.stdout.splitlines() if "FAIL" in line)
    assert re.search(r"^PASSED: \d\d\d checks, 0 failed", finished.stdout, re.MULTILINE)


@pytest.mark.slow
def test_the_library_and_the_contract_are_one(library):
    content = ctypes.CDLL(str(library))
    content.fade_tensorrt_operators.restype = ctypes.c_char_p
    assert content.fade_tensorrt_operators().decode().splitlines() == [
        " ".join(
            [
                operator.name,
                *(f"{name}:{shape}" for name, shape in operator.inputs),
                f"-> {operator.output}",
                *(f"{name}={value}" for name, value in operator.attributes),
            ]
        )
        for operator in contract.OPERATORS
        if operator is not contract.HEAD  # lowered before TensorRT sees it
    ]
    assert content.fade_tensorrt_version() == contract.VERSION
    assert content.fade_tensorrt_headers() >= 101500


@pytest.mark.slow
def test_it_needs_no_library_of_tensorrt_or_cuda_and_exports_its_entries_only(library):
    told = run(required("readelf"), "-d", library).stdout
    needed = set(re.findall(r"NEEDED.*\[([\w+-]*)", told))
    assert needed <= {"libm", "libc", "libdl", "librt", "libpthread", "ld-linux-x86-64", "ld-linux-aarch64"}
    exported = re.findall(r" [TDBVWR] (\w+)", run(required("nm"), "-D", "--defined-only", library).stdout)
    assert set(exported) == {
        "getCreators", "setLoggerFinder", "fade_tensorrt_version", "fade_tensorrt_operators", "fade_tensorrt_headers",
    }  # fmt: skip


@pytest.mark.slow
def test_tensorrt_rtx_loads_it_and_builds_with_it(library):
    python = os.environ.get("TRT_PYTHON", sys.executable)
    if python == sys.executable and importlib.util.find_spec("tensorrt_rtx") is None:
        pytest.skip(
            "tensorrt-rtx is not installed (pip install tensorrt-rtx), nor does TRT_PYTHON name a Python with it"
        )
    finished = run(python, ROOT / "tests" / "plugins" / "drive_tensorrt_rtx.py", library)
    print(finished.stdout.splitlines()[-1])
    assert finished.returncode == 0, "\n".join(line for line in finished.stdout.splitlines() if "ok  " not in line)


@pytest.fixture(scope="module")
def configure(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """CMake, always in the same folder: looking for the compilers takes longer than all the rest."""
    command = (required("cmake"), "-S", ROOT, "-B", tmp_path_factory.mktemp("build"))
    required("nvcc")
    return lambda headers, needed: run(*command, f"-DTENSORRT_ROOT={headers}", f"-DFADE_REQUIRE={needed}")


def test_without_headers_cmake_says_what_is_skipped_and_how_to_get_them(configure):
    finished = configure(headers="", needed="")
    assert finished.returncode == 0, finished.stdout
    (line,) = [line for line in finished.stdout.splitlines() if "tensorrt: skipped" in line]
    assert "no headers of TensorRT: set TENSORRT_ROOT" in line
    assert "github.com/NVIDIA/TensorRT" in line
    finished = configure(headers="", needed="tensorrt")
    assert finished.returncode != 0
    assert "tensorrt: can't be built, no headers of TensorRT" in " ".join(finished.stdout.split())


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no NvInferRuntime.h in"),
        ({"NvInferRuntime.h": ""}, "is of TensorRT of unknown version, expected 10.15 or newer"),
        ({"include/NvInferRuntime.h": "", "include/NvInferVersion.h": "#define TRT_MAJOR_ENTERPRISE 10\n"
          "#define TRT_MINOR_ENTERPRISE 14\n#define NV_TENSORRT_MAJOR TRT_MAJOR_ENTERPRISE\n"},
         "is of TensorRT 10.14, expected 10.15 or newer"),
        ({"NvInferRuntime.h": "", "NvInferVersion.h": "#define NV_TENSORRT_MAJOR 8 //!< TensorRT major version.\n"
          "#define NV_TENSORRT_MINOR 6 //!< TensorRT minor version.\n"}, "is of TensorRT 8.6, expected"),
    ],
    ids=["empty", "no version", "10.14", "8.6"],
)  # fmt: skip
def test_other_headers_are_refused_by_name(configure, tmp_path, files, told):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    finished = configure(headers=tmp_path, needed="tensorrt")
    assert finished.returncode != 0
    assert told in " ".join(finished.stdout.split())


def test_the_make_target_says_what_it_lacks():
    finished = run(required("make"), "trt-compile", "TENSORRT_ROOT=")
    assert finished.returncode == 2
    assert "trt-compile: TENSORRT_ROOT is not set, expected the folder of TensorRT's headers" in finished.stdout
