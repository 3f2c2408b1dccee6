"""The operators alone, as single nodes: function body against native kernel against plain PyTorch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.naive_fade import naive_upsample
from benchmarks.native_library import native_library
from benchmarks.runners import Inputs, OnnxRuntimeRunner, OpenVinoRunner, Runner, TorchRunner, check_openvino, compiled
from benchmarks.variants import Runtime
from fade_deploy import contract
from fade_deploy.graph import passes
from fade_deploy.graph.onnx_from_model import GraphOptions, onnx_from_model
from fade_deploy.ops.torch_ops import TORCH_OPS

__all__ = [
    "OPERATOR_BASELINE",
    "OPERATOR_CASES",
    "OPERATOR_VARIANTS",
    "OperatorCase",
    "OperatorVariant",
    "eager_operator",
    "operator_values",
    "operator_variants_of",
    "prepared_operator",
]

_OPSET = 18
_FEATURE_RANK = 4  # weights have less
_OPERATORS = {operator.name: operator for operator in contract.OPERATORS}


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorCase:
    """An operator at its tuned attributes (K = 5, scale 2); the sizes are named as in the contract's shapes."""

    operator: str
    channels: int  # C
    side: int  # H and W, of the decoder feature
    hidden: int = 0  # E
    classes: int = 0  # M
    naive: bool = False  # beside the plain PyTorch form, which is written for FadeUpsample and takes gigabytes

    def __str__(self) -> str:
        widths = (
            f"E = {self.hidden}, C = {self.channels}, M = {self.classes}" if self.hidden else f"C = {self.channels}"
        )
        return f"{self.operator}, {widths}, {self.side}² → {2 * self.side}²"

    @property
    def definition(self) -> contract.Operator:
        return _OPERATORS[self.operator]

    def feature_shapes(self) -> list[tuple[int, ...]]:
        """Of the inputs that are no weights, in order."""
        shapes = [self.shape(stated) for _, stated in self.definition.inputs]
        return [shape for shape in shapes if len(shape) == _FEATURE_RANK]

    @property
    def attributes(self) -> dict[str, int]:
        return dict(self.definition.attributes)

    def shape(self, stated: str) -> tuple[int, ...]:
        """The numbers of a shape of the contract, as ``[N,K*K,sH,sW]``; of ``N or 1`` and ``E or more`` the first."""
        scale = self.attributes["scale"]
        letters = {
            "N": 1,
            "C": self.channels,
            "H": self.side,
            "W": self.side,
            "sH": scale * self.side,
            "sW": scale * self.side,
            "K": self.attributes["kernel_size"],
            "G": self.attributes.get("groups", 1),
            "T": self.attributes.get("terms", 1),
            "E": self.hidden,
            "M": self.classes,
        }
        sizes = [size.partition(" or ")[0] for size in stated.strip("[]").split(",")]
        return tuple(
            sum(prod(letters[x] if x in letters else int(x) for x in term.split("*")) for term in size.split("+"))
            for size in sizes
        )


