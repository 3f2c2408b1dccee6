"""What stands in an ``.onnx`` file, read without the package onnx and without its weights."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fade_deploy.diagnosis.wire_format import fields, signed, text
from fade_deploy.errors import InputError

__all__ = ["Node", "OnnxFile", "Scope", "read_onnx", "without_functions"]

# TensorProto.DataType of what arithmetic is done in.
_FLOATING = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
_CHANGES_DTYPE = ("Cast", "CastLike")
_NOTHING = memoryview(b"")  # of a field that is left out
_FUNCTIONS = 25  # field of ModelProto
_NODES_OF_GRAPH, _NODES_OF_FUNCTION = 1, 7  # fields of GraphProto and FunctionProto


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node, with those of its attributes that are whole numbers."""

    name: str
    operator: str
    domain: str  # "" is ONNX's own
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """A graph, a graph inside a node, or a function's body."""

    opset: int  # of ONNX's own operators; 0 where none is stated
    nodes: tuple[Node, ...]
    dtypes: Mapping[str, str]  # tensor -> floating dtype, as stated or as follows from what is

    def dtype_of(self, node: Node) -> str:
        """The dtype of the first of a node's inputs and outputs that is floating and known; else ``""``."""
        return next((self.dtypes[name] for name in (*node.inputs, *node.outputs) if name in self.dtypes), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """The facts of a file; scope 0 is its main graph, the last ones are the bodies of its functions."""

    ir_version: int
    opsets: Mapping[str, int]  # by domain; "" is ONNX's own
    scopes: tuple[Scope, ...]

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Of the main graph."""
        return self.scopes[0].nodes


def read_onnx(path: Path) -> OnnxFile:
    """Read a file.

    Raises:
        InputError: It can't be read, or is no whole ONNX file.
    """
    try:
        return _model(_mapped(path))
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is not ONNX or is truncated ({error}), expected an .onnx file: copy it again, or export it with "
            "fade-export"
        ) from error


def without_functions(path: Path, domain: str) -> bytes:
    """The bytes of a file, without the bodies of one domain's operators: what is left, only native operators can run.

    Raises:
        InputError: As :func:`read_onnx`.
    """
    return b"".join(
        part.raw
        for part in fields(_mapped(path))
        if part.number != _FUNCTIONS or _function_name(_inside(part.value))[0] != domain
    )


def _mapped(path: Path) -> memoryview:
    try:
        with path.open("rb") as file:
            # Not in memory but on the disk, where most of it, the weights, stays unread.
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except ValueError as error:
        raise InputError(f"{path} is empty, expected an .onnx file: export it again with fade-export") from error
    except OSError as error:
        raise InputError(
            f"{path} can't be read ({error.strerror or error}), expected an .onnx file: check its name and permissions"
        ) from error


def _inside(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message is expected")
    return value


@dataclass(slots=True)
class _Growing:
    """A scope while it is read."""

    nodes: list[Node] = field(default_factory=list)
    dtypes: dict[str, str] = field(default_factory=dict)

    def state(self, name: str, number: int) -> None:
        if name and number in _FLOATING:
            self.dtypes[name] = _FLOATING[number]

    def done(self, opset: int) -> Scope:
        """Nodes are in the order of computing: what is not stated has the dtype of an input.

        A comparison or a shape gets a dtype too that way, but no operator that takes those is looked for by its dtype.
        """
        for node in self.nodes:
            given = next((self.dtypes[name] for name in node.inputs if name in self.dtypes), "")
            for name in node.outputs if given and node.operator not in _CHANGES_DTYPE else ():
                self.dtypes.setdefault(name, given)
        return Scope(opset=opset, nodes=tuple(self.nodes), dtypes=self.dtypes)


def _model(data: memoryview) -> OnnxFile:
    ir_version = 0
    graphs, functions = [], []
    opsets: dict[str, int] = {}
    for number, value, _ in fields(data):
        match number:
            case 1:
                ir_version = signed(value)
            case 7:
                graphs.append(_inside(value))
            case 8:
                opsets.update([_opset(_inside(value))])
            case 25:
                functions.append(_inside(value))
    if len(graphs) != 1 or ir_version < 1:
        raise ValueError("it has no graph or no version")
    scopes = [*_scopes(graphs[0], opsets.get("", 0))]
    for function in functions:
        scopes += _scopes(function, 0, nodes=_NODES_OF_FUNCTION)
    return OnnxFile(ir_version=ir_version, opsets=opsets, scopes=tuple(scopes))


def _by_number(data: memoryview) -> dict[int, int | memoryview]:
    """The fields of a message, the last of each number."""
    return {number: value for number, value, _ in fields(data)}


def _opset(data: memoryview) -> tuple[str, int]:
    found = _by_number(data)
    domain = text(found.get(1, _NOTHING))
    return "" if domain == "ai.onnx" else domain, signed(found.get(2, 0))


def _scopes(data: memoryview, opset: int, *, nodes: int = _NODES_OF_GRAPH) -> Iterator[Scope]:
    """A graph or a function's body, then the graphs inside its nodes.

    Args:
        data: A GraphProto or a FunctionProto.
        opset: Of ONNX's own operators, where the message states none itself.
        nodes: Number of the field of nodes, by which the two are told apart.
    """
    scope, inner = _Growing(), []
    is_graph = nodes == _NODES_OF_GRAPH
    for number, value, _ in fields(data):
        if number == nodes:
            inner += _add_node(scope, _inside(value))
        elif is_graph and number == 5:
            scope.state(*_tensor(_inside(value)))
        elif is_graph and number in (11, 12, 13):
            scope.state(*_value(_inside(value)))
        elif not is_graph and number == 9:
            domain, version = _opset(_inside(value))
            opset = version if domain == "" else opset
    yield scope.done(opset)
    for graph in inner:
        yield from _scopes(graph, opset)


def _function_name(data: memoryview) -> tuple[str, str]:
    found = _by_number(data)
    return text(found.get(10, _NOTHING)), text(found.get(1, _NOTHING))


def _add_node(scope: _Growing, data: memoryview) -> list[memoryview]:
    """Adds a node and gives back the graphs inside it."""
    names: dict[int, str] = {}
    inputs, outputs, graphs = [], [], []
    attributes: dict[str, int] = {}
    dtype = 0
    for number, value, _ in fields(data):
        match number:
            case 1:
                inputs.append(text(value))
            case 2:
                outputs.append(text(value))
            case 3 | 4 | 7:
                names[number] = text(value)
            case 5:
                key, whole, tensor, inner = _attribute(_inside(value))
                graphs += inner
                dtype = tensor or dtype
                if whole is not None:
                    attributes[key] = whole
    node = Node(
        name=names.get(3, ""),
        operator=names.get(4, ""),
        domain=names.get(7, "") if names.get(7) != "ai.onnx" else "",
        inputs=tuple(inputs),
        outputs=tuple(outputs),
        attributes=attributes,
    )
    scope.nodes.append(node)
    if node.operator == "Cast":
        dtype = attributes.get("to", 0)
    for output in outputs if node.operator in ("Cast", "Constant") else []:
        scope.state(output, dtype)
    return graphs


def _attribute(data: memoryview) -> tuple[str, int | None, int, list[memoryview]]:
    """Name, value where it is a whole number, dtype where it is a tensor, and the graphs in it."""
    name, whole, dtype, graphs = "", None, 0, []
    for number, value, _ in fields(data):
        match number:
            case 1:
                name = text(value)
            case 3:
                whole = signed(value)
            case 5:
                dtype = _tensor(_inside(value))[1]
            case 6 | 11:
                graphs.append(_inside(value))
    return name, whole, dtype, graphs


def _tensor(data: memoryview) -> tuple[str, int]:
    found = _by_number(data)
    return text(found.get(8, _NOTHING)), signed(found.get(2, 0))


def _value(data: memoryview) -> tuple[str, int]:
    """Name, and the element type inside type, tensor_type."""
    name, dtype = "", 0
    for number, value, _ in fields(data):
        if number == 1:
            name = text(value)
        elif number == 2:
            tensors = [_inside(inner.value) for inner in fields(_inside(value)) if inner.number == 1]
            kinds = [signed(inner.value) for tensor in tensors for inner in fields(tensor) if inner.number == 1]
            dtype = kinds[-1] if kinds else 0
    return name, dtype
