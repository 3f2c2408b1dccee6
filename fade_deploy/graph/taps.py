"""Inner tensors of an exported file as outputs, at the boundaries of the modules that its nodes name.

Needs onnx_ir, never torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from fade_deploy.graph.passes import MODULE_KEY, REPLACES_KEY

__all__ = ["ModuleWeight", "Scope", "module_scopes", "module_weights", "with_outputs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """One module of the exported model: its nodes and those of the modules inside it."""

    module: str
    replaces: tuple[str, ...]  # the user's modules that it stands for, where it is one of a fusion
    values: tuple[str, ...]  # tensors that leave it, in the order in which they are computed
    last: int  # place of the node that computes the last of them


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleWeight:
    """A stored tensor that a node of a module reads."""

    module: str
    values: NDArray[Any]


def module_weights(model: ir.Model) -> list[ModuleWeight]:
    """Every floating weight of the file, once, with the module of the first node that reads it."""
    found: dict[int, ModuleWeight] = {}
    for node in model.graph:
        for value in node.inputs:
            if value is None or value.const_value is None or not value.is_initializer() or id(value) in found:
                continue
            if value.const_value.dtype.is_floating_point():
                module = node.metadata_props.get(MODULE_KEY, "")
                found[id(value)] = ModuleWeight(module=module, values=value.const_value.numpy())
    return list(found.values())


def module_scopes(model: ir.Model) -> list[Scope]:
    """Every module that the file's nodes name, outer ones too, in the order in which they are done.

    Of modules that are done at once the inner one comes first.
    """
    order = {id(node): place for place, node in enumerate(model.graph)}
    outputs = {id(value) for value in model.graph.outputs}
    names: dict[str, list[ir.Node]] = {}
    replaces: dict[str, tuple[str, ...]] = {}
    for node in model.graph:
        module = node.metadata_props.get(MODULE_KEY, "")
        if module and (noted := node.metadata_props.get(REPLACES_KEY)):
            replaces[module] = tuple(noted.split(", "))
        while module:
            names.setdefault(module, []).append(node)
            module = module.rpartition(".")[0]
    scopes = []
    for module, nodes in names.items():
        inside = {id(node) for node in nodes}
        leaving = {}
        for node in nodes:
            for value in node.outputs:
                if id(value) in outputs or any(id(user) not in inside for user, _ in value.uses()):
                    computed = _before_casts(value, inside)
                    if computed.name:
                        leaving[computed.name] = order[id(computed.producer())]
        if leaving:
            scopes.append(
                Scope(
                    module=module,
                    replaces=replaces.get(module, ()),
                    values=tuple(sorted(leaving, key=leaving.__getitem__)),
                    last=max(leaving.values()),
                )
            )
    return sorted(scopes, key=lambda scope: (scope.last, -scope.module.count(".")))


def _before_casts(value: ir.Value, inside: set[int]) -> ir.Value:
    """What a module computed, before it was cast for somebody who reads it in another type."""
    while (node := value.producer()) is not None and node.op_type == "Cast":
        source = node.inputs[0]
        if source is None or id(source.producer()) not in inside:
            break
        value = source
    return value


def with_outputs(model: ir.Model, names: Sequence[str]) -> bytes:
    """The serialised model with these tensors as further outputs; the model is left as it is."""
    copy = model.clone()
    values = {value.name: value for node in copy.graph for value in node.outputs}
    present = {value.name for value in copy.graph.outputs}
    copy.graph.outputs.extend(values[name] for name in names if name not in present)
    data: bytes = ir.serde.serialize_model(copy).SerializeToString()
    return data
