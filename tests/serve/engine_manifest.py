"""An engine's files as fade-export leaves them, but for the engine's bytes, which only TensorRT could read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from fade_deploy.artefact import sha256_of
from fade_deploy.runtimes.engine_manifest import manifest_of

BYTES = b"an engine's bytes"
ENGINE: dict[str, Any] = {
    "artefact": {"file": "matting.engine", "sha256": hashlib.sha256(BYTES).hexdigest(), "bytes": len(BYTES)},
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
    path.write_bytes(BYTES)
    manifest_of(path).write_text(json.dumps(ENGINE | changes))
    return path


def built_with(library: Path, *, embedded: bool = False) -> dict[str, Any]:
    """What the manifest of an engine says of its plugin."""
    return {"file": library.name, "sha256": sha256_of(library), "embedded": embedded}
