"""The time that an operator can't go below on this machine: its arithmetic, or its unavoidable traffic to memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

from benchmarks.operators import OperatorCase, eager_operator
from fade_deploy.models.complexity import count_call

__all__ = ["Peaks", "Work", "peaks_by_threads", "roofline_seconds", "work_of"]

_FLOAT32 = 4  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """``macs`` multiply-accumulates; ``bytes`` of every input read once and the output written once."""

    macs: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Measured on this machine with some number of threads; a copy counts what it reads and what it writes."""

    fma_gflops: float  # a fused multiply-add is two operations
    copy_gbps: float  # 1e9 bytes a second


def work_of(case: OperatorCase) -> Work:
    """Of one call. Exponentials are not counted, so the bound is below what is possible."""
    counted = count_call(eager_operator(case), *case.feature_shapes())
    stated = [shape for _, shape in case.definition.inputs] + [case.definition.output]
    return Work(
        macs=counted.macs + counted.blend_macs, bytes=_FLOAT32 * sum(prod(case.shape(shape)) for shape in stated)
    )


def roofline_seconds(work: Mapping[str, int], peaks: Peaks) -> float:
    """``max(2 * macs / peak, bytes / bandwidth)``."""
    return max(2 * work["macs"] / peaks.fma_gflops, work["bytes"] / peaks.copy_gbps) / 1e9


def peaks_by_threads(kernels: Mapping[str, Any]) -> dict[str, Peaks]:
    """From what ``fade_kernel_bench --json`` printed; empty where it did not run."""
    return {
        str(entry["threads"]): Peaks(fma_gflops=entry["fma_gflops"], copy_gbps=entry["copy_gbps"])
        for entry in kernels.get("peaks", [])
    }
