"""Native libraries: found out by their names, and told apart from other people's and of other versions."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fade_deploy.diagnosis.child import Answer, ask
from fade_deploy.diagnosis.library_kind import Kind, entry_points, kind_of
from fade_deploy.diagnosis.library_rows import given_library_row, installed_library_row, missing_library_row
from fade_deploy.diagnosis.row import Row, Status
from fade_deploy.runtimes.native_libraries import NativeLibrary
from tests.diagnosis.fakes import compiled

OF_OTHERS = """
#include <stdint.h>
struct Base { void const* (*GetApi)(uint32_t); char const* (*GetVersionString)(void); };
void* RegisterCustomOps(void* options, struct Base const* base) { return (void*)base->GetApi(25); }
"""
OF_OURS = """
int fade_onnxruntime_version(void) {{ return {version}; }}
char const* fade_onnxruntime_operators(void) {{ return "{operators}"; }}
void* RegisterCustomOps(void* options, void* base) {{ return 0; }}
"""
PLUGIN = "int getCreators(int* count) { *count = 0; return 0; }\nvoid setLoggerFinder(void* finder) {}\n"
OUR_PLUGIN = PLUGIN + (
    "int fade_tensorrt_version(void) { return 1; }\nint fade_tensorrt_headers(void) { return 101600; }\n"
    'char const* fade_tensorrt_operators(void) { return ""; }\n'
)
ABORTING = "#include <stdlib.h>\n__attribute__((constructor)) static void start(void) { abort(); }\n" + OF_OURS.format(
    version=1, operators=""
)


def examined(path: Path, *, ran: Answer | None = None, runtime_version: str = "1.31.1") -> Row:
    return given_library_row(path, ask("library", limit=30, path=str(path)), ran, runtime_version=runtime_version)


def test_the_installed_library_is_proven_by_a_session(native: Path) -> None:
    loaded = ask("library", limit=30, path=str(native))
    assert loaded.facts["api_level"] == 18  # of plugins/onnxruntime/ort_api.h
    ran = ask("operators", limit=60, provider="cpu", path=str(native))
    assert ran.facts == {"works": True}
    row = installed_library_row(NativeLibrary.ONNXRUNTIME_CPU, native, loaded, ran, runtime_version="1.31.1")
    assert row.status is Status.OK
    assert row.found.startswith("FadeReassemble, FadeUpsample, ")
    assert "API level 18 (ONNX Runtime 1.18 on)" in row.found
    assert row.found.endswith("ran the proof model as its body does")


def test_a_runtime_that_is_older_than_its_interface_is_a_bad_version(native: Path) -> None:
    row = examined(native, runtime_version="1.17.3")
    assert row.status is Status.BAD_VERSION
    assert row.found == "it wants ONNX Runtime 1.18 or newer (API level 18), here is 1.17.3"


def test_the_onnxruntime_library_under_the_plugins_name_is_told(native: Path, tmp_path: Path) -> None:
    path = tmp_path / NativeLibrary.TENSORRT
    shutil.copy(native, path)
    row = examined(path)
    assert row.status is Status.BROKEN
    assert row.found.endswith(
        "is fade-deploy's operators for ONNX Runtime on the CPU, for ONNX Runtime (--library), not for TensorRT"
    )


@pytest.mark.parametrize(
    ("source", "kind", "usage"),
    [
        (OF_OTHERS, Kind.OTHER_ONNXRUNTIME, "for ONNX Runtime (--library), not for TensorRT"),
        (PLUGIN, Kind.OTHER_TENSORRT, "for TensorRT (--plugin, trtexec --dynamicPlugins), not for ONNX Runtime"),
        ("int nothing(void) { return 0; }\n", Kind.OTHER_LIBRARY, "for neither ONNX Runtime nor TensorRT"),
    ],
)
def test_a_library_of_others_is_told_from_ours(tmp_path: Path, source: str, kind: Kind, usage: str) -> None:
    path = compiled(source, tmp_path / "libtheirs.so")
    assert kind_of(path) is kind
    row = examined(path)
    assert (row.status, row.name) == (Status.BROKEN, "libtheirs.so")
    assert row.found.startswith(f"{kind}, {usage}")
    assert "libfade_tensorrt.so" in row.remedy


def test_our_plugin_is_known_without_tensorrt(tmp_path: Path) -> None:
    path = compiled(OUR_PLUGIN, tmp_path / "libfade_tensorrt.so")
    assert kind_of(path) is Kind.TENSORRT
    row = examined(path)
    assert row.status is Status.OK
    assert "built for TensorRT 10.16" in row.found
    assert row.found.endswith("for TensorRT (--plugin, trtexec --dynamicPlugins), not for ONNX Runtime")


def test_the_interface_that_a_library_of_others_wants_is_asked_without_giving_one(tmp_path: Path) -> None:
    path = compiled(OF_OTHERS, tmp_path / "libtheirs.so")
    assert ask("library", limit=30, path=str(path)).facts["api_level"] == 25


@pytest.mark.parametrize(
    ("version", "operators", "found"),
    [
        (0, "", "its operators are of version 0, expected 1"),
        (2, "", "its operators are of version 2, expected 1"),
        (1, "FadeReassemble features:[N,C] -> [N,C]", "it was built from another contract: 'FadeReassemble features:"),
    ],
)
def test_a_library_of_another_version_is_a_bad_version(
    tmp_path: Path, version: int, operators: str, found: str
) -> None:
    path = compiled(OF_OURS.format(version=version, operators=operators), tmp_path / "libfade_onnxruntime.so")
    row = examined(path)
    assert row.status is Status.BAD_VERSION
    assert row.found.startswith(found)
    assert row.remedy.startswith("build it again")


def test_a_library_that_aborts_while_it_is_loaded_is_broken(tmp_path: Path) -> None:
    path = compiled(ABORTING, tmp_path / "libfade_onnxruntime.so")
    row = examined(path)
    assert row.status is Status.BROKEN
    assert "can't be loaded (ended by SIGABRT" in row.found


def test_a_library_that_is_cut_short_is_broken(native: Path, tmp_path: Path) -> None:
    path = tmp_path / "libfade_onnxruntime.so"
    path.write_bytes(native.read_bytes()[:100_000])
    row = examined(path)
    assert row.status is Status.BROKEN


@pytest.mark.parametrize("content", [b"", b"not a library\n", b"\0RegisterCustomOps\0"])
def test_what_is_no_library_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "libfade_onnxruntime.so"
    path.write_bytes(content)
    row = examined(path)
    assert row.status is Status.BROKEN
    assert row.found.startswith("no library of this kind of machine, for neither")


def test_a_session_that_can_not_use_it_is_the_rows_fault(native: Path) -> None:
    row = examined(native, ran=Answer(facts={}, fault="p can't be loaded by onnxruntime (why), expected a, b: mend it"))
    assert (row.status, row.found) == (Status.BROKEN, "p can't be loaded by onnxruntime (why)")
    assert row.remedy == "mend it"


@pytest.mark.parametrize("library", NativeLibrary)
def test_one_that_was_not_built_is_missing_and_says_what_building_needs(library: NativeLibrary) -> None:
    row = missing_library_row(library)
    assert row.status is Status.MISSING
    assert str(library) in row.found
    assert "pip install" in row.remedy


def test_names_are_whole_names(tmp_path: Path) -> None:
    path = tmp_path / "libthat.so"
    path.write_bytes(b"\x7fELF\0MyRegisterCustomOps\0getCreatorsOfMine\0")
    assert entry_points(path) == ()
