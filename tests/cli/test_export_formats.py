"""``fade-export`` beyond ONNX: which options belong to which format, and each format from an exported file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.command_line import contents, run_here


@pytest.fixture
def folder(tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with an exported file in it."""
    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx.read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (
            ["--profile", "1x32x32"],
            "--profile means nothing for --format onnx, only for tensorrt, tensorrt-rtx, triton",
        ),
        (["--backend", "python"], "--backend means nothing for --format onnx, only for triton"),
        (["--format", "tensorrt", "--compute-capability", "8.6"], "--compute-capability means nothing for --format"),
        (["--format", "tensorrt-rtx", "--version-compatible"], "--version-compatible means nothing for --format"),
        (["--format", "triton", "--library", "none"], "--library means nothing for --format triton, only for onnx"),
        (["--format", "tensorrt-rtx", "--profile", "1x32x32:1x32"], "is not one size or three: give NxHxW"),
        (["--format", "triton", "--backend", "tensorrt", "--instance", "cpu"], "give instance gpu"),
        ([], "tiny.onnx is exported already, expected a checkpoint"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_would_change_nothing_is_refused(
    folder: Path,
    flags: list[str],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = contents(folder)
    finished = run_here("fade-export", "tiny.onnx", *flags, patch=monkeypatch, capture=capfd)
    assert finished.code == 2
    assert told in finished.err
    assert contents(folder) == before


def test_a_repository_is_made_of_an_exported_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["tiny.onnx", "--format", "triton", "--backend", "python", "--name", "shapes", "--max-batch-size", "2"]
    finished = run_here("fade-export", *line, "-o", "models", patch=monkeypatch, capture=capfd)
    assert finished.code == 0, finished.err
    assert finished.out.splitlines()[-1].startswith("PASSED  models  model shapes, backend python")
    assert "max_batch_size: 2" in (folder / "models/shapes/config.pbtxt").read_text(encoding="utf-8")
    finished = run_here("fade-export", *line, "-o", "models", patch=monkeypatch, capture=capfd)
    assert (finished.code, "models exists" in finished.err) == (2, True)
    finished = run_here("fade-export", *line, "-o", "models", "--force", "--json", patch=monkeypatch, capture=capfd)
    assert finished.code == 0
    assert json.loads(finished.out)["repository"]["model"] == "shapes"


@pytest.mark.skipif(not importlib.util.find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not installed")
def test_an_engine_is_made_of_an_exported_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["tiny.onnx", "--format", "tensorrt-rtx", "--precision", "fp16", "--profile", "1x32x32:1x64x64:2x96x96"]
    line += ["--compute-capability", "8.6", "--plugin", "none"]
    finished = run_here("fade-export", *line, "--json", patch=monkeypatch, capture=capfd)
    assert finished.code == 0, finished.err
    manifest = json.loads(finished.out)["manifest"]
    assert (folder / "tiny.rtx.engine").stat().st_size == manifest["artefact"]["bytes"]
    assert manifest["precisions"] == ["fp32", "fp16"]
    assert manifest["tensorrt"]["compute_capabilities"] == ["8.6"]
    assert "100 %" in finished.err
