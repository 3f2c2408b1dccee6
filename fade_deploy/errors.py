"""Errors that a user can mend: what was given, what was expected, what to do.

A ``FadeDeployError`` ends a command with one line and exit code 2. Everything else that is raised is a bug of
ours and keeps its traceback. A disagreement between runtimes is a result (exit code 1), never an exception.
"""

from __future__ import annotations

__all__ = [
    "CheckpointError",
    "ExportError",
    "FadeDeployError",
    "InputError",
    "MissingDependency",
    "OutputError",
    "RecipeError",
]


class FadeDeployError(Exception):
    """Something the user can mend; the message is one line and names the remedy."""


class MissingDependency(FadeDeployError):
    """An optional package is not installed."""


class CheckpointError(FadeDeployError):
    """A checkpoint can't be read, is not a model we know, or would run code."""


class RecipeError(FadeDeployError):
    """A recipe is missing, malformed, or contradicts the checkpoint."""


class ExportError(FadeDeployError):
    """The requested export is impossible: an illegal shape, an unsupported opset."""


class InputError(FadeDeployError):
    """An input picture or model file is missing or is not what it should be."""


class OutputError(FadeDeployError):
    """The target can't be written; what was there before is untouched."""
