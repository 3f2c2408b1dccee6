"""Small rewrites of an exported model, each with one purpose."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from typing import Any

import onnx_ir as ir
import onnx_ir.passes.common as common_passes

from fade_deploy import contract
from fade_deploy.graph.function_bodies import function_body

__all__ = [
    "MODULE_KEY",
    "REPLACES_KEY",
    "attach_function_bodies",
    "inline_functions",
    "keep_module_names",
    "make_reproducible",
    "name_interface",
]

MODULE_KEY = "fade.module"
REPLACES_KEY = "fade.replaces"
IR_VERSION = 10  # what ONNX Runtime 1.18 and newer read; nothing later is used
_SCOPES_KEY = "pkg.torch.onnx.name_scopes"


def attach_function_bodies(model: ir.Model) -> None:
    """Give every ``fade`` node its definition as a model-local function in standard ops."""
    operators = {operator.name: operator for operator in contract.OPERATORS}
    opset = model.graph.opset_imports[""]
    for node in model.graph:
        if node.domain != contract.DOMAIN or (node.domain, node.op_type, "") in model.functions:
            continue
        operator = operators[node.op_type.partition("_")[0]]
        attributes: dict[str, Any] = {name: node.attributes[name].as_int() for name, _ in operator.attributes}
        function = function_body(operator, opset, **attributes)
        model.functions[function.identifier()] = function
    model.graph.opset_imports.setdefault(contract.DOMAIN, contract.VERSION)


def inline_functions(model: ir.Model) -> None:
    """Replace every function call by its body: standard ops only, for runtimes that read no functions."""
    common_passes.InlinePass()(model)
    del model.graph.opset_imports[contract.DOMAIN]


def keep_module_names(model: ir.Model, *, wrapper: str, replaced: Mapping[str, Sequence[str]]) -> None:
    """Keep of each node's origin the module's name in the exported model; drop traces, paths and class names.

    ``wrapper`` is left out of the names: ``model.`` where the exported module holds the user's as ``model``. A module
    in ``replaced`` stands for others of the user's model, whose names are noted beside its own.
    """
    for node in model.graph:
        scopes = ast.literal_eval(node.metadata_props.get(_SCOPES_KEY, "[]"))
        node.metadata_props.clear()
        node.doc_string = None
        # The last scope is the torch op's own name.
        modules = [scope.removeprefix(wrapper) for scope in scopes[:-1] if scope not in ("", wrapper[:-1])]
        if modules and not modules[-1].startswith("_"):
            node.metadata_props[MODULE_KEY] = modules[-1]
            if names := replaced.get(modules[-1]):
                node.metadata_props[REPLACES_KEY] = ", ".join(names)


def name_interface(
    model: ir.Model,
    dynamic_axes: Mapping[str, Mapping[int, str]],
    outputs: Mapping[str, Sequence[int | str] | None],
    *,
    wrapper: str,
) -> None:
    """Name the dynamic dimensions of the inputs, state the outputs' shapes, and give weights their checkpoint names.

    Shapes of inner tensors are dropped: they carry the exporter's anonymous symbols, and every runtime infers its own.
    ``wrapper`` is left out of the weights' names. An inner tensor that is called as an input or output gets another
    name.
    """
    graph = model.graph
    for value in graph.inputs:
        assert value.name is not None
        assert value.shape is not None
        axes = dynamic_axes.get(value.name, {})
        value.shape = ir.Shape([axes.get(axis, size) for axis, size in enumerate(value.shape)])
    for value, shape in zip(graph.outputs, outputs.values(), strict=True):
        assert value.shape is not None
        value.shape = ir.Shape(shape or [size if isinstance(size, int) else None for size in value.shape])
    interface = {id(value) for value in (*graph.inputs, *graph.outputs)}
    for node in graph:
        for value in node.outputs:
            if id(value) not in interface:
                value.shape = value.type = None
    for name in list(graph.initializers):
        value = graph.initializers[name]
        if wrapper and name.startswith(wrapper):
            value.name = name.removeprefix(wrapper)
    common_passes.NameFixPass()(model)


def make_reproducible(model: ir.Model) -> None:
    """Remove what would differ between two equal exports: order of attributes, producer, notes of the exporter."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "fade-deploy", None
    model.doc_string = None
    for container in (model, model.graph):
        container.metadata_props.clear()
    model.graph.name = "model"
    model.graph.doc_string = None
    for value in (*model.graph.inputs, *model.graph.outputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
        value.doc_string = None
    for node in model.graph:
        ordered = sorted(node.attributes.values(), key=lambda attribute: attribute.name)
        node.attributes.clear()
        for attribute in ordered:
            node.attributes[attribute.name] = attribute
