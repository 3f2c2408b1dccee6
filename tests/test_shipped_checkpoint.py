"""What ships is what the documents say: the checkpoints, their pictures, their scores, and `make demo`."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fade_deploy import ExportOptions, export, predict
from fade_deploy.serve.matting_pictures import read_trimap
from fade_deploy.serve.pictures import read_picture
from fade_deploy.verification.matting_scores import Convention, matting_scores

ROOT = Path(__file__).parents[1]
SHAPES = ROOT / "samples" / "01_train_shapes"
MATTING = ROOT / "samples" / "02_train_matting"
QUICK = ExportOptions(full_verification=False)


@pytest.fixture(scope="module")
def shapes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes")
    result = export(SHAPES / "shapes_fade.pth", folder / "model.onnx", QUICK)
    Image.open(SHAPES / "scene.jpg").save(folder / "input.png")
    predict(result.path, folder / "input.png", folder / "overlay.png", overlay=True)
    return result, folder


@pytest.fixture(scope="module")
def matting(tmp_path_factory):
    folder = tmp_path_factory.mktemp("matting")
    result = export(MATTING / "matting_fade.pth", folder / "matting.onnx", QUICK)
    inputs = {"picture": MATTING / "scene.jpg", "trimap": MATTING / "trimap.png"}
    predict(result.path, output=folder / "alpha.png", **inputs)
    predict(result.path, output=folder / "cutout.png", background="seagreen", **inputs)
    return result, folder


def test_the_shapes_checkpoint_is_under_two_megabytes_and_exports_verified(shapes):
    result, _ = shapes
    assert (SHAPES / "shapes_fade.pth").stat().st_size < 2_000_000
    assert result.passed
    assert (result.document["upsampler"], result.document["recipe"]) == ("fade", "shapes")


def test_the_matting_checkpoint_is_under_two_megabytes_and_exports_verified(matting):
    result, _ = matting
    assert (MATTING / "matting_fade.pth").stat().st_size < 2_000_000
    assert result.passed
    assert (result.document["upsampler"], result.document["recipe"]) == ("fade", "a2u_matting")


def test_the_matte_of_the_scene_is_much_nearer_the_truth_than_the_trimap(matting):
    _, folder = matting
    truth, alpha = (read_picture(path)[..., 0] for path in (MATTING / "truth.png", folder / "alpha.png"))
    trimap = read_trimap(MATTING / "trimap.png")
    errors = [matting_scores(picture, truth, trimap, convention=Convention.MATLAB).sad for picture in (alpha, trimap)]
    assert errors[0] < errors[1] / 2


@pytest.mark.parametrize(("made_by", "picture"), [("shapes", "overlay"), ("matting", "alpha"), ("matting", "cutout")])
def test_the_picture_in_the_readme_is_what_the_demo_makes(made_by, picture, request):
    _, folder = request.getfixturevalue(made_by)
    shown, made = (
        np.atleast_3d(np.asarray(Image.open(path), dtype=np.int16))
        for path in (ROOT / "docs" / f"{picture}.png", folder / f"{picture}.png")
    )
    # Another processor may round a tie of two classes, or a level of alpha, differently.
    assert (np.abs(shown - made).max(axis=2) > 1).mean() < 0.001


def test_the_scores_in_both_readmes_are_those_in_the_checkpoint():
    scores = torch.load(SHAPES / "shapes_fade.pth", weights_only=True)["meta"]["scores"]
    expected = (f"{scores['mIoU']:.4f}", f"{scores['bIoU']:.4f}")
    for document in (ROOT / "README.md", SHAPES / "README.md"):
        rows = re.findall(r"^\| FADE \|.*?\| (0\.\d{4}) \| (0\.\d{4}) \|", document.read_text(encoding="utf-8"), re.M)
        assert expected in rows, document


def test_the_matting_scores_in_both_readmes_are_those_in_the_checkpoint():
    scores = torch.load(MATTING / "matting_fade.pth", weights_only=True)["meta"]["scores"]
    expected = " | ".join(f"{scores[name]:.4f}" for name in ("SAD", "MSE", "Grad", "Conn"))
    for document in (ROOT / "README.md", MATTING / "README.md"):
        text = document.read_text(encoding="utf-8")
        assert re.search(rf"^\| FADE \| \d+ \| {re.escape(expected)} \|", text, re.M), document


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
        "fade-export samples/02_train_matting/matting_fade.pth",
        "fade-predict out/demo/matting.onnx samples/02_train_matting/scene.jpg",
        "-o out/demo/alpha.png",
        "--background seagreen -o out/demo/cutout.png",
    ):
        assert step in planned
