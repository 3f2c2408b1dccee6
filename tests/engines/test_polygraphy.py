"""Polygraphy's own commands take our files, as a user has them who knows nothing of us."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fade_deploy.engines.build import library_environment
from fade_deploy.runtimes.engine_flavour import Flavour
from tests.engines.rtx import needs_rtx

pytestmark = needs_rtx


def polygraphy(folder: Path, *arguments: str) -> str:
    """What a command of Polygraphy prints, on TensorRT-RTX; it must succeed."""
    finished = subprocess.run(
        [sys.executable, "-c", "from polygraphy.tools import main; main()", *arguments],
        env={**library_environment(Flavour.RTX, folder), "POLYGRAPHY_USE_TENSORRT_RTX": "1", "COLUMNS": "200"},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout[-3000:] + finished.stderr[-3000:]
    return finished.stdout


def test_inspect_capability_finds_no_unsupported_node(tiny_onnx, tmp_path):
    said = polygraphy(tmp_path, "inspect", "capability", str(tiny_onnx))
    assert "Graph is fully supported by TensorRT" in said


@pytest.mark.parametrize("lowered", [False, True], ids=["as exported", "as built"])
def test_convert_writes_an_engine(tiny_onnx, tmp_path, lowered):
    from fade_deploy.engines.graph_for_engine import graph_for_engine

    model = tmp_path / "model.onnx"
    model.write_bytes(graph_for_engine(tiny_onnx, Flavour.RTX).data if lowered else tiny_onnx.read_bytes())
    shapes = [f"--trt-{kind}-shapes=image:[{size}]" for kind, size in zip(
        ("min", "opt", "max"), ("1,3,64,64", "1,3,256,256", "2,3,512,512"), strict=True
    )]  # fmt: skip
    polygraphy(
        tmp_path, "convert", "model.onnx", "--convert-to=trt", "-o", "model.engine", "--strongly-typed",
        "--compute-capabilities", "8.6", *shapes,
    )  # fmt: skip
    assert (tmp_path / "model.engine").stat().st_size > 100_000
