"""The CUDA kernels against PyTorch in float64 on the same device, launched and replayed from a CUDA graph.

Every tensor lies between guards, the output holds NaN before, and inputs must be what they were. As a program it runs
a few calls and prints nothing but what disagrees: what compute-sanitizer watches.

    python -m benchmarks.gpu_agreement LIBRARY [--count N]
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.cuda_kernels import CudaKernels, filled
from benchmarks.gpu_cases import Call, Guarded, calls, made_inputs, output_shape
from benchmarks.machine import ROOT
from fade_deploy.ops.torch_ops import TORCH_OPS
from fade_deploy.tolerances import tolerance

__all__ = ["BOUNDS", "Checked", "Sanitized", "checked", "excess", "sanitized"]

BOUNDS = {torch.float32: "OPERATOR_FP32", torch.float16: "OPERATOR_FP16", torch.bfloat16: "OPERATOR_BF16"}
_FOUND_SOMETHING = 99  # exit code of compute-sanitizer; none of ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """What one call came to."""

    call: str
    error: float  # the largest |a - b| - rtol * |b|; infinite where memory was touched that should not be
    bound: float
    complaint: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is wrong."""
        return self.error <= self.bound


@dataclass(frozen=True, slots=True, kw_only=True)
class Sanitized:
    """What compute-sanitizer said."""

    passed: bool
    text: str  # its summary, or why it did not run


def checked(kernels: CudaKernels, some: Iterable[Call], device: str) -> list[Checked]:
    """Each call, launched, and on a GPU replayed from a CUDA graph too."""
    return [_checked(kernels, call, device) for call in some]


def _checked(kernels: CudaKernels, call: Call, device: str) -> Checked:
    inputs = made_inputs(call, device)
    tensors = {name: guarded.tensor for name, guarded in inputs.items()}
    wide = TORCH_OPS[call.case.operator.name](*(x.double() for x in tensors.values()), **call.case.attributes)
    poison = torch.full(output_shape(call.case), math.nan)
    outputs = [Guarded(poison, call.dtype, device, shift=call.shift)]
    _launch(kernels, call, tensors, outputs[0].tensor)
    if device != "cpu":
        outputs.append(Guarded(poison, call.dtype, device, shift=call.shift))
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            _launch(kernels, call, tensors, outputs[1].tensor)
        graph.replay()
        torch.cuda.synchronize()
    bound = tolerance(BOUNDS[call.dtype])
    complaint = ", ".join(
        [f"{name} was written to" for name, guarded in inputs.items() if not guarded.unchanged]
        + ["wrote outside of the output" for guarded in outputs if not guarded.intact]
    )
    error = max(excess(guarded.tensor.double(), wide, bound.rtol) for guarded in outputs)
    return Checked(call=str(call), error=math.inf if complaint else error, bound=bound.atol, complaint=complaint)


def _launch(kernels: CudaKernels, call: Call, inputs: dict[str, Tensor], output: Tensor) -> None:
    stream = torch.cuda.current_stream().cuda_stream if output.is_cuda else 0
    kernels.launch(filled(call.case.operator, inputs, output, call.case.attributes), stream)


def excess(found: Tensor, expected: Tensor, rtol: float) -> float:
    """How far the worst element is off beyond its relative share, by ``max(atol, rtol * |expected|)``; NaN is inf."""
    error = (found - expected).abs()
    error = torch.where(error <= rtol * expected.abs(), torch.zeros_like(error), error)
    return float(torch.nan_to_num(error, nan=torch.inf).max())


def sanitized(library: Path, count: int) -> Sanitized:
    """The table and ``count`` random calls under compute-sanitizer's memcheck, where it exists."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return Sanitized(passed=True, text="skipped, compute-sanitizer is not on PATH (it is in the CUDA toolkit)")
    command = [tool, "--tool", "memcheck", "--error-exitcode", str(_FOUND_SOMETHING)]
    command += [sys.executable, "-m", "benchmarks.gpu_agreement", str(library), "--count", str(count)]
    # Each tensor as an allocation of its own, so that what lies beyond it is nobody's.
    environment = os.environ | {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
    finished = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    said = [line for line in finished.stdout.splitlines() if line.strip()] or [finished.stderr.strip()]
    if "Device not supported" in finished.stdout:
        return Sanitized(passed=True, text="skipped, compute-sanitizer does not support this device or its driver")
    return Sanitized(passed=finished.returncode == 0, text=said[-1].strip("= "))


def main() -> int:
    """Exit code 0 where all agrees."""
    parser = argparse.ArgumentParser(prog="gpu_agreement")
    parser.add_argument("library", type=Path)
    parser.add_argument("--count", type=int, default=20)
    options = parser.parse_args()
    # A capture needs the caching allocator, which is off here: launches alone.
    rows = [_launched(CudaKernels(options.library), call) for call in calls(options.count)]
    for row in rows:
        if not row.passed:
            print(f"{row.call}: error {row.error:.2e}, bound {row.bound:.2e} {row.complaint}")
    return 0 if all(row.passed for row in rows) else 1


def _launched(kernels: CudaKernels, call: Call) -> Checked:
    """Without guards: what lies around a tensor is nobody's memory, which the sanitizer watches."""
    inputs = {name: guarded.tensor.clone() for name, guarded in made_inputs(call, "cuda").items()}
    wide = TORCH_OPS[call.case.operator.name](*(x.double() for x in inputs.values()), **call.case.attributes)
    output = torch.full(output_shape(call.case), math.nan, dtype=call.dtype, device="cuda")
    _launch(kernels, call, inputs, output)
    bound = tolerance(BOUNDS[call.dtype])
    return Checked(call=str(call), error=excess(output.double(), wide, bound.rtol), bound=bound.atol)


if __name__ == "__main__":
    sys.exit(main())
