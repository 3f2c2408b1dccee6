"""What only a machine with an NVIDIA GPU can show of the CUDA kernels and of ONNX Runtime's CUDA provider.

``python -m benchmarks.gpu_check``: needs a PyTorch with CUDA and the installed CUDA library (or ``--library``).

1. Every case of the operators' table in float32, float16 and bfloat16, launched directly and replayed from a CUDA
   graph, against PyTorch in float64 on the same GPU.
2. Time and achieved bandwidth, every tensor counted once, beside what a copy achieves.
3. With onnxruntime-gpu: both shipped models on its CUDA provider, with the library and without, against the CPU, and
   which nodes run where.

Prints Markdown and writes it with the numbers to ``--out``. Exit codes: 0 all that was checked agrees (models are left
out, with the reason, where onnxruntime-gpu is not there), 1 something does not, 2 there is no GPU or no library.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.cuda_kernels import DTYPES, CudaKernels, filled
from benchmarks.machine import ROOT, stamp
from fade_deploy import contract
from fade_deploy.errors import FadeDeployError, InputError, MissingDependency
from fade_deploy.ops.torch_ops import TORCH_OPS
from fade_deploy.provider import Provider
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary, library_for
from fade_deploy.tolerances import tolerance
from tests.cases import OPERATOR_CASES, OperatorCase

_BOUNDS = {torch.float32: "OPERATOR_FP32", torch.float16: "OPERATOR_FP16", torch.bfloat16: "OPERATOR_BF16"}
# As in a SegFormer head at 512x512 and 1024x1024, and in the two large stages of A2U matting.
_TIMED = (
    OperatorCase(contract.UPSAMPLE, batch=1, channels=256, height=64, width=64),
    OperatorCase(contract.UPSAMPLE, batch=1, channels=256, height=128, width=128),
    OperatorCase(contract.UPSAMPLE, batch=8, channels=256, height=64, width=64),
    OperatorCase(contract.REASSEMBLE, batch=1, channels=256, height=128, width=128),
    OperatorCase(contract.UPSAMPLE_ADD, batch=1, channels=64, height=256, width=256),
    OperatorCase(contract.UPSAMPLE_ADD, batch=1, channels=32, height=512, width=512),
)
_DEVICE = "cuda"
_COPIED = 2**29  # bytes: no cache holds as much
_REPEATS = 50
_MODELS = {
    "segmentation": ROOT / "samples/01_train_shapes/shapes_fade.pth",
    "matting": ROOT / "samples/02_train_matting/matting_fade.pth",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of a table; what does not apply is None."""

    case: str
    kind: str  # dtype of a kernel, library of a model
    error: float  # the largest |a - b| - rtol * |b|
    bound: float
    passed: bool
    milliseconds: float | None = None
    reference_milliseconds: float | None = None  # PyTorch in the same dtype; the CPU
    bandwidth: float | None = None  # GB/s
    nodes: dict[str, int] | None = None  # provider -> how many


