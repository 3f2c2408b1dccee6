"""What lies beside an engine and tells what TensorRT itself does not: its model, its versions, its plugin.

Standard library only: a server reads it before it loads anything.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fade_deploy.errors import InputError
from fade_deploy.runtimes.engine_flavour import Flavour

__all__ = ["manifest_of", "read_manifest"]

_FIELDS: dict[str, type | tuple[type, ...]] = {
    "artefact": dict,
    "tensorrt": dict,
    "inputs": list,
    "outputs": list,
    "options": dict,
    "plugin": (dict, type(None)),
    "metadata": dict,
}


def manifest_of(engine: Path) -> Path:
    """Where the manifest of an engine is: ``NAME.engine.json``, since ``NAME.json`` is that of ``NAME.onnx``."""
    return engine.with_name(f"{engine.name}.json")


def read_manifest(engine: Path) -> dict[str, Any]:
    """The manifest beside an engine, with the fields that loading reads.

    Raises:
        InputError: It is not there, or is not what fade-export writes.
    """
    path = manifest_of(engine)
    remedy = "copy both files that fade-export wrote, or build the engine again"
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror}), expected the engine's manifest: {remedy}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON, expected the engine's manifest: {remedy}") from error
    for field, kind in _FIELDS.items():
        if not isinstance(document, dict) or not isinstance(document.get(field, 0), kind):
            raise InputError(f"{path} lacks '{field}', expected a manifest that fade-export wrote: {remedy}")
    if document["tensorrt"].get("flavour") not in list(Flavour) or "version" not in document["tensorrt"]:
        raise InputError(f"{path} does not say for which TensorRT the engine is: {remedy}")
    return dict(document)
