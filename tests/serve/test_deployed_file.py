"""A picture or a file beyond the memory: one line in both predictors, measured in a process that has little."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.serve.foreign_file import SEGMENTATION, foreign_file

LITTLE = 6 << 30  # bytes; of address space, of which numpy and onnxruntime alone take more than they use
SCRIPT = """
import resource, sys
import numpy as np
from fade_deploy.errors import InputError
from fade_deploy.serve.deployed_file import DeployedFile
from fade_deploy.serve.matting_predictor import MattingPredictor
from fade_deploy.serve.predictor import Predictor
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]), int(sys.argv[1])))
file = DeployedFile("m.onnx", threads=1)
picture = np.zeros((30, 20, 3), np.uint8)
try:
    if file.task == "matting":
        MattingPredictor(file).predict(picture, np.full((30, 20), 128, np.uint8))
    else:
        Predictor(file).predict(picture)
except InputError as error:
    print(error)
"""
LARGEST = (
    "(float[1,3,65536,65536] image, float[1,1,65536,65536] trimap) => (float[] alpha) { alpha = Identity(trimap) }"
)
# A million times its input, about which nothing is declared.
SWELLING = (
    "(float[n,3,h,w] image{more}) => (float[] {head}) <int64[4] times = {{1, 1, 1000, 1000}}> "
    "{{ size = Shape(image) large = Mul(size, times) {head} = ConstantOfShape(large) }}"
)


@pytest.mark.parametrize(
    ("text", "task", "told"),
    [
        pytest.param(LARGEST, "matting", "m.onnx (made for 65536x65536)", id="declared"),
        pytest.param(SWELLING.format(head="alpha", more=", float[n,1,h,w] trimap"), "matting", "m.onnx", id="inside"),
        pytest.param(SWELLING.format(head="logits", more=""), "segmentation", "m.onnx", id="inside a segmentation"),
    ],
)
def test_too_little_memory_is_one_line(tmp_path: Path, text: str, task: str, told: str) -> None:
    foreign_file(tmp_path / "m.onnx", text, facts=SEGMENTATION if task == "segmentation" else None)
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(LITTLE)],
        cwd=tmp_path,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == (
        f"the memory does not suffice for a picture of 20x30 pixels through {told}: give a smaller picture, or export "
        "the model with a smaller --shape\n"
    )
