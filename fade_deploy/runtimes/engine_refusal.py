"""What to say where TensorRT refuses an engine: its own log, matched to what a user can do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fade_deploy.errors import InputError

__all__ = ["refusal"]

# What the log of a refusal holds -> what it means, and the remedy. The first that is found counts. What is said of a
# damaged engine and of an old driver is TensorRT-RTX 1.7.1's, from runs of ours; the rest is as threads quote TensorRT
# 10 and 11. None of it is needed for a refusal to be told.
_MEANINGS = (
    (
        r"could not find plugin|Cannot deserialize plugin|getPluginCreator",
        "it needs a plugin that is not loaded",
        "give the library that it was built with (plugin), or build it with --plugin none",
    ),
    (
        r"incompatible device|expecting compute|different compute capability",
        "it was built for another GPU",
        "build it again on this machine",
    ),
    (
        r"engine_host_code_allowed|engineHostCodeAllowed|host code",
        "it holds code that would run on this machine",
        "allow it if you trust the file (allow_code=True)",
    ),
    (
        r"[Vv]ersion tag|kSERIALIZATION_VERSION|not compatible with this version|library version",
        "it was built with another version",
        "install that version, or build it again",
    ),
    (
        r"[Mm]agic ?[Tt]ag|MAGIC_TAG|size == blobSize|conform to expected format",
        "it is no engine of this TensorRT, or is damaged",
        "copy it again, or build it again",
    ),
    (r"out of memory|OutOfMemory|cudaErrorMemoryAllocation", "the GPU has too little memory free", "see nvidia-smi"),
    (
        r"CUDA initialization failure|cudaErrorInsufficientDriver|driver version is insufficient",
        "its CUDA can't use this GPU",
        "update the driver",
    ),
)


def refusal(path: Path, manifest: Mapping[str, Any], log: str, *, version: str) -> InputError:
    """One line for an engine that TensorRT did not load.

    Args:
        path: The engine.
        manifest: Beside it.
        log: What TensorRT logged as errors.
        version: Of the installed TensorRT.
    """
    built = manifest["tensorrt"]
    last = log.rsplit(" | ", maxsplit=1)[-1] or "it gives no reason"
    for pattern, meaning, remedy in _MEANINGS:
        if re.search(pattern, log):
            return InputError(
                f"TensorRT {version} refuses {path}, built with {built['version']}: {meaning} ({last}): {remedy}"
            )
    return InputError(
        f"TensorRT {version} refuses {path}, built with {built['version']} ({last}), expected the engine of its "
        "manifest: build it again"
    )