OPERATOR_CASES = (
    OperatorCase(operator="FadeUpsample", channels=256, side=64, naive=True),
    OperatorCase(operator="FadeUpsample", channels=256, side=32),
    OperatorCase(operator="FadeUpsample", channels=64, side=256),
    OperatorCase(operator="FadeUpsampleAdd", channels=256, side=32),
    OperatorCase(operator="FadeUpsampleAdd", channels=64, side=256),
    OperatorCase(operator="FadeReassemble", channels=256, side=64),
    OperatorCase(operator="FadeAccumulate", channels=256, side=64),
    OperatorCase(operator="FadeHead", channels=64, side=64, hidden=256, classes=150),
    OperatorCase(operator="FadeHead", channels=64, side=64, hidden=768, classes=150),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorVariant:
    """One way to run an operator; ``naive`` is the plain PyTorch form."""

    name: str
    title: str
    runtime: Runtime = Runtime.ONNXRUNTIME
    native: bool = False
    naive: bool = False
    einsum: bool = False  # of the naive form

    @property
    def function(self) -> str:
        """As of model variants: all of a case compute the same."""
        return "the operator"


OPERATOR_BASELINE = "standard"
OPERATOR_VARIANTS = (
    OperatorVariant(name="standard", title="standard operators"),
    OperatorVariant(name="native", title="native kernel", native=True),
    OperatorVariant(name="openvino", title="standard operators, OpenVINO", runtime=Runtime.OPENVINO),
    OperatorVariant(name="eager", title="PyTorch eager", runtime=Runtime.EAGER),
    OperatorVariant(name="naive", title="plain PyTorch form, torch.onnx", naive=True),
    OperatorVariant(name="einsum", title="public file's einsum, torch.onnx", naive=True, einsum=True),
    OperatorVariant(name="naive-eager", title="plain PyTorch form, eager", runtime=Runtime.EAGER, naive=True),
    OperatorVariant(
        name="naive-compiled", title="plain PyTorch form, torch.compile", runtime=Runtime.COMPILED, naive=True
    ),
)


def operator_variants_of(case: OperatorCase) -> list[OperatorVariant]:
    """Those measured in the case, the baseline first."""
    return [variant for variant in OPERATOR_VARIANTS if case.naive or not variant.naive]


def operator_values(case: OperatorCase) -> dict[str, NDArray[np.float32]]:
    """Seeded noise for every input of the operator; weights are divided by the root of their fan-in."""
    generator = np.random.default_rng(0)
    values = {}
    for name, stated in case.definition.inputs:
        shape = case.shape(stated)
        values[name] = generator.standard_normal(shape, dtype=np.float32)
        if len(shape) == 2:
            values[name] /= np.sqrt(np.float32(shape[1]))
    return values


def prepared_operator(variant: OperatorVariant, case: OperatorCase, *, threads: int, folder: Path) -> Runner:
    """The variant, ready to run.

    Raises:
        LeftOut: It can't be measured here.
    """
    values = operator_values(case)
    features = {name: value for name, value in values.items() if value.ndim == _FEATURE_RANK}
    if variant.runtime in (Runtime.EAGER, Runtime.COMPILED):
        module = _NaiveOperator(einsum=variant.einsum) if variant.naive else eager_operator(case)
        return TorchRunner(compiled(module) if variant.runtime is Runtime.COMPILED else module, features)
    if variant.runtime is Runtime.OPENVINO:
        check_openvino()
    path = folder / f"{case.operator}-{case.channels}-{case.hidden}-{case.side}-{variant.name}.onnx"
    if variant.naive:
        _export_naive(features, path, einsum=variant.einsum)
    else:
        _save_node(case, values, path, inline=variant.runtime is Runtime.OPENVINO)
    shape = case.shape(case.definition.output)
    if variant.runtime is Runtime.OPENVINO:
        return OpenVinoRunner(path, features, shape, threads=threads)
    library = native_library() if variant.native else None
    return OnnxRuntimeRunner(path, features, shape, threads=threads, library=library)


def eager_operator(case: OperatorCase) -> nn.Module:
    """The torch op as a module of the operator's features; weights are its buffers."""
    return _Operator(case, operator_values(case))


class _Operator(nn.Module):
    def __init__(self, case: OperatorCase, values: Inputs) -> None:
        super().__init__()
        self._op = TORCH_OPS[case.operator]
        self._names = [name for name, value in values.items() if value.ndim < _FEATURE_RANK]
        for name in self._names:
            self.register_buffer(name, torch.from_numpy(values[name]))
        self._attributes = list(case.attributes.values())

    def forward(self, *features: Tensor) -> Tensor:
        out: Tensor = self._op(*features, *(self.get_buffer(name) for name in self._names), *self._attributes)
        return out


class _NaiveOperator(nn.Module):
    """FadeUpsample in the plain PyTorch form."""

    def __init__(self, *, einsum: bool) -> None:
        super().__init__()
        self._einsum = einsum

    def forward(self, decoder: Tensor, kernel_logits: Tensor, encoder: Tensor, gate_logits: Tensor) -> Tensor:
        return naive_upsample(decoder, kernel_logits, encoder, gate_logits, kernel_size=5, einsum=self._einsum)


def _save_node(case: OperatorCase, values: Inputs, path: Path, *, inline: bool) -> None:
    """A model of the one node with its function body; batch, height and width are dynamic, weights initializers."""
    inputs, weights = [], []
    for name, value in values.items():
        made = ir.val(
            name, ir.DataType.FLOAT, _dynamic(name, value.shape) if value.ndim == _FEATURE_RANK else value.shape
        )
        if value.ndim < _FEATURE_RANK:
            made.const_value = ir.tensor(value)
            weights.append(made)
        else:
            inputs.append(made)
    node = ir.node(
        case.definition.node_name(**case.attributes),
        [*inputs, *weights],
        attributes=case.attributes,
        domain=contract.DOMAIN,
        version=contract.VERSION,
    )
    (output,) = node.outputs
    output.name, output.dtype = "output", ir.DataType.FLOAT
    output.shape = ir.Shape(_dynamic("output", case.shape(case.definition.output)))
    graph = ir.Graph(
        inputs, [output], nodes=[node], initializers=weights, opset_imports={"": _OPSET}, name=case.operator
    )
    model = ir.Model(graph, ir_version=passes.IR_VERSION)
    passes.attach_function_bodies(model)
    if inline:
        passes.inline_functions(model)
    ir.save(model, path)


def _dynamic(name: str, shape: Sequence[int]) -> list[int | str]:
    return [f"{name}_batch", shape[1], f"{name}_height", f"{name}_width"]


def _export_naive(features: Inputs, path: Path, *, einsum: bool) -> None:
    example = {name: torch.from_numpy(value) for name, value in features.items()}
    ir.save(onnx_from_model(_NaiveOperator(einsum=einsum), example, GraphOptions(outputs={"output": None})), path)
