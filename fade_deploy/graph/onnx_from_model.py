"""From a PyTorch module to an ONNX model whose ``fade`` nodes carry their function bodies."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript
import torch
import torch._dynamo.config as dynamo_config
from onnxscript.rewriter.rules import common as rewrite_rules
from torch import Tensor, nn

from fade_deploy import contract
from fade_deploy.graph import passes
from fade_deploy.graph.function_bodies import PLUGIN_ATTRIBUTES
from fade_deploy.ops.torch_ops import TORCH_OPS

__all__ = ["GraphOptions", "onnx_from_model"]

_OPSET_NAME = onnxscript.values.Opset(contract.DOMAIN, contract.VERSION)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """How to turn a module into a graph."""

    # Output name -> its shape, by numbers and names; None where the exporter is to find it.
    outputs: Mapping[str, Sequence[int | str] | None]
    # Input name -> axis -> name of the dimension; axes that are not listed keep the example's size.
    dynamic_axes: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    # Dimension name -> what it is made of, such as ``32 * Dim("rows")``; any other is free from 1 upwards.
    dimensions: Mapping[str, Any] = field(default_factory=dict)
    opset: int = 18
    standard_ops: bool = False  # inline the function bodies
    # Module name -> the user's modules that it stands for, where a fusion replaced some; noted on the nodes.
    replaced: Mapping[str, Sequence[str]] = field(default_factory=dict)
    wrapper: str = ""  # left out of the names of weights and modules: "model." for what models.deployed holds


def onnx_from_model(model: nn.Module, inputs: Mapping[str, Tensor], options: GraphOptions) -> ir.Model:
    """Export ``model`` with torch.onnx's dynamo exporter.

    The ``fade`` ops become nodes of domain ``fade`` with their bodies as model-local functions, so that the file
    runs in standard ops anywhere and a runtime that knows the operators takes its own. Module names stay on the
    nodes (``fade.module``), with those of the user's modules that a fused one stands for (``fade.replaces``); source
    paths, stack traces and everything else that differs between two equal exports is removed.

    Args:
        model: In eval mode; takes the inputs by position.
        inputs: Name in the graph -> example. No size of a dynamic axis may be 1, or be shared by two dimensions of
            different names: the exporter would take it for a constant.
        options: See :class:`GraphOptions`.

    Returns:
        An IR model of IR version 10.
    """
    names = {name for axes in options.dynamic_axes.values() for name in axes.values()}
    # Numbered, because torch takes no name that is no identifier.
    dims = {
        name: options.dimensions.get(name) or torch.export.Dim(f"dimension{i}", min=1)
        for i, name in enumerate(sorted(names))
    }
    shapes = [{axis: dims[dim] for axis, dim in options.dynamic_axes.get(name, {}).items()} or None for name in inputs]
    with _quiet(), _without_detours(), torch.no_grad():
        program = torch.onnx.export(
            model,
            tuple(inputs.values()),
            dynamo=True,
            opset_version=options.opset,
            input_names=list(inputs),
            output_names=list(options.outputs),
            dynamic_shapes=_by_parameter(model, shapes) if names else None,
            custom_translation_table=_translations(),
            verbose=False,
        )
    assert program is not None  # it is only without dynamo
    exported = program.model
    passes.attach_function_bodies(exported)
    if options.standard_ops:
        passes.inline_functions(exported)
    passes.keep_module_names(exported, wrapper=options.wrapper, replaced=options.replaced)
    passes.name_interface(exported, options.dynamic_axes, options.outputs, wrapper=options.wrapper)
    passes.make_reproducible(exported)
    return exported


def _by_parameter(model: nn.Module, shapes: Sequence[Any]) -> tuple[Any, ...]:
    """One entry for each parameter of ``forward``, as torch.export wants it: ``*features`` has one for all of them."""
    for i, parameter in enumerate(inspect.signature(model.forward).parameters.values()):
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            return (*shapes[:i], tuple(shapes[i:]))
    return tuple(shapes)


def _translations() -> dict[Callable[..., Any], Callable[..., Any]]:
    return {TORCH_OPS[operator.name].default: _node_of(operator) for operator in contract.OPERATORS}


def _node_of(operator: contract.Operator) -> Callable[..., Any]:
    """The function that the exporter calls to write one of our torch ops as a bare node.

    An onnxscript function with a body would be inlined (the exporter's version conversion does that), so only the
    node is made here and :func:`passes.attach_function_bodies` adds the body.
    """
    names = [name for name, _ in operator.attributes]

    def translate(*arguments: Any) -> Any:
        tensors = arguments[: len(operator.inputs)]
        attributes = dict(zip(names, arguments[len(operator.inputs) :], strict=True))
        name = operator.node_name(**attributes)
        node = onnxscript.values.Op(_OPSET_NAME, name, _schema(operator, name))
        return node(*tensors, **attributes, **PLUGIN_ATTRIBUTES)

    parameters = [name for name, _ in operator.inputs] + names
    translate.__signature__ = inspect.Signature(  # type: ignore[attr-defined] # the exporter matches arguments by name
        [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in parameters]
    )
    return translate


def _schema(operator: contract.Operator, name: str) -> onnx.defs.OpSchema:
    schema = onnx.defs.OpSchema
    floats = [f"tensor({kind})" for kind in ("float", "float16", "bfloat16", "double")]
    integers = [schema.Attribute(key, schema.AttrType.INT, required=True) for key, _ in operator.attributes]
    strings = [schema.Attribute(key, schema.AttrType.STRING, required=True) for key in PLUGIN_ATTRIBUTES]
    return schema(
        name,
        contract.DOMAIN,
        contract.VERSION,
        inputs=[schema.FormalParameter(input_name, "T") for input_name, _ in operator.inputs],
        outputs=[schema.FormalParameter("output", "T")],
        type_constraints=[("T", floats, "any floating type; one for the whole node")],
        attributes=[*integers, *strings],
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hold back what the exporter says: missing torchvision, its deprecations, stacks of what it raises anyway."""
    loggers = [logging.getLogger(name) for name in ("torch", "torch.onnx", "onnx_ir", "onnxscript")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        # torch.export prints some graphs straight to standard error.
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextlib.contextmanager
def _without_detours() -> Iterator[None]:
    """Leave out what takes a third of the time of an export (MiT-B0) and changes no byte of the file.

    With symbolic sizes PyTorch's cache of fake tensors costs more than it saves, and one rewrite of onnxscript 0.7, of
    two Slices to a Split, lists the whole graph for each of its nodes.
    """
    cache = "fake_tensor_cache_enabled"
    patches = {cache: False} if hasattr(dynamo_config, cache) else {}
    rule = getattr(rewrite_rules, "slice_split_rule", None)
    if rule is not None:
        rule.try_rewrite = lambda *_, **__: None
    try:
        with dynamo_config.patch(patches):
            yield
    finally:
        if rule is not None:
            vars(rule).pop("try_rewrite", None)  # the class's is there again
