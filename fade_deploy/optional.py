"""Optional dependencies: imported where they are needed, with the line that installs them."""

from __future__ import annotations

import importlib
from types import ModuleType

from fade_deploy.errors import MissingDependency

__all__ = ["require", "require_exporting"]

# All that an export imports from elsewhere; Pillow reads the sample pictures.
_EXPORTING = ("torch", "onnx", "onnx_ir", "onnxscript", "polygraphy", "PIL")


def require(module: str, *, extra: str) -> ModuleType:
    """Import ``module`` or say which extra of fade-deploy brings it.

    Args:
        module: Dotted name, as in an import statement.
        extra: The extra of this package that installs it.

    Raises:
        MissingDependency: The module is not installed; nothing is ever installed for the user.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing != module.partition(".")[0]:
            raise  # something inside an installed package is broken: that is not ours to explain away
        raise MissingDependency(
            f"{module} is not installed; install it with: pip install 'fade-deploy[{extra}]' "
            f"(from a clone: pip install '.[{extra}]')"
        ) from error


def require_exporting() -> None:
    """Check everything that an export needs at once, so that the user installs once.

    Raises:
        MissingDependency: Something is missing; the message names the extras for all that is.
    """
    extra = "export"
    try:
        require("onnxruntime", extra="ort-cpu")
    except MissingDependency:
        extra = "export,ort-cpu"
    for module in _EXPORTING:
        require(module, extra=extra)
    require("onnxruntime", extra="ort-cpu")
