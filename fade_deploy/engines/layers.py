"""What stands in a network or an engine, layer by layer, and whether it is what was asked for."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import ModuleType
from typing import Any

__all__ = ["Layer", "engine_layers", "network_layers", "summary", "unmet_requests"]

# TensorRT's names of floating types, of its enumeration and of its inspector, and ours.
_PRECISIONS = (
    (r"BF16|BFLOAT16", "bf16"),
    (r"FP16|HALF", "fp16"),
    (r"FP32|FLOAT", "fp32"),
    (r"FP8|FP4", "other"),
)
# Layers that only pass values on: their type says nothing of where arithmetic is done.
_MOVES = frozenset({"CAST", "CONSTANT", "IDENTITY", "SHUFFLE", "SLICE", "REFORMAT", "NOOP"})
_PLUGINS = ("PLUGIN",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: its name, TensorRT's kind of it, and the floating types of its tensors (``fp32``, ``fp16``, ...)."""

    name: str
    kind: str
    inputs: tuple[str, ...]  # precisions; what is no float is left out
    outputs: tuple[str, ...]
    tensors: tuple[tuple[str, str], ...] = ()  # output tensor -> precision, of a network

    @property
    def is_plugin(self) -> bool:
        """Whether a plugin computes it."""
        return self.kind.upper().startswith(_PLUGINS)

    @property
    def precision(self) -> str:
        """What it computes in: the type of its outputs; several where they differ; empty for integers."""
        return "+".join(sorted(set(self.outputs or self.inputs)))


def network_layers(trt: ModuleType, network: Any) -> list[Layer]:
    """Every layer of a network definition: exact, as the engine of a strongly typed network must keep these types."""
    return [_network_layer(trt, network.get_layer(index)) for index in range(network.num_layers)]


def _network_layer(trt: ModuleType, native: Any) -> Layer:
    inputs = [tensor for i in range(native.num_inputs) if (tensor := native.get_input(i)) is not None]
    outputs = [native.get_output(i) for i in range(native.num_outputs)]
    tensors = tuple((tensor.name, _precision(tensor.dtype.name)) for tensor in outputs)
    return Layer(
        name=native.name,
        kind="PLUGIN_V3" if native.type == trt.LayerType.PLUGIN_V3 else native.type.name,
        inputs=_floats(_precision(tensor.dtype.name) for tensor in inputs),
        outputs=_floats(precision for _, precision in tensors),
        tensors=tuple(entry for entry in tensors if entry[1]),
    )


def engine_layers(trt: ModuleType, engine: Any) -> list[Layer]:
    """Every layer of an engine, by its inspector; fused ones show the types at their borders only."""
    text = engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
    return [_inspected(entry) for entry in json.loads(text)["Layers"]]


def _inspected(entry: Any) -> Layer:
    if isinstance(entry, str):  # all that an engine without detailed verbosity says
        return Layer(name=entry, kind="", inputs=(), outputs=())

    def precisions(side: str) -> tuple[str, ...]:
        # TensorRT 10 has one field of both; 11 has two.
        texts = (
            described.get("Format/Datatype") or described.get("Datatype") or "" for described in entry.get(side) or ()
        )
        return _floats(_precision(text) for text in texts)

    return Layer(
        name=str(entry.get("Name", "")),
        kind=str(entry.get("LayerType", "")),
        inputs=precisions("Inputs"),
        outputs=precisions("Outputs"),
    )


def _precision(text: str) -> str:
    """Ours for TensorRT's name of a type; empty where that is no float."""
    return next((ours for pattern, ours in _PRECISIONS if re.search(pattern, text, re.IGNORECASE)), "")


def _floats(precisions: Iterable[str]) -> tuple[str, ...]:
    return tuple(precision for precision in precisions if precision)


def summary(layers: Sequence[Layer]) -> dict[str, Any]:
    """For a manifest: how many layers, in which precision, the plugins' names, and one line for each layer."""
    return {
        "count": len(layers),
        "by_precision": dict(Counter(layer.precision or "none" for layer in layers).most_common()),
        "plugins": [layer.name for layer in layers if layer.is_plugin],
        "each": [" ".join(filter(None, (layer.name, layer.kind, layer.precision))) for layer in layers],
    }


def unmet_requests(
    layers: Sequence[Layer],
    *,
    precisions: Iterable[str],
    types: Mapping[str, str],
    plugin_nodes: Sequence[str],
    where: str,
) -> list[str]:
    """What was asked for and is not there, one sentence each.

    Args:
        layers: Of the network or of the engine.
        precisions: Low ones that the graph computes in: each must be some layer's.
        types: Of the graph's values by name; a tensor of a network must have the same.
        plugin_nodes: Names of the nodes that plugins must compute; empty where none is asked for.
        where: ``the network`` or ``the engine``.
    """
    faults = []
    computing = {
        precision
        for layer in layers
        if layer.kind.upper() not in _MOVES
        for precision in (*layer.inputs, *layer.outputs)
    }
    faults += [
        f"{precision} was asked for and no layer of {where} has it"
        for precision in precisions
        if precision not in computing
    ]
    for layer in layers:
        for tensor, precision in layer.tensors:
            if (asked := types.get(tensor, precision)) != precision:
                faults.append(f"layer '{layer.name}' of {where} is {precision}, the graph has it in {asked}")
    plugins = [layer.name for layer in layers if layer.is_plugin]
    missing = [node for node in plugin_nodes if not any(node in name for name in plugins)]
    if missing:
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        faults.append(f"the plugin was asked for and {where} has no plugin layer for node '{missing[0]}'{others}")
    elif len(plugins) < len(plugin_nodes):  # one name can be a part of another's
        faults.append(f"{len(plugin_nodes)} nodes are for the plugin and {where} has {len(plugins)} plugin layers")
    return faults


def as_json(layers: Sequence[Layer]) -> list[dict[str, Any]]:
    """Plain data of layers, which :func:`from_json` takes back."""
    return [asdict(layer) for layer in layers]


def from_json(entries: Iterable[Mapping[str, Any]]) -> list[Layer]:
    """Layers from their plain data."""
    return [
        Layer(
            name=entry["name"],
            kind=entry["kind"],
            inputs=tuple(entry["inputs"]),
            outputs=tuple(entry["outputs"]),
            tensors=tuple((name, precision) for name, precision in entry["tensors"]),
        )
        for entry in entries
    ]
