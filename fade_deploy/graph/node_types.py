"""Element types in a graph whose inner values state none, from the operators' schemas. Needs onnx and onnx_ir alone."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
import onnx_ir as ir

from fade_deploy import contract
from fade_deploy.errors import ExportError

__all__ = ["MOVERS", "Signature", "element_types", "signature_of"]

# What they return is what they were given, in another place.
MOVERS = frozenset(
    {
        "Concat",
        "DepthToSpace",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "MaxPool",
        "Pad",
        "Reshape",
        "Slice",
        "SpaceToDepth",
        "Split",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
_NAMED = {f"tensor({kind.name.lower()})": kind for kind in ir.DataType}


@dataclass(frozen=True, slots=True)
class Signature:
    """Of each input and output of a node the type, or the name of a type that several of them share."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    only: dict[str, str]  # name -> the one type that it can be


def signature_of(node: ir.Node, opset: int) -> Signature:
    """The schema of a node's operator, one entry for each of its inputs and outputs.

    Raises:
        ExportError: Neither ONNX nor we define the operator, or it holds another graph.
    """
    if node.domain == contract.DOMAIN:
        return Signature(("T",) * len(node.inputs), ("T",) * len(node.outputs), {})
    if any(
        attribute.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS) for attribute in node.attributes.values()
    ):
        raise ExportError(
            f"the graph holds control flow ({node.op_type}), expected none as in the files of fade-export: "
            "give it no other precision than its own"
        )
    try:
        schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    except onnx.defs.SchemaError as error:
        raise ExportError(
            f"the graph holds the operator {node.domain or 'ai.onnx'}.{node.op_type}, expected those of ONNX opset "
            f"{opset} and of {contract.DOMAIN}: give it no other precision than its own"
        ) from error
    only = {
        constraint.type_param_str: constraint.allowed_type_strs[0]
        for constraint in schema.type_constraints
        if len(constraint.allowed_type_strs) == 1
    }
    return Signature(
        _of_all([formal.type_str for formal in schema.inputs], len(node.inputs)),
        _of_all([formal.type_str for formal in schema.outputs], len(node.outputs)),
        only,
    )


def element_types(graph: ir.Graph) -> dict[ir.Value, ir.DataType]:
    """Every value of the graph -> its element type; UNDEFINED where only running it would tell.

    Raises:
        ExportError: See :func:`signature_of`.
    """
    opset = graph.opset_imports[""]
    types = {value: value.dtype or ir.DataType.UNDEFINED for value in graph.inputs}
    for value in graph.initializers.values():
        assert value.const_value is not None
        types[value] = value.const_value.dtype
    for node in graph:
        signature = signature_of(node, opset)
        bound = {
            name: types[value] for name, value in zip(signature.inputs, node.inputs, strict=True) if value is not None
        }
        for name, value in zip(signature.outputs, node.outputs, strict=True):
            fixed = _NAMED.get(signature.only.get(name, name), ir.DataType.UNDEFINED)
            types[value] = _by_attribute(node) or bound.get(name, fixed)
    return types


def _of_all(formals: list[str], count: int) -> tuple[str, ...]:
    """The last formal parameter is repeated where it is variadic; optional ones at the end may be left out."""
    return tuple((formals + formals[-1:] * count)[:count])


def _by_attribute(node: ir.Node) -> ir.DataType | None:
    """The output's type where an attribute says it."""
    if node.op_type == "Cast":
        return ir.DataType(node.attributes["to"].as_int())
    if node.op_type == "ConstantOfShape":
        return node.attributes["value"].as_tensor().dtype if "value" in node.attributes else ir.DataType.FLOAT
    if node.op_type == "Constant":
        tensor = ir.convenience.get_const_tensor(node.outputs[0])
        return None if tensor is None else tensor.dtype
    return None
