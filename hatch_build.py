"""Builds the native operators while the package is built, where there is a C++ compiler.

Into the wheel they go as ``fade_deploy/_native``; for an editable installation into that folder of the checkout.
Without a compiler one line says how to get one, and the package is pure Python: every model runs in standard operators
too. The environment variable FADE_NATIVE decides otherwise: 0 never builds them, 1 makes their absence an error.

On a machine with an NVIDIA GPU and a CUDA compiler the library for that GPU is built too. FADE_CUDA decides otherwise:
0 never builds it, 1 builds it for every GPU, on a machine that needs none (minutes), and makes its absence an error.
Where that is built and TENSORRT_ROOT names TensorRT's headers, so is the library of TensorRT plugins.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

LIBRARY = "libfade_onnxruntime.so"
LIBRARIES = "libfade_*.so"
PLACE = "fade_deploy/_native"
LOWEST_CMAKE = (3, 25)
# What the sources ask of a compiler: C++17 with its library, and vectors that convert lane by lane.
PROBE = """
#include <optional>
typedef float Vector __attribute__((vector_size(16)));
typedef int Integers __attribute__((vector_size(16)));
template <typename T> std::optional<T> whole(Vector v) { if constexpr (true) return __builtin_convertvector(v, T); }
template std::optional<Integers> whole(Vector);
"""
# What the library is built from.
SOURCES = (
    "CMakeLists.txt",
    "cmake",
    "plugins/CMakeLists.txt",
    "plugins/contract",
    "plugins/onnxruntime",
    "plugins/reassemble",
    "plugins/tensorrt",
)


class NativeBuildHook(BuildHookInterface):
    """Hatchling's custom build hook."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """CMake and Ninja from the package registry, where the machine has none of its own."""
        if switch("FADE_NATIVE") is False or obstacle():
            return []
        lowest = ".".join(map(str, LOWEST_CMAKE))
        missing_cmake = [] if system_cmake() else [f"cmake>={lowest}"]
        return missing_cmake + ([] if shutil.which("ninja") or shutil.which("make") else ["ninja"])

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and hand the library to the wheel or to the checkout."""
        if switch("FADE_NATIVE") is False:
            self._leave_out(version)
            return
        reason = obstacle() or (None if cmake() else "CMake is not installed: pip install cmake ninja")
        if reason is not None:
            if switch("FADE_NATIVE"):
                raise SystemExit(f"FADE_NATIVE=1, and the native operators can't be built: {reason}")
            self.app.display_warning(
                f"native operators: not built, {reason}; everything runs in standard operators instead, slower"
            )
            self._leave_out(version)
            return
        if version == "editable":
            update(Path(self.root))
            return
        for library in self._built():
            build_data["force_include"][str(library)] = f"{PLACE}/{library.name}"
        build_data["pure_python"] = False
        # No Python interface is used, so any Python 3 loads it. The C library it needs is this machine's.
        build_data["tag"] = "py3-none-" + re.sub(r"[-.]", "_", sysconfig.get_platform())

    def _leave_out(self, version: str) -> None:
        """What an earlier installation has left in a checkout would be loaded, whatever its sources were."""
        if version == "editable":
            shutil.rmtree(Path(self.root) / PLACE, ignore_errors=True)

    def _built(self) -> list[Path]:
        # pip has hatchling build the whole wheel for its metadata, and again for itself: between the two the library
        # waits in a folder of pip's own that ends with it.
        if pips := os.environ.get("PIP_BUILD_TRACKER"):
            folder = Path(pips, f"fade_native_{digest_of(Path(self.root))}")
            return installed(folder) or build(Path(self.root), folder)
        self._folder = tempfile.TemporaryDirectory(prefix="fade_native_")
        return build(Path(self.root), Path(self._folder.name))

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written: what it was built in can go."""
        if folder := getattr(self, "_folder", None):
            folder.cleanup()


def switch(variable: str) -> bool | None:
    """What an environment variable says: True for 1, False for 0, None where it is not set."""
    if (value := os.environ.get(variable, "")) not in ("", "0", "1"):
        raise SystemExit(f"{variable} is '{value}', expected 0 (never), 1 (or fail), or nothing (where possible)")
    return bool(int(value)) if value else None


def obstacle() -> str | None:
    """What stands in the way and how to remove it; None where nothing does."""
    if sys.platform not in ("linux", "darwin"):
        return f"they are not written for {sys.platform} yet (Linux and macOS)"
    if compiler() is None:
        return (
            "no C++ compiler was found (Debian, Ubuntu: apt-get install g++; macOS: xcode-select --install; or set CXX)"
        )
    if complaint := complaint_of_compiler():
        return (
            f"{compiler()} does not compile what they need ({complaint}); expected g++ 9 or newer or a recent "
            "clang++, with a C++17 library (Debian, Ubuntu: apt-get install g++; or set CXX to another one)"
        )
    return None


def compiler() -> str | None:
    """CXX, or the first compiler on the PATH."""
    if named := os.environ.get("CXX"):
        return shutil.which(named.split()[0])
    return next((found for name in ("c++", "g++", "clang++") if (found := shutil.which(name))), None)


