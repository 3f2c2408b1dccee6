"""Function bodies on two runtimes against numpy loops, and what may stand in them."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from fade_deploy import contract
from fade_deploy.graph.function_bodies import PLUGIN_ATTRIBUTES, function_body
from fade_deploy.tolerances import tolerance
from tests.cases import OPERATOR_CASES, OperatorCase
from tests.ops.test_reassembly import ORACLE, TORCH


def one_node_model(case: OperatorCase, opset: int = 18, dtype: ir.DataType = ir.DataType.FLOAT) -> onnx.ModelProto:
    """A model of one ``fade`` node with its body; every dimension is dynamic."""
    body = function_body(case.operator, opset, **case.attributes)
    ranks = {name: shape.count(",") + 1 for name, shape in case.operator.inputs}
    inputs = [ir.val(name, dtype, [f"{name}_{axis}" for axis in range(rank)]) for name, rank in ranks.items()]
    attributes = [ir.AttrInt64(name, value) for name, value in case.attributes.items()]
    attributes += [ir.AttrString(name, value) for name, value in PLUGIN_ATTRIBUTES.items()]
    output = ir.val("output", dtype, ["n", "c", "h", "w"])
    node = ir.Node(contract.DOMAIN, body.name, inputs, attributes, outputs=[output])
    imports = {"": opset, contract.DOMAIN: contract.VERSION}
    graph = ir.Graph(inputs, [output], nodes=[node], opset_imports=imports, name="one_node")
    return ir.serde.serialize_model(ir.Model(graph, ir_version=10, functions=[body]))


def run_onnxruntime(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, feed)[0]


def run_reference(model: onnx.ModelProto, feed: dict[str, np.ndarray]) -> np.ndarray:
    return onnx.reference.ReferenceEvaluator(model).run(None, feed)[0]


@pytest.mark.parametrize("run", [run_onnxruntime, run_reference])
@pytest.mark.parametrize("case", OPERATOR_CASES, ids=str)
def test_body_agrees_with_numpy_loops(case, run):
    inputs = case.inputs()
    expected = ORACLE[case.operator.name](**inputs, **case.attributes)
    given = run(one_node_model(case), {name: value.astype(np.float32) for name, value in inputs.items()})
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, expected, atol=tolerance("OPERATOR_FP32").atol, rtol=0)


@pytest.mark.parametrize("case", [case for case in OPERATOR_CASES if case.channels == 6], ids=str)
def test_body_is_generic_in_its_dtype(case):
    # Half precision end to end, sums included: only the absence of a typed constant is claimed here.
    inputs = {name: value.astype(np.float16) for name, value in case.inputs().items()}
    expected = ORACLE[case.operator.name](**{k: v.astype(np.float64) for k, v in inputs.items()}, **case.attributes)
    given = run_onnxruntime(one_node_model(case, dtype=ir.DataType.FLOAT16), inputs)
    bound = tolerance("OPERATOR_FP16_BODY")
    assert given.dtype == np.float16
    np.testing.assert_allclose(given, expected, atol=bound.atol, rtol=bound.rtol)


@pytest.mark.parametrize("opset", sorted(contract.LOWEST_ONNXRUNTIME))
@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_body_passes_the_strict_checker_at_every_opset_and_uses_no_control_flow(operator, opset):
    model = one_node_model(OperatorCase(operator, batch=1, channels=2, height=3, width=3), opset)
    onnx.checker.check_model(model, full_check=True)
    (body,) = model.functions
    assert {"If", "Loop", "Scan"}.isdisjoint(node.op_type for node in body.node)
    assert [entry.version for entry in body.opset_import if entry.domain == ""] == [opset]


@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_body_of_a_large_image_agrees_with_torch(operator):
    # From 256 tiles on there are spare ones. Numpy loops would take minutes here.
    case = OperatorCase(operator, batch=1, channels=2, height=67, width=66)
    inputs = {name: value.astype(np.float32) for name, value in case.inputs().items()}
    expected = TORCH[operator.name](*map(torch.from_numpy, inputs.values()), **case.attributes)
    given = run_onnxruntime(one_node_model(case), inputs)
    np.testing.assert_allclose(given, expected, atol=tolerance("OPERATOR_FP32").atol, rtol=0)


@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_one_session_takes_every_size_and_batch(operator):
    model = one_node_model(OperatorCase(operator, batch=1, channels=2, height=1, width=1))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch, height, width in [(3, 1, 9), (1, 24, 20), (2, 8, 8)]:
        case = OperatorCase(operator, batch=batch, channels=2, height=height, width=width)
        inputs = {name: value.astype(np.float32) for name, value in case.inputs().items()}
        expected = TORCH[operator.name](*map(torch.from_numpy, inputs.values()), **case.attributes)
        np.testing.assert_allclose(session.run(None, inputs)[0], expected, atol=tolerance("OPERATOR_FP32").atol, rtol=0)


def test_extreme_logits_overflow_nothing():
    case = OperatorCase(contract.UPSAMPLE, batch=1, channels=2, height=4, width=4)
    inputs = {name: value.astype(np.float32) for name, value in case.inputs().items()}
    inputs["kernel_logits"] *= 1e4
    inputs["gate_logits"] *= 1e4
    with np.errstate(over="ignore"):
        expected = ORACLE["FadeUpsample"](**{k: v.astype(np.float64) for k, v in inputs.items()}, **case.attributes)
    given = run_onnxruntime(one_node_model(case), inputs)
    np.testing.assert_allclose(given, expected, atol=tolerance("OPERATOR_FP32").atol, rtol=0)
