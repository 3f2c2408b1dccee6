"""What `pip` makes of the sources: with a compiler, without one, and in a checkout. Needs the package registry."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from fade_deploy.runtimes.native_libraries import NativeLibrary

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BUILT_FROM = (
    "fade_deploy", "export", "plugins", "cmake", "CMakeLists.txt", "hatch_build.py", "pyproject.toml", "README.md",
    "LICENSE", ".gitignore",
)  # fmt: skip
LIBRARY = f"fade_deploy/_native/{NativeLibrary.ONNXRUNTIME_CPU}"
COMPILER = ("c++", "g++", "gcc", "as", "ld", "ar", "ranlib", "strip", "uname", "sh")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "_native")
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder)
    return folder


def tools(folder: Path, *names: str) -> str:
    """A PATH with these and nothing else."""
    folder.mkdir()
    for name in names:
        if found := shutil.which(name):
            (folder / name).symlink_to(found)
    return str(folder)


def pip(
    *arguments: Path | str, native: str = "", path: str | None = None, compiler: Path | None = None
) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in ("CXX", "FADE_NATIVE", "FADE_CUDA")}
    environment |= {"FADE_NATIVE": native, "FADE_CUDA": "0"} | ({} if path is None else {"PATH": path})
    environment |= {} if compiler is None else {"CXX": str(compiler)}
    command = [sys.executable, "-m", "pip", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture
def quick_compiler(tmp_path: Path) -> Path:
    """One that doesn't optimise, for what is not about the code: a build takes a fraction of the time."""
    script = tmp_path / "quick-c++"
    script.write_text(f'#!/bin/sh\nexec {shutil.which("c++") or shutil.which("g++")} "$@" -O0\n')
    script.chmod(0o755)
    return script


def wheel(checkout: Path, **how: Any) -> tuple[str, zipfile.ZipFile]:
    """The name of the wheel and its content."""
    target = checkout.parent / "wheels"
    finished = pip("wheel", "--no-deps", "--wheel-dir", target, checkout, **how)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    (path,) = target.iterdir()
    return path.name, zipfile.ZipFile(path)


@pytest.mark.parametrize("cmake", ["the machine's", "from the registry"])
def test_with_a_compiler_the_wheel_holds_the_library_for_any_python_on_this_platform(
    checkout, tmp_path, cmake, quick_compiler
):
    how = {}
    if cmake == "from the registry":
        how = {"path": tools(tmp_path / "bin", *COMPILER), "compiler": quick_compiler}
    name, content = wheel(checkout, native="1", **how)
    assert re.fullmatch(r"fade_deploy-[\d.]+-py3-none-(linux|macosx)_\w+\.whl", name)
    assert LIBRARY in content.namelist()
    assert not [name for name in content.namelist() if name.startswith(("plugins", "cmake"))]
    assert not (checkout / "fade_deploy" / "_native").exists()
    assert not (checkout / "build").exists()
    library = tmp_path / NativeLibrary.ONNXRUNTIME_CPU
    library.write_bytes(content.read(LIBRARY))
    if readelf := shutil.which("readelf"):
        told = subprocess.run([readelf, "-d", library], capture_output=True, text=True, check=True).stdout
        # What every Linux has: not the compiler's own C++ library, which a host's may be older than.
        assert set(re.findall(r"NEEDED.*\[(\w[\w+-]*)", told)) <= {
            "libm",
            "libc",
            "ld-linux-x86-64",
            "ld-linux-aarch64",
        }


def test_without_a_compiler_the_wheel_is_pure_and_a_line_says_what_to_install(checkout, tmp_path):
    finished = pip(
        "wheel", "-v", "--no-deps", "--wheel-dir", tmp_path / "wheels", checkout, path=tools(tmp_path / "bin")
    )
    assert finished.returncode == 0, finished.stderr
    told = [line for line in (finished.stdout + finished.stderr).splitlines() if "native operators: not built" in line]
    assert told
    assert "apt-get install g++" in told[0]
    assert "standard operators" in told[0]
    (path,) = (tmp_path / "wheels").iterdir()
    assert path.name.endswith("-py3-none-any.whl")
    assert LIBRARY not in zipfile.ZipFile(path).namelist()


