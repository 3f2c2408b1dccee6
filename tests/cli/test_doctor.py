"""``fade-doctor`` as a user calls it: one row for each thing, the line that mends it, and the exit code."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import fade_deploy
from fade_deploy.api.doctor import doctor
from fade_deploy.diagnosis.row import Row
from fade_deploy.runtimes.native_libraries import NativeLibrary
from tests.command_line import Finished, contents, run_here
from tests.diagnosis.fakes import ABORTS, HANGS, RAISES, Fakes
from tests.diagnosis.test_onnx_file import graph_model, saved

PROGRAM = "from fade_deploy.cli.doctor import main\nmain()\n"


class Called:
    """Calls the command in this process; its probes are processes of their own as ever."""

    def __init__(self, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> None:
        self.patch, self.capture = patch, capture

    def __call__(self, *arguments: Path | str) -> Finished:
        return run_here("fade-doctor", *arguments, patch=self.patch, capture=self.capture)

    def rows(self, *arguments: Path | str) -> dict[str, dict[str, Any]]:
        document = json.loads(self(*arguments, "--json").out)
        return {row["name"]: row for row in document["rows"]}


@pytest.fixture
def fakes(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return Fakes(tmp_path_factory.mktemp("fakes"), monkeypatch)


@pytest.fixture
def native() -> Path:
    """The installed library of native operators."""
    if (path := NativeLibrary.ONNXRUNTIME_CPU.installed) is None:
        pytest.skip(f"{NativeLibrary.ONNXRUNTIME_CPU} is not built: make native (needs a C++ compiler)")
    return path


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Called:
    return Called(monkeypatch, capfd)


def test_this_environment_is_examined_and_passes(called: Called, tmp_path: Path) -> None:
    os.chdir(tmp_path)
    finished = called("--json")
    assert finished.code == 0, finished.out
    document = json.loads(finished.out)
    rows = {row["name"]: row for row in document["rows"]}
    assert document["status"] == "passed"
    assert len(rows) == len(document["rows"])
    for name in ("python", "fade-deploy", "numpy", "torch", "onnx", "onnxscript", "onnxruntime", "onnxruntime on cpu"):
        assert rows[name]["status"] == "ok", rows[name]
    for name, version in (("torch", metadata.version("torch")), ("onnx", onnx.__version__)):
        assert rows[name]["version"] == version
    assert rows["onnxruntime on cpu"]["found"] == "ran the proof model, every number right"
    if NativeLibrary.ONNXRUNTIME_CPU.installed:
        assert rows["operators for cpu"]["status"] == "ok", rows["operators for cpu"]
    assert all(row["remedy"] for row in rows.values() if row["status"] != "ok")
    assert finished.err.splitlines()[-1].startswith("PASSED  this machine  ")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("code", "found", "remedy"),
    [
        (RAISES, "ImportError: libthat.so.1: cannot open shared object file", "pip install --force-reinstall 'torch>="),
        (ABORTS, "ended by SIGABRT: it said nothing", "pip install --force-reinstall 'torch>="),
        (HANGS, "no answer within 3 s", "on a busy machine give it --time-limit 9"),
    ],
    ids=["raises", "aborts", "hangs"],
)
def test_a_broken_package_is_one_row_and_the_rest_is_examined(
    called: Called, fakes: Fakes, code: str, found: str, remedy: str
) -> None:
    fakes.module("torch", code)
    finished = called("--time-limit", "3" if code == HANGS else "60")
    assert finished.code == 1
    lines = finished.out.splitlines()
    assert any("torch" in line and "broken" in line and found in line for line in lines), finished.out
    assert any(line.startswith("torch") and remedy in line for line in lines)
    assert lines[-1].startswith("FAILED  this machine  ")
    assert any("onnx " in line and "checked and evaluated" in line for line in lines) or code == HANGS


def test_versions_out_of_range_and_known_bad_are_faults(called: Called, fakes: Fakes) -> None:
    fakes.module("torch", "__version__ = '2.8.0'\nraise RuntimeError('never mind')\n")
    fakes.distribution("torch", "2.8.0")
    fakes.module("onnxscript", "__version__ = '0.5.7'\n")
    fakes.distribution("onnxscript", "0.5.7")
    fakes.distribution("onnxruntime-gpu", "1.30.0")
    rows = called.rows()
    assert rows["torch"]["status"] == "bad version"
    assert rows["torch"]["found"].startswith("fade-deploy wants >=2.9")
    assert rows["onnxscript"]["status"] == "bad version"
    assert rows["onnxscript"]["thread"] == "https://github.com/ray-project/ray/pull/64410"
    assert rows["onnxruntime"]["status"] == "broken"
    assert "overwrite each other's files" in rows["onnxruntime"]["found"]
    assert "onnxruntime on cpu" not in rows


def test_tensorrt_bindings_without_their_libraries_are_broken(called: Called, fakes: Fakes) -> None:
    fakes.quick_torch()
    fakes.module("tensorrt", "raise ImportError('libnvinfer.so.10: cannot open shared object file')\n")
    fakes.distribution("tensorrt", "10.16.1.11")
    row = called.rows()["tensorrt"]
    assert (row["status"], row["version"]) == ("broken", "10.16.1.11")
    assert "libnvinfer.so.10" in row["found"]


def test_a_wrong_library_is_told(called: Called, fakes: Fakes, native: Path, tmp_path: Path) -> None:
    fakes.quick_torch()
    path = tmp_path / "libfade_tensorrt.so"
    shutil.copy(native, path)
    row = called.rows("--library", path, "--library", native)["libfade_tensorrt.so"]
    assert row["status"] == "broken"
    assert "for ONNX Runtime (--library), not for TensorRT" in row["found"]


# --- a file


def test_a_file_of_ours_loads_with_native_operators(
    called: Called, fakes: Fakes, tiny_onnx: Path, native: Path
) -> None:
    fakes.quick_torch()
    rows = called.rows(tiny_onnx)
    assert rows["tiny.onnx"]["status"] == "ok"
    assert rows["tiny.onnx"]["found"].startswith("opset 18, IR ")
    assert rows["tiny.onnx"]["found"].endswith("; ONNX Runtime 1.20 on")
    loading = rows["tiny.onnx on cpu"]
    assert (loading["status"], loading["found"].rpartition(" ")[2]) == ("ok", "native")


def test_a_file_without_bodies_and_without_its_operators_is_broken(
    called: Called, fakes: Fakes, tmp_path: Path
) -> None:
    fakes.quick_torch()
    node = helper.make_node("FadeOfTomorrow", ["x"], ["y"], domain="fade")
    model = graph_model([node])
    model.opset_import.append(helper.make_opsetid("fade", 1))
    row = called.rows(saved(tmp_path, model))["model.onnx on cpu"]
    assert row["status"] == "broken"
    assert row["found"].endswith("was exported without its function bodies")
    assert row["remedy"].startswith("export it again with fade-export")


def test_a_file_that_is_too_new_for_this_onnxruntime_says_so(called: Called, fakes: Fakes, tmp_path: Path) -> None:
    fakes.quick_torch()
    model = graph_model([helper.make_node("Relu", ["x"], ["y"])])
    model.ir_version = 99
    row = called.rows(saved(tmp_path, model))["model.onnx on cpu"]
    assert row["status"] == "broken"
    assert "has ONNX IR version 99, onnxruntime" in row["found"] + row["remedy"]


def test_what_a_file_meets_on_an_installed_tensorrt_is_a_fault(called: Called, fakes: Fakes, tmp_path: Path) -> None:
    fakes.quick_torch()
    fakes.module("tensorrt", "__version__ = '11.2.1.2'\nraise ImportError('libnvinfer.so.11')\n")
    fakes.distribution("tensorrt", "11.2.1.2")
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="depthwise", group=4)
    weight = {"w": np.zeros((4, 1, 1, 1), np.float16)}
    model = graph_model([node], initializers=weight, dtype=onnx.TensorProto.FLOAT16)
    row = called.rows(saved(tmp_path, model))["model.onnx with tensorrt"]
    assert (row["status"], row["version"]) == ("bad version", "11.2.1.2")
    assert row["thread"] == "https://github.com/NVIDIA/TensorRT/issues/4838"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["nowhere.onnx"], "nowhere.onnx can't be read (No such file or directory), expected an .onnx file"),
        (["notes.txt"], "notes.txt is not ONNX or is truncated"),
        (["--library", "nowhere.so"], "--library nowhere.so can't be read (No such file or directory), expected"),
        (["--time-limit", "0"], "Input should be greater than or equal to 1"),
        (["one", "two"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_is_one_line_and_examines_nothing(
    called: Called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: list[str], expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("this is no model\n")
    finished = called(*arguments)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("FAILED  ")
    assert finished.err.count("\n") == 1
    assert expected in finished.err


# --- the library, and the least installation


def test_the_library_gives_the_same_rows(called: Called, fakes: Fakes) -> None:
    fakes.quick_torch()
    diagnosis = doctor()
    assert all(isinstance(row, Row) for row in diagnosis.rows)
    document = json.loads(called("--json").out)
    assert document["rows"] == [json.loads(json.dumps(asdict(row))) for row in diagnosis.rows]


def without_extras(*names: str) -> list[metadata.Distribution]:
    """These distributions and all that they need."""
    found: dict[str, metadata.Distribution] = {}
    names_left = list(names)
    while names_left:
        name = canonicalize_name(names_left.pop())
        if name not in found:
            found[name] = metadata.distribution(name)
            needed = [Requirement(line) for line in found[name].requires or ()]
            names_left += [need.name for need in needed if not need.marker or need.marker.evaluate({"extra": ""})]
    return list(found.values())


def test_with_the_least_installed_the_rest_is_missing_and_nothing_is_broken(tmp_path: Path) -> None:
    """No torch, no onnx, no onnxruntime: an environment of links to what this package itself needs."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "checkout.pth").write_text(f"{Path(fade_deploy.__file__).parents[1]}\n")
    for distribution in without_extras("fade-deploy", "packaging"):
        for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            source = Path(str(distribution.locate_file(name)))
            if name != "fade_deploy" and (source.is_dir() or source.suffix == ".py"):
                (site / name).symlink_to(source)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    told = subprocess.run(
        [python, "-c", PROGRAM, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120
    )
    assert told.returncode == 0, told.stdout + told.stderr
    rows = {row["name"]: row for row in json.loads(told.stdout)["rows"]}
    for name in ("torch", "onnx", "onnxscript", "polygraphy", "safetensors", "onnxruntime", "tensorrt", "tensorrt-rtx"):
        assert rows[name]["status"] == "missing", rows[name]
    assert rows["onnxruntime"]["remedy"] == "pip install 'fade-deploy[ort-cpu]'"
    assert "onnxruntime on cpu" not in rows
    assert rows["numpy"]["status"] == "ok"