def main() -> int:
    """Check everything that can be checked; the exit code."""
    parser = argparse.ArgumentParser(prog="gpu_check", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--library", default=AUTOMATIC, help="libfade_onnxruntime_cuda.so; default: the installed one")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "gpu", help="folder of report.md and report.json")
    options = parser.parse_args()
    try:
        library = _ready(options.library)
    except FadeDeployError as error:
        print(f"gpu-check: {error}", file=sys.stderr)
        return 2
    kernels = CudaKernels(library)
    document: dict[str, Any] = stamp()
    document["gpu"] = torch.cuda.get_device_name()
    document["cuda"] = {"torch": torch.version.cuda, "capability": torch.cuda.get_device_capability()}
    document["copy_gb_per_s"] = copy = _copy_bandwidth()
    checked = [_checked(kernels, case, dtype) for case in OPERATOR_CASES if _has_kernel(case) for dtype in DTYPES]
    timed = [_timed(kernels, case, dtype) for case in _TIMED for dtype in DTYPES]
    models, left_out = _models(options.out, library)
    document |= {"kernels": [asdict(row) for row in checked], "times": [asdict(row) for row in timed]}
    document |= {"models": [asdict(row) for row in models], "models_left_out": left_out}
    text = _markdown(document, checked, timed, models, left_out, copy)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "report.md").write_text(text, encoding="utf-8")
    (options.out / "report.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(text)
    return 0 if all(row.passed for row in (*checked, *timed, *models)) else 1


def _ready(choice: str) -> Path:
    if not torch.cuda.is_available():
        raise MissingDependency(
            f"PyTorch {torch.__version__} finds no GPU, expected an NVIDIA GPU, its driver (nvidia-smi lists it) and a "
            "PyTorch with CUDA: there is nothing to check here without them"
        )
    library = library_for(choice, NativeLibrary.ONNXRUNTIME_CUDA)
    if library is None:
        raise MissingDependency(
            f"{NativeLibrary.ONNXRUNTIME_CUDA} is not installed, expected one: install the CUDA toolkit, then "
            "pip install . again, or give its path with --library"
        )
    return library


def _has_kernel(case: OperatorCase) -> bool:
    return case.operator is not contract.HEAD


def _tensors(case: OperatorCase, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(array).to(_DEVICE, dtype) for name, array in case.inputs().items()}


def _empty_output(case: OperatorCase, dtype: torch.dtype) -> torch.Tensor:
    lanes = case.lanes if case.operator is contract.ACCUMULATE else 1
    shape = (case.batch, case.channels // lanes, case.height * case.scale, case.width * case.scale)
    return torch.full(shape, torch.nan, dtype=dtype, device=_DEVICE)


def _checked(kernels: CudaKernels, case: OperatorCase, dtype: torch.dtype) -> Row:
    """A direct launch and a replayed one against PyTorch in float64 of the same rounded inputs."""
    inputs = _tensors(case, dtype)
    wide = TORCH_OPS[case.operator.name](*(x.double() for x in inputs.values()), **case.attributes)
    direct, replayed = _empty_output(case, dtype), _empty_output(case, dtype)
    kernels.launch(filled(case.operator, inputs, direct, case.attributes), torch.cuda.current_stream().cuda_stream)
    arguments = filled(case.operator, inputs, replayed, case.attributes)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kernels.launch(arguments, torch.cuda.current_stream().cuda_stream)
    graph.replay()
    torch.cuda.synchronize()
    bound = tolerance(_BOUNDS[dtype])
    errors = [_excess(found.double(), wide, bound.rtol) for found in (direct, replayed)]
    return Row(
        case=str(case),
        kind=_name(dtype),
        error=max(errors),
        bound=bound.atol,
        passed=all(error <= bound.atol for error in errors),
    )


def _timed(kernels: CudaKernels, case: OperatorCase, dtype: torch.dtype) -> Row:
    inputs = _tensors(case, dtype)
    output = _empty_output(case, dtype)
    arguments = filled(case.operator, inputs, output, case.attributes)
    stream = torch.cuda.current_stream().cuda_stream
    seconds = _median_seconds(lambda: kernels.launch(arguments, stream))
    values = list(inputs.values())
    reference = _median_seconds(lambda: TORCH_OPS[case.operator.name](*values, **case.attributes))
    wide = TORCH_OPS[case.operator.name](*(x.double() for x in values), **case.attributes)
    bound = tolerance(_BOUNDS[dtype])
    error = _excess(output.double(), wide, bound.rtol)
    moved = sum(x.nbytes for x in (*values, output))
    return Row(
        case=str(case),
        kind=_name(dtype),
        error=error,
        bound=bound.atol,
        passed=error <= bound.atol,
        milliseconds=seconds * 1e3,
        reference_milliseconds=reference * 1e3,
        bandwidth=moved / seconds / 1e9,
    )


def _excess(found: torch.Tensor, expected: torch.Tensor, rtol: float) -> float:
    """How far the worst element is off beyond its relative share, by ``max(atol, rtol * |expected|)``; NaN is inf."""
    error = (found - expected).abs()
    error = torch.where(error <= rtol * expected.abs(), torch.zeros_like(error), error)
    return float(torch.nan_to_num(error, nan=torch.inf).max())


def _median_seconds(run: Callable[[], object]) -> float:
    """Of one run alone, by the GPU's own clock; the L2 cache is filled with something else before each."""
    flush = torch.empty(_COPIED // 2, dtype=torch.uint8, device=_DEVICE)
    for _ in range(3):
        run()
    milliseconds: list[float] = []
    for _ in range(_REPEATS):
        flush.zero_()
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        run()
        end.record()
        end.synchronize()
        milliseconds.append(start.elapsed_time(end))
    return statistics.median(milliseconds) / 1e3


def _copy_bandwidth() -> float:
    source = torch.zeros(_COPIED, dtype=torch.uint8, device=_DEVICE)
    target = torch.empty_like(source)
    return 2 * _COPIED / _median_seconds(lambda: target.copy_(source)) / 1e9


def _models(out: Path, library: Path) -> tuple[list[Row], str]:
    """Both shipped models on the CUDA provider, or why they were left out."""
    from fade_deploy.runtimes.ort import session_from_onnx

    rows: list[Row] = []
    for name, checkpoint in _MODELS.items():
        path = _exported(checkpoint, out)
        for given in (NONE, str(library)):
            kind = "standard ops" if given == NONE else "with the library"
            try:
                session = session_from_onnx(path, provider=Provider.CUDA, library=given)
                rows.append(_compared(name, kind, session, session_from_onnx(path, library=NONE)))
            except MissingDependency as error:  # what this machine lacks, on one line
                return rows, str(error)
            except InputError as error:  # a node on the CPU, for instance
                print(f"gpu-check: {error}", file=sys.stderr)
                rows.append(Row(case=name, kind=kind, error=math.inf, bound=0, passed=False))
    return rows, ""


def _exported(checkpoint: Path, out: Path) -> Path:
    from fade_deploy import ExportOptions, export

    out.mkdir(parents=True, exist_ok=True)
    options = ExportOptions(full_verification=False, force=True)
    result = export(checkpoint, out / f"{checkpoint.stem}.onnx", options)
    if not result.passed:
        raise RuntimeError(f"{checkpoint.name}, exported, disagrees with PyTorch on the CPU already: {result.path}")
    return result.path


def _compared(name: str, kind: str, session: Any, reference: Any) -> Row:
    from fade_deploy.runtimes.ort import output_of
    from fade_deploy.runtimes.providers import placed_nodes

    inputs = _model_inputs(session)
    (output,) = (given.name for given in session.get_outputs())
    expected, found = (np.asarray(output_of(each, output, inputs), np.float64) for each in (reference, session))
    bound = tolerance("ORT_CPU_FP32")
    error = _excess(torch.from_numpy(found), torch.from_numpy(expected), bound.rtol)
    return Row(
        case=name,
        kind=kind,
        error=error,
        bound=bound.atol,
        passed=error <= bound.atol,
        milliseconds=_median_wall(lambda: session.run(None, inputs)) * 1e3,
        reference_milliseconds=_median_wall(lambda: reference.run(None, inputs), repeats=3) * 1e3,
        nodes=dict(Counter(node.provider for node in placed_nodes(session))),
    )


def _model_inputs(session: Any) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(0)
    channels = {given.name: given.shape[1] for given in session.get_inputs()}
    inputs = {name: generator.standard_normal((1, c, 512, 512)).astype(np.float32) for name, c in channels.items()}
    if "trimap" in inputs:
        levels = np.array([0, contract.UNKNOWN, 255], np.float32) / 255
        inputs["trimap"] = generator.choice(levels, inputs["trimap"].shape).astype(np.float32)
    return inputs


def _median_wall(run: Callable[[], object], *, repeats: int = 20) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _markdown(
    document: dict[str, Any], checked: list[Row], timed: list[Row], models: list[Row], left_out: str, copy: float
) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    agreeing = sum(row.passed for row in checked)
    lines = [
        "# GPU check",
        "",
        f"{document['gpu']}, CUDA {document['cuda']['torch']}; {versions}; commit {document['commit'] or 'unknown'}; "
        f"{document['date']}.",
        "",
        f"Kernels against PyTorch in float64, launched and replayed from a CUDA graph: {agreeing} of {len(checked)} "
        "cases agree.",
        *(f"- DISAGREES: {row.case} {row.kind}, error {row.error:.2e}" for row in checked if not row.passed),
        "",
        f"A copy achieves {copy:.0f} GB/s.",
        "",
        "| kernel | dtype | ms | GB/s | of a copy | PyTorch, ms | agrees |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row.case} | {row.kind} | {row.milliseconds:.3f} | {row.bandwidth:.0f} | {row.bandwidth / copy:.0%} | "
        f"{row.reference_milliseconds:.3f} | {'yes' if row.passed else 'NO'} |"
        for row in timed
        if row.bandwidth is not None
    ]
    lines.append("")
    if models:
        lines += [
            "| model, 512x512 on the CUDA provider | ms | CPU, ms | error | nodes | agrees |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            f"| {row.case}, {row.kind} | {row.milliseconds or math.nan:.2f} | "
            f"{row.reference_milliseconds or math.nan:.1f} | {row.error:.1e} | "
            f"{', '.join(f'{count} {name}' for name, count in (row.nodes or {}).items())} | "
            f"{'yes' if row.passed else 'NO'} |"
            for row in models
        ]
    if left_out:
        lines.append(f"Models on the CUDA provider were left out: {left_out}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