def test_zero_never_builds_them(checkout):
    name, content = wheel(checkout, native="0")
    assert name.endswith("-py3-none-any.whl")
    assert LIBRARY not in content.namelist()


def test_one_is_an_error_without_a_compiler(checkout, tmp_path):
    path = tools(tmp_path / "bin")
    finished = pip("wheel", "--no-deps", "--wheel-dir", tmp_path / "wheels", checkout, native="1", path=path)
    assert finished.returncode != 0
    assert "FADE_NATIVE=1, and the native operators can't be built: no C++ compiler was found" in finished.stderr


def test_a_compiler_that_lacks_what_they_need_is_as_good_as_none(checkout, tmp_path):
    path = tools(tmp_path / "bin", "sh")
    old = Path(path, "g++")
    old.write_text("#!/bin/sh\necho 'error: unrecognized option -std=c++17' >&2\nexit 1\n")
    old.chmod(0o755)
    finished = pip("wheel", "-v", "--no-deps", "--wheel-dir", tmp_path / "wheels", checkout, path=path)
    assert finished.returncode == 0, finished.stderr
    (told,) = {
        line.strip()
        for line in (finished.stdout + finished.stderr).splitlines()
        if "native operators: not built" in line
    }
    assert "error: unrecognized option -std=c++17" in told
    assert "expected g++ 9 or newer" in told
    (made,) = (tmp_path / "wheels").iterdir()
    assert made.name.endswith("-py3-none-any.whl")


def test_a_compiler_error_is_told_with_the_way_around_it(checkout, tmp_path, quick_compiler):
    (checkout / "plugins" / "onnxruntime" / "cpu.cpp").write_text("#error broken\n")
    finished = pip("wheel", "--no-deps", "--wheel-dir", tmp_path / "wheels", checkout, compiler=quick_compiler)
    assert finished.returncode != 0
    assert "#error broken" in finished.stderr
    assert "FADE_NATIVE=0 installs without them" in finished.stderr


def test_an_editable_installation_builds_into_the_checkout_once(checkout, tmp_path, quick_compiler):
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = str(tmp_path / "venv" / "bin" / "python")

    def install(native: str = "1") -> Path:
        arguments = ("--python", python, "install", "--quiet", "--no-deps", "-e", checkout)
        finished = pip(*arguments, native=native, compiler=quick_compiler)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        return checkout / LIBRARY

    first = install().stat()
    again = install().stat()
    assert (again.st_ino, again.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    with (checkout / "plugins" / "onnxruntime" / "cpu.cpp").open("a") as source:
        source.write("// changed\n")
    other = checkout / "fade_deploy" / "_native" / "libfade_of_before.so"
    other.write_bytes(b"of other sources")
    assert install().stat().st_ino != first.st_ino
    told = subprocess.run(
        [python, "-c", "from fade_deploy.runtimes.native_libraries import *\n"
         "print(library_for('auto', NativeLibrary.ONNXRUNTIME_CPU))"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    ).stdout  # fmt: skip
    assert told.strip() == str(checkout.resolve() / LIBRARY)
    assert not other.exists()
    assert not install(native="0").parent.exists()


def test_the_source_distribution_holds_every_source_and_no_build(checkout, tmp_path):
    place = checkout / "fade_deploy" / "_native"
    place.mkdir()
    (place / NativeLibrary.ONNXRUNTIME_CPU).write_bytes(b"a build")
    build = [sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path / "sdist", checkout]
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    build[0] = str(tmp_path / "venv" / "bin" / "python")
    subprocess.run([build[0], "-m", "pip", "install", "--quiet", "build"], check=True)
    subprocess.run(build, check=True, capture_output=True)
    (path,) = (tmp_path / "sdist").iterdir()
    with tarfile.open(path) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames()}
    sources = {
        str(file.relative_to(ROOT))
        for folder in ("plugins", "cmake")
        for file in (ROOT / folder).rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    assert sources | {"CMakeLists.txt", "hatch_build.py"} <= names
    assert LIBRARY not in names
