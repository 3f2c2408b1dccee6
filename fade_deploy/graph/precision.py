"""An ONNX graph typed per module: what a plan wants in float16 or bfloat16 is stored and computed so.

The types are in the graph before any runtime sees it, so that all of them compute the same: TensorRT 11 knows nothing
else, and what other tools convert by themselves differs from one to the next. Needs onnx and onnx_ir, never torch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir

from fade_deploy import contract
from fade_deploy.errors import ExportError
from fade_deploy.graph.function_bodies import function_body
from fade_deploy.graph.node_types import MOVERS, element_types, signature_of
from fade_deploy.graph.passes import MODULE_KEY, REPLACES_KEY
from fade_deploy.precision import Precision, PrecisionPlan, check_io

__all__ = ["Typing", "typed"]

_FLOAT = ir.DataType.FLOAT
_TYPES = {
    Precision.FP32: _FLOAT,
    Precision.FP16: ir.DataType.FLOAT16,
    Precision.BF16: ir.DataType.BFLOAT16,
}
_PRECISIONS = {kind: precision for precision, kind in _TYPES.items()}
# They take every type, or make coordinates, which low types can't count.
_UNTYPED = frozenset({"Cast", "CastLike", "Range", "Shape", "Size"})
# Inputs with a type of their own that runtimes want equal to the first's. Not among them: regions of Resize, and the
# coordinates of GridSample, which low types can't count either.
_ALONGSIDE = {"BatchNormalization": ("T1", "T2"), "Pow": ("T1",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Typing:
    """What :func:`typed` did, for the file's metadata."""

    plan: PrecisionPlan
    io: Precision
    nodes: Mapping[Precision, int]  # that compute or move floats
    weights: Mapping[Precision, int]  # numbers stored
    casts: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "default": str(self.plan.precision),
            "io": str(self.io),
            "plan": self.plan.name,
            "nodes": {str(precision): count for precision, count in self.nodes.items()},
            "weights": {str(precision): count for precision, count in self.weights.items()},
            "casts": self.casts,
        }


def typed(model: ir.Model, plan: PrecisionPlan, *, io: Precision = Precision.FP32) -> Typing:
    """Give every node of a float32 model the precision that a plan says, in place.

    Weights are stored in the type in which they are read; elsewhere a value is cast once for each type in which it is
    read. Operators that only move values take the type of what they move, or of all their readers. Integers, booleans
    and float64 stay. Where a fade node has a low type the bodies compute their softmax in float32; a node that keeps
    float32 shares them.

    Args:
        model: In float32, as fade-export writes it without ``--precision``; nodes name their module in their metadata.
        plan: What should have which precision.
        io: Of the model's floating inputs and outputs: float32 or float16.

    Raises:
        RecipeError: A pattern of the plan matches nothing.
        ExportError: The model is typed already, a weight exceeds its type, or the graph holds what ONNX does not
            define; nothing was changed.
    """
    check_io(io)
    graph = model.graph
    types = element_types(graph)
    if low := {kind for kind in types.values() if kind in (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)}:
        raise ExportError(
            f"the model has {' and '.join(sorted(kind.name.lower() for kind in low))} values already, expected one in "
            "float32: export the checkpoint again without --precision, or leave --precision out here"
        )
    modules = {name for node in graph for name in _modules(node)}
    plan.check_patterns(modules, {*_known_op_types(), *(node.op_type for node in graph)})
    writer = _Writer(graph, types, plan, _TYPES[io])
    writer.check_ranges()
    writer.write()
    if any(kind is not _FLOAT for node, kind in writer.kinds.items() if node.domain == contract.DOMAIN):
        _soften_in_float32(model)
    counts = Counter(_PRECISIONS[kind] for kind in writer.kinds.values())
    return Typing(
        plan=plan,
        io=io,
        nodes=dict(sorted(counts.items())),
        weights=_stored(graph),
        casts=writer.casts,
    )


