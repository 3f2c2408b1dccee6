"""What lies beside an engine and tells what TensorRT itself does not: its model, its versions, its plugin.

Standard library only: a server reads it before it loads anything.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from fade_deploy.errors import InputError
from fade_deploy.runtimes.engine_flavour import Flavour

__all__ = ["ENGINE_ENDINGS", "manifest_of", "read_engine", "read_manifest"]

ENGINE_ENDINGS = (".engine", ".plan")
_ONNX = b"\x08"  # of every ONNX file the first byte: the field with its IR version
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


def read_engine(path: Path) -> tuple[bytes, dict[str, Any]]:
    """An engine's bytes, and the manifest beside it, which describes that very file.

    Raises:
        InputError: One of them is missing or can't be read; the file is empty, an .onnx file, truncated or changed; or
            the manifest is not what fade-export writes.
    """
    remedy = "give an engine that fade-export built"
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} can't be read ({error.strerror or error}): {remedy}") from error
    if not data:
        raise InputError(f"{path} is empty: {remedy}")
    if path.suffix.lower() == ".onnx" or data.startswith(_ONNX):
        raise InputError(
            f"{path} is an .onnx file, expected an engine: build one with fade-export {path.name} --format tensorrt"
        )
    manifest = read_manifest(path)
    stated = manifest["artefact"]
    if len(data) != stated.get("bytes"):
        raise InputError(
            f"{path} has {len(data)} bytes, its manifest says {stated.get('bytes')}: it is truncated or another build; "
            "copy both files again"
        )
    if hashlib.sha256(data).hexdigest() != stated.get("sha256"):
        raise InputError(f"{path} is not the file that its manifest describes (SHA-256): copy both files again")
    return data, manifest


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
    plugin = document["plugin"]
    if plugin is not None and not (
        _is_names([plugin.get("file"), plugin.get("sha256")]) and isinstance(plugin.get("embedded"), bool)
    ):
        raise InputError(f"{path} does not say which plugin library the engine was built with: {remedy}")
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
