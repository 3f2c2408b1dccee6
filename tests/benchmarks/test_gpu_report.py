"""The GPU check's report, and what it compares the kernels with, on a machine without a GPU."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.gpu_agreement import Checked, Sanitized, sanitized
from benchmarks.gpu_build import build
from benchmarks.gpu_models import Ran
from benchmarks.gpu_report import markdown
from benchmarks.gpu_times import TIMED, Timed, plain_function
from benchmarks.machine import ROOT
from fade_deploy import contract
from fade_deploy.errors import MissingDependency
from fade_deploy.ops.torch_ops import TORCH_OPS
from tests.cases import OperatorCase

DOCUMENT = {
    "gpu": "A GPU",
    "cuda": {"torch": "13.0"},
    "versions": {"python": "3.11"},
    "commit": "",
    "date": "today",
    "copy_gb_per_s": 4000.0,
}
ROW = Timed(
    case="FadeUpsample-8x256x64x64",
    dtype="float16",
    megabytes=160.0,
    kernel=0.05,
    copy=0.04,
    eager=1.0,
    compiled=None,
    unfold=5.0,
    error=0.0,
    bound=1.0,
)


def _report(**changed: object) -> str:
    given = {
        "checked": [Checked(call="good", error=0.0, bound=1.0)],
        "sanitized": Sanitized(passed=True, text="ERROR SUMMARY: 0 errors"),
        "tensorrt": "skipped, TENSORRT_ROOT names no folder of TensorRT's headers",
        "timed": [ROW],
        "models": [],
        "models_left_out": "onnxruntime not installed",
    }
    return markdown(DOCUMENT, **(given | changed))  # type: ignore[arg-type]


def test_a_row_has_its_shares_of_both_copies_and_its_factors() -> None:
    row = next(line for line in _report().splitlines() if line.startswith("| FadeUpsample-8x256x64x64"))
    assert [cell.strip() for cell in row.split("|")[2:-1]] == [
        "float16", "0.0500", "160.0", "3200", "80%", "80%", "20.0x", "-", "100.0x", "yes",
    ]  # fmt: skip


def test_what_disagrees_and_what_was_left_out_stands_there() -> None:
    bad = Checked(call="bad call", error=math.inf, bound=1.0, complaint="wrote outside of the output")
    ran = Ran(model="matting", library="standard ops", error=math.inf, bound=0, complaint="2 nodes on the CPU")
    text = _report(checked=[bad], models=[ran])
    assert "0 of 1 calls agree" in text
    assert "DISAGREES: bad call, error inf wrote outside of the output" in text
    assert "2 nodes on the CPU | NO |" in text
    assert "skipped, TENSORRT_ROOT names no folder" in text
    assert "left out: onnxruntime not installed." in text


@pytest.mark.parametrize("operator", sorted({case.operator.name for case in TIMED}))
def test_what_torch_compile_sees_is_the_operator(operator: str) -> None:
    case = OperatorCase(
        next(each for each in contract.OPERATORS if each.name == operator), batch=1, channels=2, height=3, width=4
    )
    inputs = [torch.from_numpy(array) for array in case.inputs().values()]
    expected = TORCH_OPS[operator](*inputs, **case.attributes)
    assert torch.equal(plain_function(case.operator)(*inputs, **case.attributes), expected)


def test_without_a_compiler_the_build_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("CUDACXX", raising=False)
    with pytest.raises(MissingDependency, match="nvcc is not on PATH"):
        build(tmp_path)


def test_without_the_sanitizer_the_check_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert sanitized(tmp_path, 1) == Sanitized(
        passed=True, text="skipped, compute-sanitizer is not on PATH (it is in the CUDA toolkit)"
    )


def test_the_kernels_part_needs_torch_and_numpy_alone() -> None:
    blocked = ("onnx", "onnxruntime", "onnxscript", "onnx_ir", "polygraphy", "typer", "rich")
    code = (
        f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import benchmarks.gpu_check as check; "
        "from pathlib import Path; print(check.models(Path('out'), 'auto'))"
    )
    finished = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("([], ")
    assert "onnxruntime, onnx, onnxscript, polygraphy not installed" in finished.stdout
