"""Both shipped models on ONNX Runtime's CUDA provider, with the native library and without, against the CPU."""

from __future__ import annotations

import importlib.util
import math
import statistics
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import ROOT
from fade_deploy import contract
from fade_deploy.errors import FadeDeployError, InputError, MissingDependency
from fade_deploy.tolerances import tolerance

__all__ = ["Ran", "models"]

_MODELS = {
    "segmentation": ROOT / "samples/01_train_shapes/shapes_fade.pth",
    "matting": ROOT / "samples/02_train_matting/matting_fade.pth",
}
_NEEDED = ("onnxruntime", "onnx", "onnxscript", "polygraphy")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """One model with one choice of library."""

    model: str
    library: str
    error: float  # the largest |a - b| - rtol * |b|
    bound: float
    milliseconds: float | None = None
    cpu_milliseconds: float | None = None
    nodes: dict[str, int] | None = None  # provider -> how many
    complaint: str = ""

    @property
    def passed(self) -> bool:
        """Whether the GPU's result is the CPU's."""
        return self.error <= self.bound


def models(out: Path, choice: str) -> tuple[list[Ran], str]:
    """The rows, and why the rest was left out.

    Args:
        out: Folder for the exported files.
        choice: ``auto`` for the installed library, or a path.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        return [], f"{', '.join(missing)} not installed (pip install '.[export,ort-gpu]')"
    from fade_deploy.provider import Provider
    from fade_deploy.runtimes.native_libraries import NONE, NativeLibrary, library_for
    from fade_deploy.runtimes.ort import session_from_onnx

    try:
        library = library_for(choice, NativeLibrary.ONNXRUNTIME_CUDA)
    except FadeDeployError as error:
        return [], str(error)
    if library is None:
        return [], f"{NativeLibrary.ONNXRUNTIME_CUDA} is not installed (FADE_CUDA=1 pip install .)"
    rows: list[Ran] = []
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
                rows.append(Ran(model=name, library=kind, error=math.inf, bound=0, complaint=str(error)))
    return rows, ""


def _exported(checkpoint: Path, out: Path) -> Path:
    from fade_deploy import ExportOptions, export

    out.mkdir(parents=True, exist_ok=True)
    options = ExportOptions(full_verification=False, force=True)
    result = export(checkpoint, out / f"{checkpoint.stem}.onnx", options)
    if not result.passed:
        raise RuntimeError(f"{checkpoint.name}, exported, disagrees with PyTorch on the CPU already: {result.path}")
    return result.path


def _compared(name: str, kind: str, session: Any, reference: Any) -> Ran:
    from fade_deploy.runtimes.ort import output_of
    from fade_deploy.runtimes.providers import placed_nodes

    inputs = _inputs(session)
    (output,) = (given.name for given in session.get_outputs())
    expected, found = (np.asarray(output_of(each, output, inputs), np.float64) for each in (reference, session))
    bound = tolerance("ORT_CPU_FP32")
    error = np.abs(found - expected)
    error[error <= bound.rtol * np.abs(expected)] = 0
    return Ran(
        model=name,
        library=kind,
        error=float(np.nan_to_num(error, nan=np.inf).max()),
        bound=bound.atol,
        milliseconds=_median_wall(lambda: session.run(None, inputs)) * 1e3,
        cpu_milliseconds=_median_wall(lambda: reference.run(None, inputs), repeats=3) * 1e3,
        nodes=dict(Counter(node.provider for node in placed_nodes(session))),
    )


def _inputs(session: Any) -> dict[str, np.ndarray]:
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
