"""``fade-export`` beyond ONNX: which options belong to which format, and each format from an exported file."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from tests.command_line import contents, run_here
from tests.serve.engine_manifest import engine_files


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
        (["--format", "triton", "--precision", "fp16"], "so --precision can't be chosen here: export the checkpoint"),
        (["--format", "triton", "--backend", "tensorrt", "--head", "probs"], "so --head can't be chosen here"),
        (["--format", "tensorrt-rtx", "--verify", "quick"], "so --verify can't be chosen here"),
        (["--format", "tensorrt-rtx", "--timing-cache", "times"], "--timing-cache means nothing for --format"),
        (["--format", "triton", "--workspace", "64"], "--workspace means nothing where no engine is built, as for --b"),
        (["--format", "triton", "--backend", "tensorrt", "--threads", "2"], "--threads means nothing for --backend"),
        (["--format", "tensorrt-rtx", "--embed-plugin", "--plugin", "none"], "--embed-plugin has nothing to embed"),
        (
            ["--format", "tensorrt-rtx", "--plugin", "no.so"],
            "--plugin no.so is not there, expected the path of libfade",
        ),
        (["--format", "tensorrt-rtx", "--workspace", "99999999"], "--workspace 99999999 is not within 0 to 16777216"),
        (["--format", "triton", "--name", "a b"], "give one with --name"),
        (["--format", "tensorrt-rtx", "--compute-capability", "86"], "'86' is not of the form X.Y: give 8.6"),
        (["--format", "tensorrt-rtx", "--compute-capability", "sm_120"], "'sm_120' is not of the form X.Y: give 12.0"),
        (["--format", "tensorrt-rtx", "--compute-capability", "8.6,"], "'' is not of the form X.Y: give some such as"),
        (["--format", "triton", "--backend", "tensorrt", "--native", "auto"], "brings its own plugin along"),
        (["--format", "triton", "--queue-delay", "9", "--max-batch-size", "1"], "--queue-delay 9 means nothing where"),
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


def test_a_repository_is_made_of_an_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    engine_files(tmp_path)
    monkeypatch.chdir(tmp_path)
    line = ["matting.engine", "--format", "triton", "--backend", "tensorrt", "-o", "models"]
    finished = run_here("fade-export", *line, patch=monkeypatch, capture=capfd)
    assert finished.code == 0, finished.err
    assert (tmp_path / "models/matting/1/model.plan").read_bytes() == b"an engine's bytes"
    for flags, told in (
        (["--precision", "fp16"], "matting.engine is exported already, so --precision can't be chosen"),
        (["--refit"], "--refit means nothing where no engine is built, as for an engine"),
    ):
        finished = run_here("fade-export", *line, "--force", *flags, patch=monkeypatch, capture=capfd)
        assert (finished.code, told in finished.err) == (2, True), finished.err
    line = ["matting.engine", "--format", "tensorrt", "-o", "other.engine"]
    finished = run_here("fade-export", *line, patch=monkeypatch, capture=capfd)
    assert (finished.code, "matting.engine is an engine, expected the checkpoint" in finished.err) == (2, True)


def test_a_profile_of_one_size_is_warmed_up_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["tiny.onnx", "--format", "triton", "--profile", "1x64x64", "-o", "models"]
    assert run_here("fade-export", *line, patch=monkeypatch, capture=capfd).code == 0
    assert (folder / "models/tiny/config.pbtxt").read_text(encoding="utf-8").count("model_warmup") == 1


@pytest.mark.skipif(not importlib.util.find_spec("tensorrt_rtx"), reason="tensorrt-rtx is not installed")
def test_an_engine_in_bf16_is_made_of_a_file_of_any_opset(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ["tiny.onnx", "--format", "tensorrt-rtx", "--precision", "bf16", "--profile", "1x32x32", "--plugin", "none"]
    line += ["--compute-capability", "8.6, 12.0"]
    finished = run_here("fade-export", *line, "--json", patch=monkeypatch, capture=capfd)
    assert finished.code == 0, finished.err
    assert json.loads(finished.out)["manifest"]["precisions"] == ["fp32", "bf16"]


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
