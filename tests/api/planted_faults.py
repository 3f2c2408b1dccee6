"""Planted faults: copies of exported files with other weights, or another end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

__all__ = ["one_more", "with_one_size", "with_weights"]


def with_weights(source: Path, target: Path, changes: Mapping[str, Callable[[Any], Any]]) -> Path:
    """A copy of a file whose weights of those names, all of which it has, were changed by a function each."""
    model = onnx.load(source)
    weights = {weight.name: weight for weight in model.graph.initializer}
    for name, change in changes.items():
        values = numpy_helper.to_array(weights[name]).copy()
        weights[name].CopyFrom(numpy_helper.from_array(np.asarray(change(values), values.dtype), name))
    onnx.save(model, target)
    return target


def one_more(values: Any) -> Any:
    """One value of a weight raised by 1."""
    values.flat[3] += 1
    return values


def with_one_size(source: Path, target: Path) -> Path:
    """A copy of a file of logits of four classes that runs at 1x32x32 only."""
    model = onnx.load(source)
    (last,) = [node for node in model.graph.node if "logits" in node.output]
    last.output[0] = "free_logits"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4, 8, 8]), "fixed"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["free_logits", "fixed"], ["logits"]))
    onnx.save(model, target)
    return target
