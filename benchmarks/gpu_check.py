"""What only a machine with an NVIDIA GPU can show; it needs nvcc, CMake, PyTorch and numpy, and builds what it runs.

``python -m benchmarks.gpu_check``, or ``make gpu-check``:

1. The CUDA kernels, built here for this GPU: every case of the operators' table and random ones, in float32, float16
   and bfloat16, odd sizes, unaligned tensors, all strides of a base, launched directly and replayed from a CUDA graph,
   against PyTorch in float64 on the same GPU. Outputs hold NaN before, and guards stand around every tensor.
2. The same, fewer, under compute-sanitizer, where it exists.
3. The TensorRT plugin through its harness, without TensorRT, where TENSORRT_ROOT names the folder of its headers.
4. Time and achieved bandwidth, every tensor counted once, beside a copy, PyTorch eager, torch.compile and unfold.
5. With onnxruntime-gpu: both shipped models on its CUDA provider, with the native library and without, against the CPU.

Prints Markdown and writes it with the numbers to ``--out``. What can't run is printed with its reason. Exit codes: 0
all that was checked agrees, 1 something does not, 2 there is no GPU or no compiler.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from benchmarks.cuda_kernels import DTYPES, CudaKernels
from benchmarks.gpu_agreement import checked, sanitized
from benchmarks.gpu_build import Built, build
from benchmarks.gpu_cases import calls
from benchmarks.gpu_models import models
from benchmarks.gpu_report import markdown
from benchmarks.gpu_times import TIMED, copy_bandwidth, timed
from benchmarks.machine import ROOT, stamp
from fade_deploy.errors import FadeDeployError, MissingDependency

_SANITIZED = 20  # random calls beside the table; the sanitizer makes each a hundred times slower


def main() -> int:
    """Check everything that can be checked; the exit code."""
    parser = argparse.ArgumentParser(prog="gpu_check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--library", default="auto", help="libfade_onnxruntime_cuda.so; default: the installed one")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "gpu", help="folder of report.md and report.json")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "gpu", help="folder to build in")
    parser.add_argument("--count", type=int, default=300, help="random calls of kernels (default 300)")
    parser.add_argument("--seed", type=int, default=0, help="of the random calls")
    options = parser.parse_args()
    try:
        _require_gpu()
        built = build(options.build)
    except FadeDeployError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    document: dict[str, Any] = stamp()
    document["gpu"] = torch.cuda.get_device_name()
    document["cuda"] = {"torch": torch.version.cuda, "capability": torch.cuda.get_device_capability()}
    kernels = CudaKernels(built.kernels)
    agreement = checked(kernels, calls(options.count, options.seed), "cuda")
    sanitizer = sanitized(built.kernels, _SANITIZED)
    plugin_passed, plugin = _harness(built)
    document["copy_gb_per_s"] = copy_bandwidth()
    times = [timed(kernels, case, dtype) for case in TIMED for dtype in DTYPES]
    ran, left_out = models(options.out, options.library)
    document |= {"kernels": [asdict(row) for row in agreement], "sanitizer": asdict(sanitizer), "tensorrt": plugin}
    document |= {"times": [asdict(row) for row in times], "models": [asdict(row) for row in ran]}
    document["models_left_out"] = left_out
    text = markdown(
        document,
        checked=agreement,
        sanitized=sanitizer,
        tensorrt=plugin,
        timed=times,
        models=ran,
        models_left_out=left_out,
    )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    (options.out / "report.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(text)
    good = plugin_passed and sanitizer.passed and all(row.passed for row in (*agreement, *times, *ran))
    return 0 if good else 1


def _require_gpu() -> None:
    if not torch.cuda.is_available():
        raise MissingDependency(
            f"PyTorch {torch.__version__} finds no GPU, expected an NVIDIA GPU, its driver (nvidia-smi lists it) and a "
            "PyTorch with CUDA: there is nothing to check here without them"
        )


def _harness(built: Built) -> tuple[bool, str]:
    """Whether the plugin passes (or there is none), and what its harness said last."""
    if built.harness is None:
        return True, f"skipped, {built.left_out}"
    command = [str(built.harness), str(built.tensorrt), "--gpu"]
    finished = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if finished.returncode:
        print(finished.stdout, file=sys.stderr)
    lines = finished.stdout.strip().splitlines()
    return finished.returncode == 0, lines[-1] if lines else f"exit code {finished.returncode}"


if __name__ == "__main__":
    sys.exit(main())
