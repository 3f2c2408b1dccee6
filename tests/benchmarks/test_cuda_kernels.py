"""The way from PyTorch's tensors to the CUDA kernels, whose threads run on the CPU here; and the GPU check's parts."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.cuda_kernels import CudaKernels, UpsampleArguments
from benchmarks.gpu_agreement import checked
from benchmarks.gpu_cases import Base, Call, Guarded, calls
from benchmarks.machine import ROOT
from fade_deploy import contract
from tests.cases import OPERATOR_CASES, OperatorCase

TUNED = OperatorCase(contract.UPSAMPLE_ADD, batch=1, channels=20, height=5, width=12)


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> CudaKernels:
    """The kernels' own functions, compiled for the CPU."""
    compiler = shutil.which("c++")
    if compiler is None:
        pytest.skip("needs a C++ compiler, which makes the emulation of the CUDA kernels")
    path = tmp_path_factory.mktemp("emulation") / "libemulation.so"
    plugins = ROOT / "plugins"
    names = ("cuda_emulated_entry.cpp", "cuda_emulation.cpp", "cuda_fibers.cpp", "reference.cpp")
    command = [compiler, "-std=c++17", "-O1", "-shared", "-fPIC", "-fno-strict-aliasing"]
    command += [f"-I{plugins / 'reassemble'}", "-o", str(path), *(str(plugins / "tests" / name) for name in names)]
    subprocess.run(command, check=True)
    return CudaKernels(path)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_every_case_of_the_table_agrees(kernels: CudaKernels, dtype: torch.dtype) -> None:
    table = [call for call in calls(0) if call.dtype is dtype]
    assert len(table) == sum(case.operator is not contract.HEAD for case in OPERATOR_CASES)
    assert [str(row) for row in checked(kernels, table, "cpu") if not row.passed] == []


def test_random_calls_agree(kernels: CudaKernels) -> None:
    some = [call for call in calls(60, seed=1) if call not in set(calls(0))]
    assert {call.base for call in some} == set(Base)
    assert {call.shift for call in some} == {0, 1, 2, 8}
    assert [str(row) for row in checked(kernels, some, "cpu") if not row.passed] == []


@pytest.mark.parametrize("base", Base)
def test_every_stride_of_a_base_agrees(kernels: CudaKernels, base: Base) -> None:
    case = OperatorCase(contract.ACCUMULATE, batch=2, channels=3 * 20, height=5, width=12, lanes=3)
    some = [Call(case=case, dtype=dtype, base=base) for dtype in (torch.float32, torch.float16, torch.bfloat16)]
    assert [str(row) for row in checked(kernels, some, "cpu") if not row.passed] == []


def test_a_wrong_result_and_a_touched_guard_are_found(kernels: CudaKernels, monkeypatch: pytest.MonkeyPatch) -> None:
    call = Call(case=TUNED, dtype=torch.float16)
    launch = kernels.launch

    def spoilt(offset: int) -> object:
        def run(arguments: UpsampleArguments, stream: int = 0) -> None:
            launch(arguments, stream)
            arguments.output += offset
            launch(arguments, stream)

        return run

    monkeypatch.setattr(kernels, "launch", spoilt(0))
    assert checked(kernels, [call], "cpu")[0].passed
    monkeypatch.setattr(kernels, "launch", spoilt(-16))
    (row,) = checked(kernels, [call], "cpu")
    assert not row.passed
    assert row.complaint == "wrote outside of the output"


def test_guards_see_what_lies_between_rows() -> None:
    guarded = Guarded(torch.zeros(2, 3), torch.float32, "cpu", pitch=1)
    assert guarded.tensor.stride() == (4, 1)
    assert guarded.unchanged
    guarded.tensor.as_strided((2, 4), (4, 1))[0, 3] = 0
    assert not guarded.intact


def test_a_seed_gives_its_calls_again() -> None:
    assert list(calls(5, seed=3)) == list(calls(5, seed=3))
    assert list(calls(5, seed=3)) != list(calls(5, seed=4))
    assert replace(next(calls(0)), shift=1) != next(calls(0))


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