class _Writer:
    """Decides the type of every node of a graph, then writes the casts and the weights."""

    def __init__(
        self, graph: ir.Graph, types: dict[ir.Value, ir.DataType], plan: PrecisionPlan, interface: ir.DataType
    ) -> None:
        self.graph = graph
        self.types = types  # as they are; changed where a value is written in another type
        self.interface = interface
        self.outputs = {value for value in graph.outputs if types[value] is _FLOAT}
        self.shared: dict[ir.Node, tuple[list[int], list[int]]] = {}
        self.kinds: dict[ir.Node, ir.DataType] = {}  # of the nodes that compute or move floats
        self.made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}
        self.casts = 0
        opset = graph.opset_imports[""]
        for node in graph:
            inputs, outputs = self.shared[node] = _sharing(node, opset, types)
            if (inputs or outputs) and node.op_type not in MOVERS:
                self.kinds[node] = _TYPES[plan.precision_of(_modules(node), node.op_type)]
        self._decide_movers()

    def _decide_movers(self) -> None:
        # Backwards first: in which types the readers of each value want it, through the movers between.
        wanted: dict[ir.Value, set[ir.DataType]] = {}
        for node in reversed(list(self.graph)):
            for value in node.outputs:
                wanted[value] = {self.interface} if value in self.outputs else set()
                for reader, index in value.uses():
                    if index not in self.shared[reader][0]:
                        continue
                    if reader in self.kinds:
                        wanted[value].add(self.kinds[reader])
                    else:
                        wanted[value].update(*(wanted[output] for output in reader.outputs))
        given = {value: self.interface if kind is _FLOAT else kind for value, kind in self._inputs()}
        for node in self.graph:
            inputs, outputs = self.shared[node]
            if node.op_type in MOVERS and outputs:
                kinds = {given.get(read, _FLOAT) for i in inputs if (read := node.inputs[i]) is not None}
                readers = set().union(*(wanted[value] for value in node.outputs))
                if len(kinds) == 1 and _FLOAT not in kinds:
                    (self.kinds[node],) = kinds  # to move it so loses nothing, and half of the bytes move
                else:
                    self.kinds[node] = readers.pop() if len(readers) == 1 else _FLOAT
            given.update((node.outputs[i], self.kinds[node]) for i in outputs)

    def _inputs(self) -> list[tuple[ir.Value, ir.DataType]]:
        return [(value, self.types[value]) for value in self.graph.inputs]

    def check_ranges(self) -> None:
        """Refuse a weight that its type can't hold, before anything is changed."""
        for node, kind in self.kinds.items():
            for i in self.shared[node][0]:
                value = node.inputs[i]
                tensor = None if value is None else ir.convenience.get_const_tensor(value)
                if value is None or tensor is None or kind is _FLOAT or (value, kind) in self.made:
                    continue
                self.made[value, kind] = _stored_as(value, tensor, kind, _modules(node)[0])

    def write(self) -> None:
        for value, kind in self._inputs():
            if kind is _FLOAT:
                value.dtype = self.types[value] = self.interface
        for node in list(self.graph):
            inputs, outputs = self.shared[node]
            for i in inputs:
                read = node.inputs[i]
                assert read is not None
                node.replace_input_with(i, self._as(read, self.kinds[node]))
            for i in outputs:
                self.types[node.outputs[i]] = self.kinds[node]
            if node.op_type == "CastLike" and (like := node.inputs[1]) is not None:
                self.types[node.outputs[0]] = self.types[like]
        for i, value in enumerate(self.graph.outputs):
            if value in self.outputs and self.types[value] is not self.interface:
                self.graph.outputs[i] = self._named_output(value)
            elif value in self.outputs:
                value.dtype = self.interface
        self._name_weights()

    def _as(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        """A value in a type: itself, a stored weight, or the one cast of it."""
        if self.types[value] is kind:
            return value
        if (value, kind) not in self.made:
            self.made[value, kind] = self._cast(value, kind)
        return self.made[value, kind]

    def _cast(self, value: ir.Value, kind: ir.DataType) -> ir.Value:
        node = ir.node("Cast", [value], {"to": kind.value}, name=f"{value.name}_to_{_PRECISIONS[kind]}")
        node.outputs[0].name = f"{value.name}_{_PRECISIONS[kind]}"
        producer = value.producer()
        if producer is None:
            self.graph.insert_before(self.graph[0], node)
        else:
            if module := producer.metadata_props.get(MODULE_KEY):
                node.metadata_props[MODULE_KEY] = module
            self.graph.insert_after(producer, node)
        self.casts += 1
        return node.outputs[0]

    def _named_output(self, value: ir.Value) -> ir.Value:
        """The cast of an output, under its name and with its shape."""
        name = value.name
        inner = f"{name}_{_PRECISIONS[self.types[value]]}"
        cast = self._as(value, self.interface)
        cast.shape, cast.dtype = value.shape, self.interface
        value.shape = value.type = None
        value.name, cast.name = inner, name
        return cast

    def _name_weights(self) -> None:
        """A weight that is read in one type only keeps its name; what nobody reads is removed."""
        for (value, _), low in self.made.items():
            if low.const_value is None or not low.uses():
                continue
            self.graph.initializers.add(low)
            if value.uses() or value.is_graph_output():
                continue
            name, producer = value.name or "", value.producer()
            if producer is not None:  # a Constant
                self.graph.remove(producer, safe=True)
            elif value.is_initializer():
                self.graph.initializers.pop(name)
            low.name = name


def _sharing(node: ir.Node, opset: int, types: Mapping[ir.Value, ir.DataType]) -> tuple[list[int], list[int]]:
    """Which float32 inputs and outputs of a node have the node's precision."""
    if node.op_type in _UNTYPED:
        return [], []
    signature = signature_of(node, opset)
    floats = types[node.outputs[0]] is _FLOAT
    leading = signature.outputs[0] if floats or not signature.inputs else signature.inputs[0]
    if leading not in signature.inputs or leading.startswith("tensor("):
        return [], []
    names = {leading, *_ALONGSIDE.get(node.op_type, ())}
    inputs = [
        i
        for i, (name, value) in enumerate(zip(signature.inputs, node.inputs, strict=True))
        if name in names and value is not None and types[value] is _FLOAT
    ]
    outputs = [
        i
        for i, (name, value) in enumerate(zip(signature.outputs, node.outputs, strict=True))
        if name in names and types[value] is _FLOAT
    ]
    return inputs, outputs


def _modules(node: ir.Node) -> list[str]:
    """The node's module, then those of the user's model that it stands for."""
    replaced = node.metadata_props.get(REPLACES_KEY)
    return [node.metadata_props.get(MODULE_KEY, ""), *(replaced.split(", ") if replaced else [])]


def _known_op_types() -> set[str]:
    return {schema.name for schema in onnx.defs.get_all_schemas()}


def _stored_as(value: ir.Value, tensor: ir.TensorProtocol, kind: ir.DataType, module: str) -> ir.Value:
    """A weight in a low type, not yet in the graph. What is too small for it becomes zero."""
    array = tensor.numpy()
    with np.errstate(over="ignore"):
        low = array.astype(kind.numpy())
    if (np.isfinite(array) & ~np.isfinite(low.astype(np.float32))).any():
        where = f"of module '{module}'" if module else "of no module"
        raise ExportError(
            f"weight '{value.name}' {where} has values up to {np.abs(array[np.isfinite(array)]).max():.3g}, "
            f"{_PRECISIONS[kind]} ends at {65504 if kind is ir.DataType.FLOAT16 else 3.39e38}: keep the module in fp32 "
            "with a rule of a --precision-plan, or use --precision bf16"
        )
    name = f"{value.name}_{_PRECISIONS[kind]}"
    stored = ir.tensor(low, dtype=kind, name=name)
    return ir.Value(name=name, shape=ir.Shape(low.shape), type=ir.TensorType(kind), const_value=stored)


def _soften_in_float32(model: ir.Model) -> None:
    """Exchange the fade functions for those that compute their softmax in float32."""
    operators = {operator.name: operator for operator in contract.OPERATORS}
    for key, function in list(model.functions.items()):
        if function.domain == contract.DOMAIN:
            operator = operators[function.name.partition("_")[0]]
            attributes = {name: function.attributes[name].as_int() for name, _ in operator.attributes}
            opset = model.graph.opset_imports[""]
            model.functions[key] = function_body(operator, opset, float32_softmax=True, **attributes)


def _stored(graph: ir.Graph) -> dict[Precision, int]:
    """Precision -> how many floating numbers the file holds in it."""
    counts: Counter[Precision] = Counter()
    for value in graph.initializers.values():
        if value.const_value is not None and (precision := _PRECISIONS.get(value.const_value.dtype)):
            counts[precision] += value.const_value.size
    return dict(sorted(counts.items()))
