"""Whether a file has nodes that a native library can run: its metadata tells only whether it might.

Standard library only.
"""

from __future__ import annotations

import mmap
from pathlib import Path

from fade_deploy.contract import OPERATORS

__all__ = ["has_native_operators"]


def has_native_operators(path: Path) -> bool:
    """Whether an ``.onnx`` file, not an empty one, names one of our operators.

    The GPU's library leaves FadeHead to its body; no file has that one alone.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return any(data.find(operator.name.encode()) >= 0 for operator in OPERATORS)