def complaint_of_compiler() -> str:
    """Its first error about ``PROBE``; nothing where it compiles."""
    named = shlex.split(os.environ.get("CXX", ""))[1:]
    command = [str(compiler()), *named, "-std=c++17", "-fsyntax-only", "-x", "c++", "-"]
    finished = subprocess.run(command, input=PROBE, capture_output=True, text=True, check=False)
    if finished.returncode == 0:
        return ""
    told = finished.stderr.strip().splitlines()
    return next((line for line in told if "error" in line), told[0] if told else f"exit code {finished.returncode}")


def system_cmake() -> str | None:
    """A CMake on the PATH that is new enough."""
    if (path := shutil.which("cmake")) is None:
        return None
    told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", told)
    return path if found and (int(found[1]), int(found[2])) >= LOWEST_CMAKE else None


def cmake() -> str | None:
    """The machine's, or the one that ``dependencies`` asked for (its folder is on the PATH of a build)."""
    return system_cmake() or shutil.which("cmake", path=sysconfig.get_path("scripts"))


def build(root: Path, folder: Path) -> list[Path]:
    """Configure, compile and install below ``folder``; the paths of the libraries there."""
    generator = ["-G", "Ninja"] if shutil.which("ninja") else []
    built = str(folder / "build")
    steps = (
        ["-S", str(root), "-B", built, *generator, "-DCMAKE_BUILD_TYPE=Release", *cuda_options()],
        ["--build", built, "--config", "Release", "--parallel", str(min(os.cpu_count() or 1, 8))],
        # Last, so that a library is there only when all of them are.
        ["--install", built, "--prefix", str(folder / "installed"), "--component", "fade", "--strip"],
    )
    for step in steps:
        finished = subprocess.run([str(cmake()), *step], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if finished.returncode:
            raise SystemExit(
                f"{finished.stdout}\nnative operators: cmake {step[0]} failed, see above; "
                "FADE_NATIVE=0 installs without them, FADE_CUDA=0 without those for GPUs"
            )
    return installed(folder)


def tensorrt_includes() -> list[Path]:
    """Where TensorRT's headers may be, by TENSORRT_ROOT."""
    named = os.environ.get("TENSORRT_ROOT")
    return [Path(named).resolve(), Path(named).resolve() / "include"] if named else []


def cuda_options() -> list[str]:
    """Which GPUs to build for, if any, and whether for TensorRT too."""
    tensorrt = [f"-DTENSORRT_ROOT={folder}" for folder in tensorrt_includes()[:1]]
    match switch("FADE_CUDA"):
        case False:
            return ["-DFADE_CUDA=OFF", "-DFADE_REQUIRE=onnxruntime"]
        case True:
            required = "onnxruntime;cuda" + (";tensorrt" if tensorrt else "")
            return ["-DFADE_CUDA=ON", f"-DFADE_REQUIRE={required}", *tensorrt]
    nvidia = shutil.which("nvidia-smi")
    if nvidia and subprocess.run([nvidia, "-L"], capture_output=True, check=False).returncode == 0:
        # Headers that somebody named are not left out in silence; a compiler that nobody asked for may be missing.
        required = "onnxruntime" + (";tensorrt" if tensorrt and shutil.which("nvcc") else "")
        return ["-DFADE_CUDA=ON", "-DCMAKE_CUDA_ARCHITECTURES=native", f"-DFADE_REQUIRE={required}", *tensorrt]
    return ["-DFADE_CUDA=OFF", "-DFADE_REQUIRE=onnxruntime"]


def installed(folder: Path) -> list[Path]:
    """What ``build`` has left there."""
    return sorted((folder / "installed").glob(LIBRARIES))


def update(root: Path) -> None:
    """Build into the checkout, unless what lies there was built of the same sources by the same compiler."""
    place = root / PLACE
    stamp = place / "built_from"
    digest = digest_of(root)
    if (place / LIBRARY).is_file() and stamp.is_file() and stamp.read_text() == digest:
        return
    place.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fade_native_") as folder:
        built = build(root, Path(folder))
        for library in built:
            # Under its name only when whole, and never written into while a process runs it.
            Path(shutil.copy(library, place / f"{library.name}.new")).replace(place / library.name)
    for library in place.glob(LIBRARIES):
        if library.name not in {made.name for made in built}:
            library.unlink()
    stamp.write_text(digest)


def digest_of(root: Path) -> str:
    """Of every source, of what the compiler says it is, and of what is asked for."""
    told = subprocess.run([str(compiler()), "--version"], capture_output=True, check=False).stdout
    digest = hashlib.sha256(told + repr((cuda_options(), shutil.which("nvcc"))).encode())
    for source in SOURCES:
        paths = sorted((root / source).rglob("*")) if (root / source).is_dir() else [root / source]
        for path in paths:
            if path.is_file():
                digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    for folder in tensorrt_includes():
        if (version := folder / "NvInferVersion.h").is_file():
            digest.update(version.read_bytes())
    return digest.hexdigest()
