"""``make trt-check``: on a machine with TensorRT and a GPU, whether engines run, agree, and how fast they are.

The shipped checkpoint becomes engines in fp32 and fp16, with the function bodies and with the plugin. Polygraphy runs
each beside ONNX Runtime on the CPU and compares both with eager PyTorch; then each engine is timed. Prints one Markdown
table and writes JSON beside it. Exit code 1: something disagrees.

Written against TensorRT's real interface; docs/TENSORRT.md says whether it has been run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from polygraphy.backend.onnxrt import OnnxrtRunner

from benchmarks.machine import ROOT, stamp
from fade_deploy.api.export.engine import export_engine
from fade_deploy.api.export.export import export
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.checkpoints.checkpoint import read_checkpoint
from fade_deploy.checkpoints.recognise import model_from_checkpoint, recipe_for
from fade_deploy.contract import Head
from fade_deploy.engines.options import EngineOptions
from fade_deploy.engines.profile import ShapeProfile
from fade_deploy.errors import FadeDeployError
from fade_deploy.models.deployed import DeployedSegmentation
from fade_deploy.precision import Precision
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.eager import EagerRunner
from fade_deploy.runtimes.engine import LoadedEngine, load_engine
from fade_deploy.runtimes.engine_flavour import Flavour
from fade_deploy.runtimes.engine_gpu import current_gpu
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary
from fade_deploy.runtimes.ort import session_from_onnx
from fade_deploy.tolerances import tolerance
from fade_deploy.verification.agreement import SCORES, Agreement, compare
from fade_deploy.verification.inputs import VerificationInput, verification_inputs

CHECKPOINT = ROOT / "samples" / "01_train_shapes" / "shapes_fade.pth"
PROFILE = ShapeProfile.parse("1x256x256:1x512x512:4x512x512")
SHAPES = (Shape(1, 256, 320), Shape(1, 512, 512), Shape(4, 512, 512))
WARM_UP, RUNS = 20, 100


@dataclass(frozen=True, slots=True)
class Row:
    """One runner at one shape, against eager PyTorch."""

    name: str
    agreement: Agreement
    milliseconds: float | None  # median, with the copies to and from the GPU; None for ONNX Runtime


@dataclass(frozen=True, slots=True)
class Reference:
    """Eager PyTorch on the checkpoint, and what it is given."""

    runner: EagerRunner
    inputs: Sequence[VerificationInput]


def reference() -> Reference:
    """Of the shipped checkpoint, on the sample pictures."""
    read = read_checkpoint(CHECKPOINT)
    recipe = recipe_for(read, "")
    deployed = DeployedSegmentation(
        model_from_checkpoint(read, recipe), head=Head.LOGITS, recipe=recipe, embed_preprocess=False
    ).eval()

    def logits(image: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = deployed.class_scores(image)
        return {Head.LOGITS.output: scores, SCORES: scores}

    return Reference(
        runner=EagerRunner(logits, {"image": (np.dtype(np.float32), (-1, 3, -1, -1))}),
        inputs=tuple(verification_inputs(recipe, SHAPES, embed_preprocess=False)),
    )


def milliseconds(engine: LoadedEngine, batch: VerificationInput) -> float:
    """The median of one run; the engine is active."""
    seconds = []
    for run in range(WARM_UP + RUNS):
        start = time.perf_counter()
        engine.run(batch.tensors)
        if run >= WARM_UP:
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) * 1e3


def check(flavour: Flavour, folder: Path, plugin: str) -> list[Row]:
    """Build, compare and time every engine."""
    expected = reference()
    exported = export(CHECKPOINT, folder / "model.onnx", ExportOptions(force=True))
    candidate = OnnxrtRunner(session_from_onnx(exported.path, library=NONE), name="onnxruntime")
    bound = tolerance("ORT_CPU_FP32")
    found = compare(expected.runner, [candidate], expected.inputs, outputs=[Head.LOGITS.output], tolerance=bound)
    rows = [Row("ONNX Runtime, CPU, fp32", agreement, None) for agreement in found]
    has_plugin = plugin not in (AUTOMATIC, NONE) or NativeLibrary.TENSORRT.installed is not None
    if not has_plugin:
        print(f"skipped: with the plugin ({NativeLibrary.TENSORRT} is not installed; see plugins/README.md)")
    for precision in (Precision.FP32, Precision.FP16):
        bound = tolerance("ORT_CPU_FP32", precision)  # of sums in another order, on whichever processor
        for choice, what in ((NONE, "bodies"), (plugin, "plugin")) if has_plugin else ((NONE, "bodies"),):
            options = EngineOptions(flavour=flavour, profile=PROFILE, plugin=choice, force=True)
            built = export_engine(
                exported.path, folder / f"{precision}.{what}.engine", options, ExportOptions(precision=precision)
            )
            print(f"built {built.path}, read from its {built.document['read_from']}")
            engine = load_engine(built.path, plugin=choice)
            outputs = [Head.LOGITS.output]
            agreements = compare(expected.runner, [engine.runner], expected.inputs, outputs=outputs, tolerance=bound)
            with engine:
                times = [milliseconds(engine, batch) for batch in expected.inputs]
            rows += [
                Row(f"{flavour.label}, {precision}, {what}", agreement, time_)
                for agreement, time_ in zip(agreements, times, strict=True)
            ]
    return rows


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = ["| runner | input | max error | labels agreeing | ms | verdict |", "|---|---|---|---|---|---|"]
    for row in rows:
        found = row.agreement
        error = "-" if found.max_error is None else f"{found.max_error:.1e}"
        shown = "-" if row.milliseconds is None else f"{row.milliseconds:.3f}"
        lines.append(
            f"| {row.name} | {found.shape} | {error} | {found.labels_agreeing} of {found.labels_compared} | {shown} | "
            f"{'agrees' if found.passed else 'DISAGREES'} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Exit code: 0 agreed, 1 something disagrees, 2 the user can mend it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--format", choices=list(Flavour), default=Flavour.TENSORRT, type=Flavour)
    parser.add_argument("--out", type=Path, default=Path("out/trt_check"), help="folder for the files")
    parser.add_argument("--plugin", default=AUTOMATIC, help="the plugin library, where it is not installed")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    try:
        rows = check(arguments.format, arguments.out, arguments.plugin)
    except FadeDeployError as error:
        print(f"trt-check: {error}", file=sys.stderr)
        return 2
    gpu = current_gpu()
    print(f"\n{gpu.name if gpu else 'no GPU'}\n\n{table(rows)}")
    document = {
        **stamp(),
        "gpu": gpu and gpu.as_dict(),
        "rows": [{"name": row.name, "ms": row.milliseconds, **row.agreement.as_dict()} for row in rows],
        "tolerances": {
            str(precision): asdict(tolerance("ORT_CPU_FP32", precision))
            for precision in (Precision.FP32, Precision.FP16)
        },
    }
    target = arguments.out / "trt_check.json"
    target.write_text(json.dumps(document, indent=2) + "\n")
    print(f"\n{target}")
    return 0 if all(row.agreement.passed for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
