"""fade-deploy: from a FADE checkpoint to a verified, fast deployable on every runtime.

Everything is imported on first use, so that a server with only ONNX
Runtime installed never meets PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fade_deploy.errors import FadeDeployError
from fade_deploy.optional import require, require_exporting
from fade_deploy.version import __version__

if TYPE_CHECKING:
    from fade_deploy.api.bench.bench import Benchmark, BenchOptions, bench
    from fade_deploy.api.doctor import Diagnosis, doctor
    from fade_deploy.api.export.engine import EngineResult, export_engine
    from fade_deploy.api.export.export import export
    from fade_deploy.api.export.module import export_module
    from fade_deploy.api.export.options import EngineOptions, ExportOptions
    from fade_deploy.api.export.triton import TritonResult, export_triton
    from fade_deploy.api.export.verified_file import ExportResult
    from fade_deploy.api.inspect import inspect
    from fade_deploy.api.predict import Prediction, predict
    from fade_deploy.api.tables import paper_table
    from fade_deploy.api.verify.options import VerifyOptions
    from fade_deploy.api.verify.verify import Verification, verify
    from fade_deploy.ops.registry import UPSAMPLERS, build_upsampler
    from fade_deploy.serve.matting_predictor import MattingPredictor
    from fade_deploy.serve.predictor import Predictor
    from fade_deploy.serve.triton_options import TritonOptions
    from fade_deploy.swap.carafe import carafe_replaced
    from fade_deploy.swap.modules import Swapped, swap_upsamplers

__all__ = [
    "BenchOptions",
    "Benchmark",
    "Diagnosis",
    "EngineOptions",
    "EngineResult",
    "ExportOptions",
    "ExportResult",
    "FadeDeployError",
    "MattingPredictor",
    "Prediction",
    "Predictor",
    "Swapped",
    "TritonOptions",
    "TritonResult",
    "UPSAMPLERS",
    "Verification",
    "VerifyOptions",
    "__version__",
    "bench",
    "build_upsampler",
    "carafe_replaced",
    "doctor",
    "export",
    "export_engine",
    "export_module",
    "export_triton",
    "inspect",
    "paper_table",
    "predict",
    "swap_upsamplers",
    "verify",
]

_LAZY = {
    "BenchOptions": "fade_deploy.api.bench.bench",
    "Benchmark": "fade_deploy.api.bench.bench",
    "bench": "fade_deploy.api.bench.bench",
    "Diagnosis": "fade_deploy.api.doctor",
    "doctor": "fade_deploy.api.doctor",
    "ExportOptions": "fade_deploy.api.export.options",
    "ExportResult": "fade_deploy.api.export.verified_file",
    "export": "fade_deploy.api.export.export",
    "export_module": "fade_deploy.api.export.module",
    "EngineOptions": "fade_deploy.api.export.options",
    "EngineResult": "fade_deploy.api.export.engine",
    "export_engine": "fade_deploy.api.export.engine",
    "Verification": "fade_deploy.api.verify.verify",
    "verify": "fade_deploy.api.verify.verify",
    "VerifyOptions": "fade_deploy.api.verify.options",
    "export_triton": "fade_deploy.api.export.triton",
    "TritonOptions": "fade_deploy.serve.triton_options",
    "TritonResult": "fade_deploy.api.export.triton",
    "inspect": "fade_deploy.api.inspect",
    "Prediction": "fade_deploy.api.predict",
    "predict": "fade_deploy.api.predict",
    "Predictor": "fade_deploy.serve.predictor",
    "MattingPredictor": "fade_deploy.serve.matting_predictor",
    "paper_table": "fade_deploy.api.tables",
    "UPSAMPLERS": "fade_deploy.ops.registry",
    "build_upsampler": "fade_deploy.ops.registry",
    "Swapped": "fade_deploy.swap.modules",
    "swap_upsamplers": "fade_deploy.swap.modules",
    "carafe_replaced": "fade_deploy.swap.carafe",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fade_deploy' has no attribute '{name}'")
    if name in ("export", "export_module", "ExportResult"):
        require_exporting()
    elif _LAZY[name].startswith(("fade_deploy.ops", "fade_deploy.swap")):
        require("torch", extra="export")
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
