"""The way from PyTorch's tensors to the CUDA kernel, whose threads run on the CPU here; and that a GPU is asked for."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.cuda_kernels import CudaKernels, UpsampleArguments, filled
from benchmarks.machine import ROOT
from fade_deploy import contract
from fade_deploy.ops.torch_ops import TORCH_OPS
from fade_deploy.tolerances import tolerance
from tests.cases import OPERATOR_CASES, OperatorCase

CASES = [case for case in OPERATOR_CASES if case.operator is not contract.HEAD]
BOUNDS = {torch.float32: "OPERATOR_FP32", torch.float16: "OPERATOR_FP16"}


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> CudaKernels:
    """The kernel's own functions, compiled for the CPU."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler, which makes the emulation of the CUDA kernel")
    path = tmp_path_factory.mktemp("emulation") / "libemulation.so"
    plugins = ROOT / "plugins"
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", f"-I{plugins / 'reassemble'}"]
    subprocess.run([*command, "-o", str(path), str(plugins / "tests" / "cuda_emulation.cpp")], check=True)
    return CudaKernels(path)


@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_case_arrives_at_the_kernel(kernels: CudaKernels, case: OperatorCase, dtype: torch.dtype) -> None:
    inputs = {name: torch.from_numpy(array).to(dtype) for name, array in case.inputs().items()}
    expected = TORCH_OPS[case.operator.name](*(x.double() for x in inputs.values()), **case.attributes)
    found = torch.full(expected.shape, torch.nan, dtype=dtype)
    try:
        kernels.launch(filled(case.operator, inputs, found, case.attributes))
    except RuntimeError:
        if dtype is torch.float16:
            pytest.skip("this compiler has no half precision for the emulation")
        raise
    bound = tolerance(BOUNDS[dtype])
    torch.testing.assert_close(found.double(), expected, atol=bound.atol, rtol=bound.rtol)


def test_a_layout_of_another_size_is_refused(kernels: CudaKernels) -> None:
    arguments = UpsampleArguments()
    assert kernels._launch(arguments, 8, 0) == 1
    with pytest.raises(RuntimeError, match="CUDA error 1: invalid argument"):
        kernels.launch(UpsampleArguments(kernelSize=5, scale=2, groups=0))


def test_members_are_those_of_the_header() -> None:
    header = (ROOT / "plugins" / "reassemble" / "fade_cpu.h").read_text(encoding="utf-8")
    body = header.partition("struct UpsampleArguments {")[2].partition("\n};")[0]
    code = re.sub(r"//.*", "", body)
    names = re.findall(r"(\w+)(?:\[4\])? = ", code)
    assert [name for name, _ in UpsampleArguments._fields_] == names


def test_without_a_gpu_the_check_says_so_on_one_line(tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here: run `make gpu-check`")
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--out", str(tmp_path / "out")]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert finished.returncode == 2
    assert finished.stdout == ""
    assert finished.stderr.startswith("gpu-check: PyTorch ")
    assert finished.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
