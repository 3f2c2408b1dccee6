"""What a checkpoint, an exported file or an engine is."""

from __future__ import annotations

import json
import logging
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fade_deploy import artefact, contract
from fade_deploy.errors import InputError
from fade_deploy.optional import require
from fade_deploy.runtimes.engine_manifest import ENGINE_ENDINGS, read_engine

__all__ = ["inspect"]

logger = logging.getLogger(__name__)


def inspect(
    path: Path | str, *, recipe: str = "", ema: bool = False, height: int = 512, width: int = 512
) -> dict[str, Any]:
    """Describe a checkpoint, an ``.onnx`` file or an engine; nothing is written and nothing in the file is run.

    Args:
        path: The file; ``.onnx``, ``.engine`` and ``.plan`` by their endings, anything else is read as a checkpoint.
            Of an engine the manifest beside it is read, since the engine itself can be on its GPU alone.
        recipe: For a checkpoint, as in :func:`fade_deploy.export`.
        ema: For a checkpoint, look at its averaged weights.
        height: Of the input that a checkpoint's MACs are counted for, pixels.
        width: Likewise.

    Returns:
        A JSON-ready dict; ``kind`` is ``checkpoint``, ``onnx`` or ``engine``.

    Raises:
        FadeDeployError: The file is not what it should be, or its recipe or averaged weights are asked for and it is no
            checkpoint.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending not in (".onnx", *ENGINE_ENDINGS):
        return _inspect_checkpoint(path, recipe, ema, height, width)
    if recipe or ema:
        raise InputError(
            f"{path} is exported already, so {'--recipe' if recipe else '--ema'} means nothing for it: leave it out, "
            "or give the checkpoint"
        )
    return _inspect_onnx(path) if ending == ".onnx" else _inspect_engine(path)


def _inspect_checkpoint(path: Path, recipe_name: str, ema: bool, height: int, width: int) -> dict[str, Any]:
    require("torch", extra="export")
    from fade_deploy.checkpoints.checkpoint import read_checkpoint
    from fade_deploy.checkpoints.recognise import (
        assumptions,
        backbone_of,
        class_names,
        model_from_checkpoint,
        recipe_for,
    )
    from fade_deploy.models.complexity import count
    from fade_deploy.models.segformer import SegFormer

    read = read_checkpoint(path, ema=ema)
    recipe = recipe_for(read, recipe_name)
    model = model_from_checkpoint(read, recipe)
    model.check_size(height, width)
    logger.info("read: %s, %s", path.name, read.container)
    complexity = count(model, height=height, width=width, channels=model.INPUTS)
    return {
        "kind": "checkpoint",
        "file": path.name,
        "sha256": read.sha256,
        "container": read.container,
        "task": recipe.task,
        "model": model.NAME,
        "backbone": backbone_of(model),
        "upsampler": model.config.upsampler,
        "kernel_size": model.config.kernel_size,
        "config": asdict(model.config),
        **({"classes": list(class_names(read, recipe, model.config.classes))} if isinstance(model, SegFormer) else {}),
        "parameters": complexity.parameters,
        "macs": {"height": height, "width": width, "count": complexity.macs},
        "recipe": recipe.name,
        "notes": [*read.notes, *assumptions(model, read, recipe)],
    }


def _inspect_onnx(path: Path) -> dict[str, Any]:
    onnx = require("onnx", extra="export")
    try:
        if not path.is_file():
            raise InputError(f"{path} is not a file; give an .onnx file or a checkpoint")
        model = onnx.load(str(path))
        onnx.checker.check_model(model)
    except InputError:
        raise
    except Exception as error:  # protobuf's and onnx's errors share no public base
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path} is not a readable ONNX file ({reason}); export it again with fade-export") from error
    properties = {entry.key: entry.value for entry in model.metadata_props}
    try:
        facts = json.loads(properties.get(contract.METADATA_KEY, "{}"))
    except (ValueError, RecursionError):
        facts = {}
    if not isinstance(facts, dict):
        facts = {}
    measured = {
        "kind": "onnx",
        "file": path.name,
        "sha256": artefact.sha256_of(path),
        "bytes": path.stat().st_size,
        "ir_version": model.ir_version,
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "inputs": [_tensor(onnx, value) for value in model.graph.input],
        "outputs": [_tensor(onnx, value) for value in model.graph.output],
        "nodes": dict(Counter(_op(node) for node in model.graph.node).most_common()),
        "functions": {function.name: len(function.node) for function in model.functions},
        "weights": sum(_elements(initializer) for initializer in model.graph.initializer),
        "weight_types": _by_type(onnx, model.graph.initializer),
    }
    return {
        **measured,
        # What the file says about itself never replaces what was measured.
        **{key: value for key, value in facts.items() if key not in measured and key != "opset"},
        "notes": [] if facts else ["no fade-deploy metadata: this file was not written by fade-export"],
    }


def _inspect_engine(path: Path) -> dict[str, Any]:
    data, manifest = read_engine(path)
    plugin, notes = manifest["plugin"], manifest.get("notes")
    layers = manifest.get("engine") or manifest.get("network")
    measured = {
        "kind": "engine",
        "file": path.name,
        "sha256": manifest["artefact"]["sha256"],
        "bytes": len(data),
        "tensorrt": {key: value for key, value in manifest["tensorrt"].items() if value},
        "inputs": [_stated(entry) for entry in manifest["inputs"]],
        "outputs": [_stated(entry) for entry in manifest["outputs"]],
        "profile": manifest.get("profile") or "fixed sizes",
        "precisions": manifest.get("precisions"),
        "layers": layers.get("by_precision") if isinstance(layers, dict) else None,
        "plugin": "none" if plugin is None else {key: plugin[key] for key in ("file", "sha256", "embedded")},
        "options": manifest["options"],
        "source": manifest.get("source"),
        "reproduce": manifest.get("reproduce"),
    }
    of_the_source = ("opset", "shape", "lowest_onnxruntime")  # which the engine does not have
    return {
        **{key: value for key, value in measured.items() if value is not None},
        **{key: value for key, value in manifest["metadata"].items() if key not in (*measured, *of_the_source)},
        "notes": [str(note) for note in notes] if isinstance(notes, list) else [],
    }


def _stated(entry: dict[str, Any]) -> str:
    sizes = ", ".join("any" if size == -1 else str(size) for size in entry["shape"])
    return f"{entry['name']} {entry['dtype']} [{sizes}]"


def _by_type(onnx: Any, initializers: Any) -> dict[str, int]:
    """Element type -> how many numbers are stored in it, most first."""
    counts: Counter[str] = Counter()
    for initializer in initializers:
        counts[_type_name(onnx, initializer.data_type)] += _elements(initializer)
    return dict(counts.most_common())


def _tensor(onnx: Any, value: Any) -> str:
    tensor = value.type.tensor_type
    sizes = ", ".join(
        dim.dim_param or (str(dim.dim_value) if dim.HasField("dim_value") else "?") for dim in tensor.shape.dim
    )
    return f"{value.name} {_type_name(onnx, tensor.elem_type)} [{sizes}]"


def _type_name(onnx: Any, number: int) -> str:
    types = onnx.TensorProto.DataType
    known = number in types.values()  # the checker lets any number pass
    return str(types.Name(number)).lower() if known else f"type {number}"


def _op(node: Any) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain else str(node.op_type)


def _elements(initializer: Any) -> int:
    total = 1
    for size in initializer.dims:
        total *= size
    return total
