"""A float32 twin of a typed graph, rounded wherever that rounds: for a runtime without arithmetic in its low types."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from fade_deploy.graph.node_types import MOVERS, element_types
from fade_deploy.graph.passes import inline_functions

__all__ = ["emulate_low_types"]

_FLOAT = ir.DataType.FLOAT
_LOW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def emulate_low_types(model: ir.Model) -> None:
    """Make every float16 or bfloat16 value of a model a float32 one that holds the same numbers, in place.

    Weights become float32 as they are. Each node computes in float32, and its outputs are rounded to the type that they
    had and back, by a pair of Casts: what a runtime gives that accumulates in float32 and stores every result.
    Functions are inlined before, so that what is inside is rounded, too. Inputs and outputs keep their types.
    """
    if model.functions:
        inline_functions(model)
    graph = model.graph
    types = element_types(graph)
    for value in graph.initializers.values():
        if types[value] in _LOW:
            assert value.const_value is not None
            value.const_value = ir.tensor(value.const_value.numpy().astype(np.float32), name=value.name)
            value.dtype = _FLOAT
    nodes, first = list(graph), graph[0]
    for value in graph.inputs:
        if types[value] in _LOW:
            readers = list(value.uses())
            widened = _cast(value, _FLOAT)
            graph.insert_before(first, widened)
            _read_instead(widened.outputs[0], readers)
    for node in nodes:
        for value in node.outputs:
            is_output = value.is_graph_output()
            if types[value] not in _LOW or (node.op_type in MOVERS and not is_output):
                continue
            readers = list(value.uses())
            rounding = node
            if node.op_type != "Cast":
                rounding = _cast(value, types[value])
                graph.insert_after(node, rounding)
                if is_output:
                    _name_output(graph, value, rounding.outputs[0])
            if readers:
                widened = _cast(rounding.outputs[0], _FLOAT)
                graph.insert_after(rounding, widened)
                _read_instead(widened.outputs[0], readers)


def _cast(value: ir.Value, kind: ir.DataType) -> ir.Node:
    node = ir.node("Cast", [value], {"to": kind.value}, name=f"{value.name}_as_{kind.name.lower()}")
    node.outputs[0].name = f"{value.name}_as_{kind.name.lower()}"
    return node


def _read_instead(value: ir.Value, readers: Sequence[tuple[ir.Node, int]]) -> None:
    for reader, index in readers:
        reader.replace_input_with(index, value)


def _name_output(graph: ir.Graph, value: ir.Value, rounded: ir.Value) -> None:
    """Let the rounded value be the model's output, under its name and with its shape."""
    for i, output in enumerate(graph.outputs):
        if output is value:
            rounded.shape, rounded.type = value.shape, value.type
            rounded.name, value.name = value.name, rounded.name
            value.shape = value.type = None
            graph.outputs[i] = rounded
