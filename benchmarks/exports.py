"""The exported files that are compared, each made once and kept while the code that made it stays the same."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir as ir
import torch

from benchmarks.machine import ROOT
from benchmarks.models import BenchmarkModel, inputs_of, network, saved_checkpoint
from benchmarks.naive_fade import with_naive_fade
from fade_deploy.api.export.export import export
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.contract import Task
from fade_deploy.graph.onnx_from_model import GraphOptions, onnx_from_model

__all__ = ["FILES", "ExportedFile", "export_file", "fresh_folder"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedFile:
    """One way to export a model; ``naive`` is the plain PyTorch form, without our operators."""

    upsampler: str
    fuse: bool = True
    standard_ops: bool = False
    naive: bool = False
    einsum: bool = False  # of the naive form


FILES = {
    "bilinear": ExportedFile(upsampler="bilinear", fuse=False),
    "bilinear-fused": ExportedFile(upsampler="bilinear"),
    "fade": ExportedFile(upsampler="fade", fuse=False),
    "fade-fused": ExportedFile(upsampler="fade"),
    "fade-fused-standard": ExportedFile(upsampler="fade", standard_ops=True),
    "fade-naive": ExportedFile(upsampler="fade", naive=True),
    "fade-einsum": ExportedFile(upsampler="fade", naive=True, einsum=True),
}


def fresh_folder(parent: Path) -> Path:
    """The folder for the files of today's code; those that other code exported are removed."""
    digest = hashlib.sha256(f"{torch.__version__} {onnx.__version__}".encode())
    ours = [ROOT / "benchmarks" / f"{name}.py" for name in ("exports", "models", "naive_fade", "operators")]
    weights = [ROOT / "tests/golden_weights.py", ROOT / "tests/golden/recipe.py"]
    for source in sorted([*ROOT.glob("fade_deploy/**/*.py"), *ROOT.glob("export/*.toml"), *ours, *weights]):
        digest.update(source.read_bytes())
    folder = parent / digest.hexdigest()[:12]
    for other in parent.glob("*"):
        if other != folder and other.is_dir() and re.fullmatch("[0-9a-f]{12}", other.name):
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def export_file(model: BenchmarkModel, name: str, folder: Path) -> Path:
    """The file ``name`` of ``FILES`` for the model, exported now unless it is there.

    Raises:
        RuntimeError: The exported file disagrees with PyTorch.
    """
    stem = model.title.replace(" ", "-").lower()
    target = folder / f"{stem}-{name}.onnx"
    if target.exists():
        return target
    how = FILES[name]
    if how.naive:
        _export_naive(model, target, einsum=how.einsum)
        return target
    checkpoint = folder / f"{stem}-{how.upsampler}.pth"
    if not checkpoint.exists():
        saved_checkpoint(model, how.upsampler, checkpoint)
    options = ExportOptions(
        head=model.head, fuse=how.fuse, standard_ops=how.standard_ops, full_verification=False, force=True
    )
    result = export(checkpoint, target, options)
    if not result.passed:
        raise RuntimeError(f"{result.path} disagrees with PyTorch, expected agreement: fade-export {checkpoint}")
    return target


def _export_naive(model: BenchmarkModel, target: Path, *, einsum: bool) -> None:
    """As a user does: the plain PyTorch network, torch.onnx's dynamo exporter, dynamic sizes."""
    naive = with_naive_fade(network(model, "fade"), einsum=einsum)
    multiple = 16 if model.task is Task.MATTING else 32
    # No example size may be 1 or equal another: the exporter would take them for constants.
    example = inputs_of(model.task, batch=2, height=2 * multiple, width=3 * multiple)
    options = GraphOptions(
        outputs={"output": None},
        dynamic_axes={name: {0: "batch", 2: "height", 3: "width"} for name in example},
        dimensions={"height": multiple * torch.export.Dim("rows"), "width": multiple * torch.export.Dim("columns")},
    )
    unfinished = target.with_suffix(".unfinished")
    ir.save(onnx_from_model(naive, {name: torch.from_numpy(x) for name, x in example.items()}, options), unfinished)
    unfinished.rename(target)
