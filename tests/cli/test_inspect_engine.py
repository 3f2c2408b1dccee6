"""``fade-inspect`` of an engine: what its manifest says of it, without TensorRT and without a GPU."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import fade_deploy
from fade_deploy.runtimes.engine_manifest import manifest_of
from tests.command_line import Finished, run_here
from tests.serve.engine_manifest import BYTES, engine_files

STATED: dict[str, Any] = {
    "tensorrt": {
        "flavour": "tensorrt",
        "version": "10.16.1.11",
        "gpu": {"name": "NVIDIA A10", "compute_capability": "8.6"},
        "compute_capabilities": [],
    },
    "plugin": {"file": "libfade_tensorrt.so", "sha256": "3f", "embedded": False, "nodes": {"node_1": "FadeUpsample"}},
    "precisions": ["fp32", "fp16"],
    "network": {"count": 3, "by_precision": {"fp16": 2, "fp32": 1}, "plugins": ["node_1"], "each": ["a", "b", "c"]},
    "notes": ["not built for compute capability 7.5"],
}


@pytest.fixture
def inspected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Any:
    """Calls the command beside an engine."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Finished:
        return run_here("fade-inspect", *arguments, patch=monkeypatch, capture=capfd)

    return call


def test_an_engine_is_told_by_its_manifest(tmp_path: Path, inspected: Any) -> None:
    engine_files(tmp_path, **STATED)
    finished = inspected("matting.engine")
    assert finished.code == 0, finished.err
    rows = dict(
        (cell.strip() for cell in line.split("│")[1:3]) for line in finished.out.splitlines() if line.count("│") == 3
    )
    assert rows["kind"] == "engine"
    assert rows["bytes"] == str(len(BYTES))
    assert rows["tensorrt"] == "flavour tensorrt; version 10.16.1.11; gpu name NVIDIA A10, compute_capability 8.6"
    assert rows["inputs"] == "image float32 [any, 3, any, any]; trimap float32 [any, 1, any, any]"
    assert rows["outputs"] == "alpha float16 [any, 1, any, any]"
    assert rows["profile"] == "min 1x256x256, opt 4x512x512, max 8x1024x1024"
    assert rows["precisions"] == "fp32; fp16"
    assert rows["layers"] == "fp16 2, fp32 1"
    assert rows["plugin"] == "file libfade_tensorrt.so, sha256 3f, embedded False"
    assert rows["task"] == "matting"
    assert "note: not built for compute capability 7.5" in finished.out
    assert finished.out.splitlines()[-1].startswith("PASSED  matting.engine")


def test_the_library_says_what_the_command_says(tmp_path: Path, inspected: Any) -> None:
    path = engine_files(tmp_path)
    document = fade_deploy.inspect(path)
    assert json.loads(inspected("matting.engine", "--json").out) == {"status": "passed", **document}
    assert (document["kind"], document["plugin"], document["notes"]) == ("engine", "none", [])
    assert "layers" not in document  # the manifest has none


def test_an_engine_without_its_manifest_is_one_line(tmp_path: Path, inspected: Any) -> None:
    manifest_of(engine_files(tmp_path)).unlink()
    finished = inspected("matting.engine")
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "matting.engine.json can't be read (No such file or directory), expected the engine's manifest" in (
        finished.err
    )


def test_an_engine_that_is_not_its_manifest_s_is_one_line(tmp_path: Path, inspected: Any) -> None:
    engine_files(tmp_path).write_bytes(BYTES.swapcase())
    finished = inspected("matting.engine")
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert "is not the file that its manifest describes (SHA-256)" in finished.err


@pytest.mark.parametrize("notes", [5, "text", None, [1, None]])
def test_what_a_manifest_may_be_after_an_editor_is_survived(tmp_path: Path, inspected: Any, notes: Any) -> None:
    engine_files(tmp_path, notes=notes, network=["odd"], precisions=3, profile="1x2")
    assert inspected("matting.engine").code == 0


@pytest.mark.parametrize("option", [["--ema"], ["--recipe", "segformer"], ["--shape", "1x64x64"]])
@pytest.mark.parametrize("name", ["matting.engine", "tiny.onnx"])
def test_an_option_of_checkpoints_is_refused(
    tmp_path: Path, tiny_onnx: Path, inspected: Any, name: str, option: list[str]
) -> None:
    engine_files(tmp_path)
    (tmp_path / "tiny.onnx").write_bytes(tiny_onnx.read_bytes())
    finished = inspected(name, *option)
    assert (finished.code, finished.err.count("\n")) == (2, 1)
    assert f"{name} is exported already, so {option[0]} means nothing for it: leave it out" in finished.err
