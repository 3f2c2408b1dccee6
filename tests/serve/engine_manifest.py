"""An engine's files as fade-export leaves them, but for the engine's bytes, which nothing here reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fade_deploy.runtimes.engine_manifest import manifest_of

ENGINE: dict[str, Any] = {
    "artefact": {"file": "matting.engine"},
    "tensorrt": {"flavour": "tensorrt", "version": "10.16.1.11"},
    "inputs": [
        {"name": "image", "dtype": "float32", "shape": [-1, 3, -1, -1]},
        {"name": "trimap", "dtype": "float32", "shape": [-1, 1, -1, -1]},
    ],
    "outputs": [{"name": "alpha", "dtype": "float16", "shape": [-1, 1, -1, -1]}],
    "profile": {"min": "1x256x256", "opt": "4x512x512", "max": "8x1024x1024"},
    "plugin": None,
    "options": {"version_compatible": False},
    "metadata": {
        "task": "matting",
        "head": "alpha",
        "embed_preprocess": False,
        "mean": [123.675, 116.28, 103.53],
        "std": [58.395, 57.12, 57.375],
        "size_multiple": 16,
    },
}


def engine_files(folder: Path, **changes: Any) -> Path:
    """Write a manifest and stand-in bytes; the engine's path."""
    path = folder / "matting.engine"
    path.write_bytes(b"an engine's bytes")
    manifest_of(path).write_text(json.dumps(ENGINE | changes))
    return path
