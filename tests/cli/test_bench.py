"""``fade-bench`` as a user calls it."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from fade_deploy.api.bench.options import BenchOptions
from fade_deploy.cli import bench as command
from tests.command_line import contents, run, run_here

ARGUMENTS = ("--shapes", "64x64", "--batches", "1", "--seconds", "0.2", "--threads", "1", "--library", "none")
HEAVY = ("torch", "onnx", "onnx_ir", "onnxscript", "polygraphy", "PIL", "safetensors")


@pytest.fixture
def folder(tmp_path: Path, tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with ``tiny.onnx``."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny.onnx").symlink_to(tiny_onnx)
    return tmp_path


def test_a_table_for_people(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    finished = run_here("fade-bench", "tiny.onnx", *ARGUMENTS, "--providers", patch=monkeypatch, capture=capfd)
    assert finished.code == 0
    lines = finished.out.splitlines()
    assert any("1x64x64" in line and "1.00 (1.00-1.00)" in line and "100.000%" in line for line in lines)
    assert any("CPUExecutionProvider" in line for line in lines)
    assert any(line.startswith("measured on ") and "threads 1" in line for line in lines)
    assert any(line.startswith("polygraphy, tiny.onnx cpu: ") for line in lines)
    assert lines[-1].startswith("PASSED  tiny.onnx  1 candidate, 1 shape  (")
    assert max(len(line) for line in lines if line[:1] in "│┃┏") <= 120


def test_a_document_for_programs_and_for_later(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    finished = run_here(
        "fade-bench", "tiny.onnx", *ARGUMENTS, "--json", "-o", "now.json", patch=monkeypatch, capture=capfd
    )
    assert finished.code == 0
    printed = json.loads(finished.out)
    assert printed.pop("status") == "passed"
    written = json.loads(Path("now.json").read_text())
    assert written == printed
    assert [one["name"] for one in written["candidates"]] == ["tiny.onnx cpu"]
    assert set(contents(folder)) == {"tiny.onnx", "now.json"}


def test_a_page_for_readers(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    for module in ("jinja2", "matplotlib"):
        pytest.importorskip(module, reason=f"a report is drawn with {module}, of the extra 'report'")
    finished = run_here("fade-bench", "tiny.onnx", *ARGUMENTS, "--report", "a.html", patch=monkeypatch, capture=capfd)
    assert finished.code == 0, finished.err
    page = Path("a.html").read_text(encoding="utf-8")
    assert "report: a.html" in finished.out
    assert "tiny.onnx cpu" in page
    assert f"fade-bench tiny.onnx {' '.join(ARGUMENTS)} --report a.html" in page


@pytest.mark.parametrize(("factor", "code", "verdict"), [(0.01, 1, "FAILED"), (100, 0, "PASSED")])
def test_what_got_slower_is_exit_code_1(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    factor: float,
    code: int,
    verdict: str,
) -> None:
    assert run_here("fade-bench", "tiny.onnx", *ARGUMENTS, "-o", "a.json", patch=monkeypatch, capture=capfd).code == 0
    document: dict[str, Any] = json.loads(Path("a.json").read_text())
    times = document["candidates"][0]["cases"][0]
    times["seconds"] = [factor * one for one in times["seconds"]]
    Path("a.json").write_text(json.dumps(document))
    finished = run_here("fade-bench", "tiny.onnx", *ARGUMENTS, "--against", "a.json", patch=monkeypatch, capture=capfd)
    assert finished.code == code
    last = finished.out.splitlines()[-1]
    assert last.startswith(f"{verdict}  tiny.onnx  1 candidate, 1 shape, {code} of 1 slower  (")
    assert ("slower" if code else "faster") in finished.out


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--on", "gpu"], "--on has 'gpu'"),
        (["--batches", "none"], "--batches has 'none'"),
        (["--shapes", "1x64x64"], "--shapes has '1x64x64', expected HxW"),
        (["--seconds", "0"], "0.1"),
        (["--other-machine"], "--other-machine means nothing without --against"),
        (["-o", "old.onnx"], "old.onnx exists"),
        (["-o", "tiny.onnx", "--force"], "-o tiny.onnx is one of the given files"),
        (["--report", "tiny.onnx", "--force"], "--report tiny.onnx is one of the given files"),
        (["-o", "a", "--report", "a"], "-o and --report are both a"),
        (["--against", "old.json"], "--against old.json can't be read"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_written(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    told: str,
) -> None:
    (folder / "old.onnx").touch()
    before = contents(folder)
    finished = run_here("fade-bench", "tiny.onnx", *arguments, patch=monkeypatch, capture=capfd)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.count("\n") == 1
    assert told in finished.err
    assert contents(folder) == before


def test_onnxruntime_alone_is_enough(folder: Path) -> None:
    finished = run("fade-bench", "tiny.onnx", *ARGUMENTS, cwd=folder, absent=HEAVY)
    assert finished.code == 0, finished.err
    assert "note: not timed beside Polygraphy: polygraphy.backend.onnxrt is not installed" in finished.out


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [(0.05123, 3, "0.0512"), (51.23, 3, "51.2"), (99.96, 3, "100"), (5123.4, 3, "5123"), (9999.6, 4, "10000")],
)
def test_a_number_in_a_table_has_no_exponent(value: float, digits: int, text: str) -> None:
    assert command._rounded(value, digits) == text


def test_help_needs_nothing(tmp_path: Path) -> None:
    finished = run("fade-bench", "--help", cwd=tmp_path, absent=(*HEAVY, "onnxruntime"))
    assert finished.code == 0
    assert "--against" in finished.out


def test_defaults_are_the_librarys() -> None:
    defaults = {name: given.default for name, given in inspect.signature(command.bench).parameters.items()}
    options = BenchOptions()
    for name in ("seconds", "threads", "margin", "providers", "other_machine", "recipe", "ema", "library", "plugin"):
        assert defaults[name] == getattr(options, name)
