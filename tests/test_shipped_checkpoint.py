"""What ships is what the documents say: the checkpoint, its picture, its scores, and `make demo`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fade_deploy import ExportOptions, export, predict

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "samples" / "01_train_shapes"


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    result = export(SAMPLE / "shapes_fade.pth", folder / "model.onnx", ExportOptions(full_verification=False))
    Image.open(SAMPLE / "scene.jpg").save(folder / "input.png")
    predict(result.path, folder / "input.png", folder / "overlay.png", overlay=True)
    return result, folder


def test_checkpoint_is_under_two_megabytes_and_exports_verified(demo):
    result, _ = demo
    assert (SAMPLE / "shapes_fade.pth").stat().st_size < 2_000_000
    assert result.passed
    assert (result.document["upsampler"], result.document["recipe"]) == ("fade", "shapes")


def test_the_picture_in_the_readme_is_what_the_demo_makes(demo):
    _, folder = demo
    shown, made = (
        np.asarray(Image.open(path), dtype=np.int16) for path in (ROOT / "docs" / "overlay.png", folder / "overlay.png")
    )
    # Another processor may round a tie of two classes differently.
    assert (np.abs(shown - made).max(axis=2) > 1).mean() < 0.001


def test_the_scores_in_both_readmes_are_those_in_the_checkpoint():
    scores = torch.load(SAMPLE / "shapes_fade.pth", weights_only=True)["meta"]["scores"]
    expected = (f"{scores['mIoU']:.4f}", f"{scores['bIoU']:.4f}")
    for document in (ROOT / "README.md", SAMPLE / "README.md"):
        rows = re.findall(r"^\| FADE \|.*?\| (0\.\d{4}) \| (0\.\d{4}) \|", document.read_text(encoding="utf-8"), re.M)
        assert rows == [expected], document


def test_make_demo_runs_these_steps():
    planned = subprocess.run(
        ["make", "--dry-run", "--assume-old=.venv/.runtime", "demo"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for step in (
        "fade-export samples/01_train_shapes/shapes_fade.pth",
        "fade-predict out/demo/model.onnx",
        "--overlay",
    ):
        assert step in planned
