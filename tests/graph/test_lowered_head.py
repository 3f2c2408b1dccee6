"""``FadeHead`` taken apart for TensorRT is the same function."""

from __future__ import annotations

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime
import pytest

from fade_deploy import contract
from fade_deploy.graph.function_bodies import PLUGIN_ATTRIBUTES, function_body
from fade_deploy.graph.lowered_head import lower_heads
from fade_deploy.graph.passes import MODULE_KEY, REPLACES_KEY
from fade_deploy.ops import numpy_oracle
from fade_deploy.tolerances import tolerance
from tests.cases import OPERATOR_CASES, OperatorCase

CASES = [case for case in OPERATOR_CASES if case.operator is contract.HEAD]
WEIGHTS = ("encoder_weight", "encoder_bias", "class_weight", "class_bias")
NAMES = {MODULE_KEY: "decode_head", REPLACES_KEY: "decode_head.linear_fuse, decode_head.linear_pred"}


def head_model(case: OperatorCase, dtype: ir.DataType, *, stored: bool = True, opset: int = 18) -> ir.Model:
    """One ``FadeHead`` of dynamic size whose weights are stored, the classes' behind a Reshape as in our exports."""
    given = case.inputs()
    values = {}
    for name, shape in contract.HEAD.inputs:
        if stored and name in WEIGHTS:
            array = given[name]
            if name == "class_weight":
                array = array.reshape(*array.shape, 1, 1)
            tensor = ir.tensor(array.astype(dtype.numpy()), dtype=dtype, name=f"{name}_stored")
            values[name] = ir.Value(name=tensor.name, shape=tensor.shape, type=ir.TensorType(dtype), const_value=tensor)
        else:
            values[name] = ir.val(name, dtype, [f"{name}_{axis}" for axis in range(shape.count(",") + 1)])
    initializers = [value for value in values.values() if value.const_value is not None]
    inputs = [value for value in values.values() if value.const_value is None]
    nodes = []
    if stored:
        sizes = ir.Value(name="sizes", const_value=ir.tensor(np.array([0, -1]), name="sizes"))
        initializers.append(sizes)
        reshape = ir.node("Reshape", [values["class_weight"], sizes], name="node_view")
        nodes.append(reshape)
        values["class_weight"] = reshape.outputs[0]
    body = function_body(contract.HEAD, opset, **case.attributes)
    attributes = [ir.AttrInt64(name, value) for name, value in case.attributes.items()]
    attributes += [ir.AttrString(name, value) for name, value in PLUGIN_ATTRIBUTES.items()]
    output = ir.val("logits", dtype, ["n", "m", "h", "w"])
    head = ir.Node(contract.DOMAIN, body.name, list(values.values()), attributes, outputs=[output], name="node_head")
    head.metadata_props.update(NAMES)
    imports = {"": opset, contract.DOMAIN: contract.VERSION}
    graph = ir.Graph(
        inputs, [output], nodes=[*nodes, head], initializers=initializers, opset_imports=imports, name="model"
    )
    return ir.Model(graph, ir_version=10, functions=[body])


def feed(case: OperatorCase, dtype: type, *, stored: bool = True) -> dict[str, np.ndarray]:
    return {name: value.astype(dtype) for name, value in case.inputs().items() if not (stored and name in WEIGHTS)}


def oracle(case: OperatorCase) -> np.ndarray:
    return numpy_oracle.head(**case.inputs(), **case.attributes)


def reference(model: ir.Model, given: dict[str, np.ndarray]) -> np.ndarray:
    return onnx.reference.ReferenceEvaluator(ir.serde.serialize_model(model)).run(None, given)[0]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_lowered_head_is_the_oracle_in_float64(case):
    model = head_model(case, ir.DataType.DOUBLE)
    assert lower_heads(model) == 1
    found = reference(model, feed(case, np.float64))
    np.testing.assert_allclose(found, oracle(case), atol=tolerance("NUMPY_FP64").atol, rtol=0)


@pytest.mark.parametrize("stored", [True, False], ids=["stored", "given"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_lowered_head_runs_on_onnxruntime(case, stored):
    model = head_model(case, ir.DataType.FLOAT, stored=stored)
    lower_heads(model)
    session = onnxruntime.InferenceSession(
        ir.serde.serialize_model(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, feed(case, np.float32, stored=stored))
    np.testing.assert_allclose(found, oracle(case), atol=tolerance("OPERATOR_FP32").atol, rtol=0)


@pytest.mark.parametrize("opset", sorted(contract.LOWEST_ONNXRUNTIME))
def test_lowered_model_passes_the_strict_checker(opset):
    model = head_model(CASES[1], ir.DataType.FLOAT, opset=opset)
    lower_heads(model)
    onnx.checker.check_model(ir.serde.serialize_model(model), full_check=True)


def test_products_are_convolutions_of_stored_weights_and_one_node_is_ours():
    model = head_model(CASES[1], ir.DataType.FLOAT)
    lower_heads(model)
    ours = [node.op_type for node in model.graph if node.domain == contract.DOMAIN]
    assert ours == ["FadeAccumulate_k5_s2_t3"]
    assert [function.name for function in model.functions.values()] == ours
    convolutions = [node for node in model.graph if node.op_type == "Conv"]
    assert len(convolutions) == 2
    assert all(node.inputs[1].is_initializer() for node in convolutions)
    assert all(node.op_type != "Reshape" for node in model.graph)
    assert {"encoder_weight_stored", "class_weight_stored"}.isdisjoint(model.graph.initializers)


def test_new_nodes_keep_the_module_names_and_have_their_own():
    model = head_model(CASES[1], ir.DataType.FLOAT)
    lower_heads(model)
    assert all(dict(node.metadata_props) == NAMES for node in model.graph)
    names = [node.name for node in model.graph]
    assert len(set(names)) == len(names)
    assert all(name.startswith("node_head/") for name in names)
    assert [output.name for output in model.graph.outputs] == ["logits"]


def test_float16_head_computes_its_softmax_in_float32():
    case = CASES[1]
    model = head_model(case, ir.DataType.FLOAT16)
    lower_heads(model)
    (body,) = model.functions.values()
    assert any(node.op_type == "Cast" for node in body)
    session = onnxruntime.InferenceSession(
        ir.serde.serialize_model(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    (found,) = session.run(None, feed(case, np.float16))
    assert found.dtype == np.float16
    bound = tolerance("OPERATOR_FP16_BODY")
    np.testing.assert_allclose(found, oracle(case), atol=bound.atol, rtol=bound.rtol)


def test_a_model_without_a_head_is_left_as_it_is():
    model = head_model(CASES[1], ir.DataType.FLOAT)
    lower_heads(model)
    before = ir.serde.serialize_model(model).SerializeToString(deterministic=True)
    assert lower_heads(model) == 0
    assert ir.serde.serialize_model(model).SerializeToString(deterministic=True) == before


def test_exported_file_gives_the_same_logits(tiny_onnx):
    original = onnxruntime.InferenceSession(str(tiny_onnx), providers=["CPUExecutionProvider"])
    model = ir.load(tiny_onnx)
    assert lower_heads(model) == 1
    lowered = onnxruntime.InferenceSession(
        ir.serde.serialize_model(model).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    bound = tolerance("ORT_CPU_FP32")
    for batch, height, width in ((1, 32, 96), (2, 160, 64)):
        image = np.random.default_rng(height).standard_normal((batch, 3, height, width)).astype(np.float32)
        (expected,), (found,) = (session.run(None, {"image": image}) for session in (original, lowered))
        np.testing.assert_allclose(found, expected, atol=bound.atol, rtol=bound.rtol)
