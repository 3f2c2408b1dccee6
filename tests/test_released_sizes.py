"""The released sizes, exported by the command and verified: minutes, so only in `make test-full`."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import numpy as np
import pytest
import torch

from fade_deploy.recipe import Shape
from tests.golden_weights import matting, segformer
from tests.in_openvino import openvino_agrees

pytestmark = pytest.mark.slow

EXPORT = "import sys; from fade_deploy.cli.export import main; sys.argv = ['fade-export', *sys.argv[1:]]; main()"
# Golden weights of the kinds of seg_b0_fade.
CASES = [("mit_b0", "fade", "quick"), ("mit_b1", "fade", "full"), ("mit_b1", "bilinear", "quick")] + [
    (backbone, "fade", "quick") for backbone in ("mit_b2", "mit_b3", "mit_b4", "mit_b5")
]


@pytest.mark.parametrize(("backbone", "upsampler", "verify"), CASES)
def test_released_size_exports_and_agrees_within_twelve_gigabytes(tmp_path, backbone, upsampler, verify):
    checkpoint = tmp_path / "model.pth"
    torch.save({"meta": {}, "state_dict": segformer(backbone, upsampler).state_dict()}, checkpoint)
    command = [sys.executable, "-c", EXPORT, str(checkpoint), "-o", str(tmp_path / "model.onnx"), "--verify", verify]
    run = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    manifest = json.loads(run.stdout)["manifest"]
    assert (manifest["backbone"], manifest["upsampler"]) == (backbone, upsampler)
    assert "1x512x512" in {entry["shape"] for entry in manifest["agreement"]["measured"]}
    for entry in manifest["agreement"]["measured"]:
        print(
            f"{backbone} {upsampler} {entry['shape']}: max {entry['max_error']:.1e}, std {entry['reference_std']:.2f}"
        )
        assert entry["passed"]
        assert entry["labels_agreeing"] == entry["labels_compared"] > 0
    openvino_agrees(tmp_path / "model.onnx", Shape(1, 64, 64), Shape(1, 96, 128))
    # The largest child so far: the sizes grow, so each new maximum is this one's.
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    print(f"{backbone} {upsampler}: at most {peak:.1f} GiB")
    assert peak < 12


@pytest.mark.parametrize(("upsampler", "verify"), [("fade", "full"), ("fade_lite", "quick"), ("bilinear", "quick")])
def test_released_matting_exports_and_agrees(tmp_path, upsampler, verify):
    checkpoint = tmp_path / "model.pth"
    weights = {f"module.{key}": value for key, value in matting(upsampler).state_dict().items()}
    torch.save({"state_dict": weights, "epoch": 30, "measure": np.float64(31.1)}, checkpoint)  # as trainval.py does
    # The network's own output: the alpha head hides what is clipped or known.
    command = [sys.executable, "-c", EXPORT, str(checkpoint), "-o", str(tmp_path / "model.onnx"), "--verify", verify]
    run = subprocess.run([*command, "--head", "raw", "--json"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    manifest = json.loads(run.stdout)["manifest"]
    assert (manifest["backbone"], manifest["upsampler"]) == ("resnet34", upsampler)
    for entry in manifest["agreement"]["measured"]:
        print(f"a2u {upsampler} {entry['shape']}: max {entry['max_error']:.1e}, std {entry['reference_std']:.2f}")
        assert entry["passed"]
    openvino_agrees(tmp_path / "model.onnx", Shape(1, 64, 64), Shape(1, 96, 128))
