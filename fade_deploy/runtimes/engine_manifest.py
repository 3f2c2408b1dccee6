"""What lies beside an engine and tells what TensorRT itself does not: its model, its versions, its plugin.

Standard library only: a server reads it before it loads anything.
"""

from __future__ import annotations

import json
import re
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
    tensorrt = document["tensorrt"]
    if tensorrt.get("flavour") not in list(Flavour) or not re.match(r"\d+\.\d", str(tensorrt.get("version"))):
        raise InputError(f"{path} does not say for which TensorRT the engine is: {remedy}")
    if not isinstance(tensorrt.get("gpu") or {}, dict) or not _is_names(tensorrt.get("compute_capabilities", [])):
        raise InputError(f"{path} does not say for which GPU the engine is: {remedy}")
    if not all(map(_is_tensor, (*document["inputs"], *document["outputs"]))):
        raise InputError(f"{path} does not name the engine's inputs and outputs, with dtype and shape: {remedy}")
    return dict(document)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(name, str) for name in value)


def _is_tensor(entry: Any) -> bool:
    return (
        isinstance(entry, dict)
        and _is_names([entry.get("name"), entry.get("dtype")])
        and isinstance(entry.get("shape"), list)
        and len(entry["shape"]) > 0
    )
