"""The GPU check as Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from benchmarks.gpu_agreement import Checked, Sanitized
from benchmarks.gpu_models import Ran
from benchmarks.gpu_times import Timed

__all__ = ["markdown"]


def markdown(
    document: dict[str, Any],
    *,
    checked: Sequence[Checked],
    sanitized: Sanitized,
    tensorrt: str,
    timed: Sequence[Timed],
    models: Sequence[Ran],
    models_left_out: str,
) -> str:
    """Everything that was checked and measured; what was left out says why."""
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items())
    lines = [
        "# GPU check",
        "",
        f"{document['gpu']}, CUDA {document['cuda']['torch']}; {versions}; commit {document['commit'] or 'unknown'}; "
        f"{document['date']}.",
        "",
        f"Kernels against PyTorch in float64, launched and replayed from a CUDA graph: "
        f"{sum(row.passed for row in checked)} of {len(checked)} calls agree.",
        *(f"- DISAGREES: {row.call}, error {row.error:.2e} {row.complaint}" for row in checked if not row.passed),
        "",
        f"compute-sanitizer: {sanitized.text}.",
        "",
        f"TensorRT plugin, through its harness: {tensorrt}.",
        "",
        *_times(timed, document["copy_gb_per_s"]),
        "",
        *_models(models),
    ]
    if models_left_out:
        lines.append(f"Models on the CUDA provider were left out: {models_left_out}.")
    return "\n".join(lines) + "\n"


def _times(rows: Sequence[Timed], copy: float) -> list[str]:
    if not rows:
        return ["Times were not asked for."]
    return [
        f'A large copy achieves {copy:.0f} GB/s; "of a copy" is against that, "as many bytes" against a copy of the '
        "same size, start included. The last three columns: how many times longer PyTorch takes.",
        "",
        "| kernel | dtype | ms | MB | GB/s | of a copy | of as many bytes | eager | torch.compile | unfold | agrees |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row.case} | {row.dtype} | {row.kernel:.4f} | {row.megabytes:.1f} | {row.gigabytes_per_second:.0f} | "
            f"{row.gigabytes_per_second / copy:.0%} | {row.copy / row.kernel:.0%} | {_times_of(row.eager, row)} | "
            f"{_times_of(row.compiled, row)} | {_times_of(row.unfold, row)} | {'yes' if row.passed else 'NO'} |"
            for row in rows
        ),
    ]


def _times_of(milliseconds: float | None, row: Timed) -> str:
    return "-" if milliseconds is None else f"{milliseconds / row.kernel:.1f}x"


def _models(rows: Sequence[Ran]) -> list[str]:
    if not rows:
        return []
    return [
        "| model, 512x512 on the CUDA provider | ms | CPU, ms | error | nodes | agrees |",
        "| --- | --- | --- | --- | --- | --- |",
        *(
            f"| {row.model}, {row.library} | {row.milliseconds or math.nan:.2f} | "
            f"{row.cpu_milliseconds or math.nan:.1f} | {row.error:.1e} | "
            f"{', '.join(f'{count} {name}' for name, count in (row.nodes or {}).items()) or row.complaint} | "
            f"{'yes' if row.passed else 'NO'} |"
            for row in rows
        ),
    ]
