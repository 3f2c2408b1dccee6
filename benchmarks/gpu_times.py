"""Times of the CUDA kernels: against what a copy of as many bytes takes, and against PyTorch's ways on the same GPU.

Every tensor counts once: what is read, what is written. Before each run the L2 cache is filled with something else, by
reading, so that it holds nothing that would have to be written back. The fill keeps the GPU busy while the run is
enqueued, so a kernel's time is the GPU's alone; a way of many small kernels may wait for the CPU, as it does in use.
"""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.cuda_kernels import CudaKernels, filled
from benchmarks.gpu_agreement import BOUNDS, excess
from benchmarks.gpu_cases import output_shape
from benchmarks.naive_fade import naive_upsample
from fade_deploy import contract
from fade_deploy.ops import torch_ops
from fade_deploy.ops.torch_ops import TORCH_OPS
from fade_deploy.tolerances import tolerance
from tests.cases import OperatorCase

__all__ = ["TIMED", "Timed", "copy_bandwidth", "plain_function", "timed"]

# As in a SegFormer head at 512x512 and 1024x1024 (16^2, 64^2, 128^2), its lowered last stage (three terms), and the two
# large stages of A2U matting.
TIMED = (
    OperatorCase(contract.UPSAMPLE, batch=8, channels=256, height=64, width=64),
    OperatorCase(contract.UPSAMPLE, batch=8, channels=256, height=16, width=16),
    OperatorCase(contract.UPSAMPLE, batch=1, channels=256, height=64, width=64),
    OperatorCase(contract.UPSAMPLE, batch=1, channels=256, height=128, width=128),
    OperatorCase(contract.REASSEMBLE, batch=1, channels=256, height=128, width=128),
    OperatorCase(contract.ACCUMULATE, batch=1, channels=3 * 256, height=64, width=64, lanes=3),
    OperatorCase(contract.ACCUMULATE, batch=8, channels=3 * 256, height=64, width=64, lanes=3),
    OperatorCase(contract.UPSAMPLE_ADD, batch=1, channels=64, height=256, width=256),
    OperatorCase(contract.UPSAMPLE_ADD, batch=1, channels=32, height=512, width=512),
)
_LARGE = 2**29  # bytes: no cache holds as much
_REPEATS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """One kernel at one size; times in milliseconds, medians. What could not run is None."""

    case: str
    dtype: str
    megabytes: float
    kernel: float
    copy: float  # of as many bytes, half read and half written
    eager: float | None  # our PyTorch operator
    compiled: float | None  # the same under torch.compile
    unfold: float | None  # the public file's form; of FadeUpsample alone
    error: float
    bound: float

    @property
    def passed(self) -> bool:
        """Whether what was timed is right."""
        return self.error <= self.bound

    @property
    def gigabytes_per_second(self) -> float:
        """Every tensor counted once."""
        return self.megabytes / self.kernel


def timed(kernels: CudaKernels, case: OperatorCase, dtype: torch.dtype) -> Timed:
    """Measure one kernel and its alternatives on the current CUDA device."""
    inputs = {name: torch.from_numpy(array).to("cuda", dtype) for name, array in case.inputs().items()}
    if case.operator is contract.ACCUMULATE:  # dense, as the lowered head has it
        inputs["base"] = torch.randn(output_shape(case), device="cuda").to(dtype)
    output = torch.full(output_shape(case), torch.nan, dtype=dtype, device="cuda")
    arguments = filled(case.operator, inputs, output, case.attributes)
    stream = torch.cuda.current_stream().cuda_stream
    kernel = _milliseconds(lambda: kernels.launch(arguments, stream))
    values = list(inputs.values())
    moved = sum(x.nbytes for x in (*values, output))
    bound = tolerance(BOUNDS[dtype])
    wide = TORCH_OPS[case.operator.name](*(x.double() for x in values), **case.attributes)
    error = excess(output.double(), wide, bound.rtol)
    del wide
    compiled = torch.compile(plain_function(case.operator))
    return Timed(
        case=str(case),
        dtype=str(dtype).removeprefix("torch."),
        megabytes=moved / 1e6,
        kernel=kernel,
        copy=_copy_milliseconds(moved),
        eager=_tried(lambda: TORCH_OPS[case.operator.name](*values, **case.attributes)),
        compiled=_tried(lambda: compiled(*values, **case.attributes)),
        unfold=_tried(lambda: _unfolded(values, case)) if case.operator is contract.UPSAMPLE else None,
        error=error,
        bound=bound.atol,
    )


def plain_function(operator: contract.Operator) -> Callable[..., Tensor]:
    """What computes our PyTorch operator, for torch.compile, which does not look into operators."""
    by_name = {
        contract.REASSEMBLE: torch_ops.reassemble,
        contract.UPSAMPLE: torch_ops.upsample,
        contract.ACCUMULATE: torch_ops.accumulate,
        contract.UPSAMPLE_ADD: torch_ops.upsample_add,
    }
    function: Callable[..., Tensor] = by_name[operator]._init_fn
    return function


def _unfolded(values: list[Tensor], case: OperatorCase) -> Tensor:
    return naive_upsample(*values, kernel_size=case.kernel_size)


def copy_bandwidth() -> float:
    """GB/s of a large copy, bytes read and bytes written."""
    return _LARGE / _copy_milliseconds(_LARGE) / 1e6


def _copy_milliseconds(moved: int) -> float:
    """Of a copy that reads half of ``moved`` bytes and writes the other half."""
    source = torch.zeros(moved // 2, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return _milliseconds(lambda: target.copy_(source))


def _tried(run: Callable[[], object]) -> float | None:
    """The time, or None with a warning where it can't run: out of memory, or no compiler for torch.compile."""
    try:
        return _milliseconds(run)
    except Exception as error:
        warnings.warn(f"left out: {type(error).__name__}: {str(error).splitlines()[0]}", stacklevel=2)
        torch.cuda.empty_cache()
        return None


def _milliseconds(run: Callable[[], object]) -> float:
    """Median of one run, by the GPU's own clock."""
    fill = torch.zeros(_LARGE // 4, dtype=torch.float32, device="cuda")
    for _ in range(3):
        run()
    times: list[float] = []
    for _ in range(_REPEATS):
        fill.sum()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)
