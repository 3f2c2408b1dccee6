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
_FUNCTIONS = 25  # field of ModelProto


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
    """The facts of a file; scope 0 is its main graph."""

    ir_version: int
    opsets: Mapping[str, int]  # by domain; "" is ONNX's own
    producer: str
    scopes: tuple[Scope, ...]
    functions: frozenset[tuple[str, str]]  # (domain, name)

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
    ir_version, producer, graphs = 0, "", []
    opsets: dict[str, int] = {}
    functions: list[memoryview] = []
    for number, value, _ in fields(data):
        match number:
            case 1:
                ir_version = signed(value)
            case 2:
                producer = text(value)
            case 7:
                graphs.append(_inside(value))
            case 8:
                opsets.update([_opset(_inside(value))])
            case 25:
                functions.append(_inside(value))
    if len(graphs) != 1 or ir_version < 1:
        raise ValueError("it has no graph or no version")
    scopes = [*_graph(graphs[0], opsets.get("", 0))]
    for function in functions:
        scopes += _function(function)
    return OnnxFile(
        ir_version=ir_version,
        opsets=opsets,
        producer=producer,
        scopes=tuple(scopes),
        functions=frozenset(_function_name(function) for function in functions),
    )


def _opset(data: memoryview) -> tuple[str, int]:
    domain, version = "", 0
    for number, value, _ in fields(data):
        if number == 1:
            domain = text(value)
        elif number == 2:
            version = signed(value)
    return "" if domain == "ai.onnx" else domain, version


def _graph(data: memoryview, opset: int) -> Iterator[Scope]:
    """A graph, then the graphs inside its nodes."""
    scope, inner = _Growing(), []
    for number, value, _ in fields(data):
        match number:
            case 1:
                inner += _add_node(scope, _inside(value))
            case 5:
                _add_tensor(scope, _inside(value))
            case 11 | 12 | 13:
                _add_value(scope, _inside(value))
    yield scope.done(opset)
    for graph in inner:
        yield from _graph(graph, opset)


def _function(data: memoryview) -> Iterator[Scope]:
    """A function's body, then the graphs inside its nodes."""
    scope, inner, opset = _Growing(), [], 0
    for number, value, _ in fields(data):
        if number == 7:
            inner += _add_node(scope, _inside(value))
        elif number == 9:
            domain, version = _opset(_inside(value))
            opset = version if domain == "" else opset
    yield scope.done(opset)
    for graph in inner:
        yield from _graph(graph, opset)


def _function_name(data: memoryview) -> tuple[str, str]:
    name = domain = ""
    for number, value, _ in fields(data):
        if number == 1:
            name = text(value)
        elif number == 10:
            domain = text(value)
    return domain, name


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
    name, dtype = "", 0
    for number, value, _ in fields(data):
        if number == 2:
            dtype = signed(value)
        elif number == 8:
            name = text(value)
    return name, dtype


def _add_tensor(scope: _Growing, data: memoryview) -> None:
    scope.state(*_tensor(data))


def _add_value(scope: _Growing, data: memoryview) -> None:
    """Name, and the element type inside type, tensor_type."""
    name, dtype = "", 0
    for number, value, _ in fields(data):
        if number == 1:
            name = text(value)
        elif number == 2:
            tensors = [_inside(inner.value) for inner in fields(_inside(value)) if inner.number == 1]
            kinds = [signed(inner.value) for tensor in tensors for inner in fields(tensor) if inner.number == 1]
            dtype = kinds[-1] if kinds else 0
    scope.state(name, dtype)
