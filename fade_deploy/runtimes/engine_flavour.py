"""The two TensorRTs: which package is which, and which versions of it are supported.

TensorRT is for data-centre GPUs and builds for the GPU it runs on; TensorRT-RTX is for GeForce and RTX cards and builds
without a GPU. Neither reads the other's engines. Both have one Python interface, of which this package uses what
exists in every supported version.
"""

from __future__ import annotations

import re
from enum import StrEnum
from types import ModuleType

from fade_deploy.errors import MissingDependency
from fade_deploy.optional import require

__all__ = ["Flavour", "imported", "major_minor"]


class Flavour(StrEnum):
    """Which TensorRT an engine is for; the choice of ``--format``."""

    TENSORRT = "tensorrt"
    RTX = "tensorrt-rtx"

    @property
    def module(self) -> str:
        """The Python module."""
        return "tensorrt" if self is Flavour.TENSORRT else "tensorrt_rtx"

    @property
    def label(self) -> str:
        """How a sentence calls it."""
        return "TensorRT" if self is Flavour.TENSORRT else "TensorRT-RTX"

    @property
    def ending(self) -> str:
        """Of an engine's default name: both may lie in one folder."""
        return ".engine" if self is Flavour.TENSORRT else ".rtx.engine"

    @property
    def lowest(self) -> tuple[int, int]:
        """The oldest supported version: before it the parser takes function bodies although a plugin is there."""
        return (10, 15) if self is Flavour.TENSORRT else (1, 7)

    @property
    def highest_major(self) -> int:
        """The newest supported major version."""
        return 11 if self is Flavour.TENSORRT else 1


def major_minor(version: str) -> tuple[int, int]:
    """(major, minor) of a version such as ``10.16.1.11``.

    Raises:
        ValueError: It does not start with two numbers.
    """
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None:
        raise ValueError(f"'{version}' is no version")
    return int(found[1]), int(found[2])


def imported(flavour: Flavour) -> ModuleType:
    """The Python module of ``flavour``, of a version that is supported.

    Raises:
        MissingDependency: It is not installed, its libraries can't be loaded, or it is another version.
    """
    try:
        trt = require(flavour.module, extra=str(flavour))
    except (ImportError, OSError, RuntimeError) as error:  # of its own libraries, or of the placeholder on PyPI
        reason = " ".join(str(error).split())
        raise MissingDependency(
            f"{flavour.label} is installed and can't be loaded ({reason}), expected its libraries beside it: install "
            f"it again with: pip install 'fade-deploy[{flavour}]'"
        ) from error
    version = major_minor(trt.__version__)
    if not flavour.lowest <= version < (flavour.highest_major + 1, 0):
        first, second = flavour.lowest
        raise MissingDependency(
            f"{flavour.label} {trt.__version__} is installed, expected {first}.{second} or newer, up to "
            f"{flavour.highest_major}.x: pip install '{flavour}>={first}.{second},<{flavour.highest_major + 1}'"
        )
    return trt
