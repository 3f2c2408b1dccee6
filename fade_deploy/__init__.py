"""fade-deploy: from a FADE checkpoint to a verified, fast deployable on every runtime.

``export``, ``inspect``, ``predict`` and ``Predictor`` are imported on first use, so that a server with only ONNX
Runtime installed never meets PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from fade_deploy.errors import FadeDeployError
from fade_deploy.optional import require_exporting
from fade_deploy.version import __version__

if TYPE_CHECKING:
    from fade_deploy.api.export import export
    from fade_deploy.api.export_module import export_module
    from fade_deploy.api.inspect import inspect
    from fade_deploy.api.options import ExportOptions
    from fade_deploy.api.predict import Prediction, predict
    from fade_deploy.api.verified_file import ExportResult
    from fade_deploy.serve.predictor import Predictor

__all__ = [
    "ExportOptions",
    "ExportResult",
    "FadeDeployError",
    "Prediction",
    "Predictor",
    "__version__",
    "export",
    "export_module",
    "inspect",
    "predict",
]

_LAZY = {
    "ExportOptions": "fade_deploy.api.options",
    "ExportResult": "fade_deploy.api.verified_file",
    "export": "fade_deploy.api.export",
    "export_module": "fade_deploy.api.export_module",
    "inspect": "fade_deploy.api.inspect",
    "Prediction": "fade_deploy.api.predict",
    "predict": "fade_deploy.api.predict",
    "Predictor": "fade_deploy.serve.predictor",
}


_EXPORTING = ("ExportResult", "export", "export_module")  # need more than a server has


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'fade_deploy' has no attribute '{name}'")
    if name in _EXPORTING:
        require_exporting()
    return getattr(importlib.import_module(_LAZY[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
