"""Which library is loaded, from where, and what is said where it can't be."""

from __future__ import annotations

import os
from pathlib import Path

import onnxruntime
import pytest

from fade_deploy.errors import InputError
from fade_deploy.runtimes import native_libraries
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary, library_for, register

CPU = NativeLibrary.ONNXRUNTIME_CPU


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty installation's folder of libraries."""
    folder = tmp_path / "package" / "_native"
    folder.mkdir(parents=True)
    monkeypatch.setattr(native_libraries, "_FOLDER", folder)
    return folder


def test_the_folder_is_inside_the_package() -> None:
    import fade_deploy

    assert Path(fade_deploy.__file__).parent / "_native" == native_libraries._FOLDER


@pytest.mark.parametrize("library", NativeLibrary)
def test_automatic_is_the_installed_one_or_none(installation: Path, library: NativeLibrary) -> None:
    assert library_for(AUTOMATIC, library) is None
    (installation / library).write_bytes(b"")
    assert library_for(AUTOMATIC, library) == installation / library
    assert library_for(NONE, library) is None


def test_neither_the_current_folder_nor_the_loaders_path_is_searched(
    installation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / CPU).write_bytes(b"")
    monkeypatch.chdir(elsewhere)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(elsewhere))
    assert library_for(AUTOMATIC, CPU) is None


def test_a_given_path_is_made_absolute_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "real.so").write_bytes(b"")
    (tmp_path / "link.so").symlink_to("real.so")
    monkeypatch.chdir(tmp_path)
    assert library_for("link.so", CPU) == (tmp_path / "real.so").resolve()
    assert library_for(Path("./real.so"), CPU) == (tmp_path / "real.so").resolve()


@pytest.mark.parametrize(
    ("given", "fault"),
    [("missing.so", "is not there"), ("", "is not a file"), (".", "is not a file"), ("loop", "is not there"),
     ("pipe", "is not a file"), ("file/x", "is not there")],
)  # fmt: skip
def test_a_path_that_is_no_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str, fault: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=f"--library {given} {fault}, expected the path of libfade_onnxruntime.so"):
        library_for(given, CPU)


@pytest.mark.parametrize("content", [b"", b"text", b"\x7fELF" + bytes(60)], ids=["empty", "text", "truncated"])
def test_a_file_that_is_no_library_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "wrong.so"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"wrong\.so can't be loaded by onnxruntime .*expected a library") as error:
        register(onnxruntime.SessionOptions(), path)
    assert "\n" not in str(error.value)


def test_another_library_is_refused(tmp_path: Path) -> None:
    other = next(path for path in Path(onnxruntime.__file__).parent.rglob("*.so*") if "providers_shared" in path.name)
    with pytest.raises(InputError, match="can't be loaded by onnxruntime"):
        register(onnxruntime.SessionOptions(), other)
