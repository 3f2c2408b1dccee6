"""A typed graph: what is low, where it is cast, what it computes, and what is refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np
import onnx
import onnx.parser
import onnx.reference
import onnx_ir as ir
import pytest

from fade_deploy import contract
from fade_deploy.errors import ExportError, RecipeError
from fade_deploy.graph.emulation import emulate_low_types
from fade_deploy.graph.function_bodies import function_body
from fade_deploy.graph.node_types import MOVERS, element_types
from fade_deploy.graph.passes import MODULE_KEY, REPLACES_KEY, inline_functions
from fade_deploy.graph.precision import Typing, typed
from fade_deploy.precision import Precision, PrecisionPlan, Rule, default_plan
from fade_deploy.tolerances import tolerance
from tests.cases import OperatorCase
from tests.graph.test_function_bodies import one_node_model, run_onnxruntime, run_reference
from tests.ops.test_reassembly import ORACLE

LOW = {Precision.FP16: ir.DataType.FLOAT16, Precision.BF16: ir.DataType.BFLOAT16}
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def plan(*rules: Rule, precision: Precision = Precision.FP16) -> PrecisionPlan:
    return PrecisionPlan(name="test", precision=precision, rules=rules)


def kept(*op_types: str, modules: tuple[str, ...] = ()) -> Rule:
    return Rule(op_types=op_types, modules=modules, precision=Precision.FP32, reason="test")


def parsed(text: str, modules: Mapping[str, str] | None = None, opset: int = 18) -> ir.Model:
    """A model from ONNX's text form; ``modules`` names the module of the node that gives a value."""
    proto = onnx.parser.parse_model(f'<ir_version: 10, opset_import: ["": {opset}]> {text}')
    model = ir.serde.deserialize_model(proto)
    for node in model.graph:
        if module := (modules or {}).get(node.outputs[0].name or ""):
            node.metadata_props[MODULE_KEY] = module
    return model


def proto_of(model: ir.Model) -> onnx.ModelProto:
    """The model, after the strict checker."""
    proto = ir.serde.serialize_model(model)
    onnx.checker.check_model(proto, full_check=True)
    return proto


def steps(model: ir.Model) -> list[str]:
    """Each node as ``output = Op(inputs)``, a Cast with its type."""
    lines = []
    for node in model.graph:
        target = f" to {ir.DataType(node.attributes['to'].as_int()).name}" if node.op_type == "Cast" else ""
        names = ", ".join(value.name or "" for value in node.inputs if value is not None)
        lines.append(f"{node.outputs[0].name} = {node.op_type}({names}){target}")
    return lines


def stored(model: ir.Model) -> dict[str, str]:
    return {name: value.const_value.dtype.name for name, value in model.graph.initializers.items()}


def no_cast_chains(model: ir.Model) -> None:
    """No float is cast and, with nothing but moves in between, cast again."""
    types = element_types(model.graph)
    for node in model.graph:
        if node.op_type != "Cast" or types[node.inputs[0]] not in FLOATS:
            continue
        producer = node.inputs[0].producer()
        while producer is not None and producer.op_type in MOVERS:
            producer = producer.inputs[0].producer()
        assert producer is None or producer.op_type != "Cast" or types[producer.inputs[0]] not in FLOATS, node.name
    casts = Counter((node.inputs[0], node.attributes["to"].as_int()) for node in model.graph if node.op_type == "Cast")
    assert set(casts.values()) <= {1}


def run(model: ir.Model, **inputs: np.ndarray) -> np.ndarray:
    return onnx.reference.ReferenceEvaluator(proto_of(model)).run(None, inputs)[0]


# --- small graphs, worked by hand ------------------------------------------------------------------------------------

LINEAR = """
g (float[2, 3] x) => (float[2, 2] y) <float[3, 2] w = {1, 2, 3, 4, 5, 6.0006}, float[2] b = {0.1, 0.2}> {
    product = MatMul(x, w)
    sum = Add(product, b)
    y = Relu(sum)
}"""


@pytest.mark.parametrize("precision", LOW)
def test_low_nodes_read_low_weights_under_their_names_and_casts_stand_at_both_ends_only(precision):
    model = parsed(LINEAR, opset=22)
    typing = typed(model, plan(precision=precision))
    low = LOW[precision].name
    assert steps(model) == [
        f"x_{precision} = Cast(x) to {low}",
        f"product = MatMul(x_{precision}, w)",
        "sum = Add(product, b)",
        f"y_{precision} = Relu(sum)",
        f"y = Cast(y_{precision}) to FLOAT",
    ]
    assert stored(model) == {"w": low, "b": low}
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == [ir.DataType.FLOAT] * 2
    assert typing == Typing(
        plan=plan(precision=precision), io=Precision.FP32, nodes={precision: 3}, weights={precision: 8}, casts=2
    )
    proto_of(model)


def test_a_low_graph_computes_what_numpy_does_in_float16():
    model = parsed(LINEAR)
    typed(model, plan())
    x = np.array([[1, 0.3333, -2], [100, 0.001, 7]], np.float32)
    w = np.array([[1, 2], [3, 4], [5, 6.0006]], np.float16)
    assert float(w[2, 1]) == 6.0  # rounded when it was stored
    expected = np.maximum(x.astype(np.float16) @ w + np.array([0.1, 0.2], np.float16), 0)
    given = run(model, x=x)
    assert given.dtype == np.float32
    np.testing.assert_array_equal(given, expected.astype(np.float32))


def test_float16_inputs_and_outputs_leave_no_cast_at_all():
    model = parsed(LINEAR)
    assert typed(model, plan(), io=Precision.FP16).casts == 0
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == [ir.DataType.FLOAT16] * 2
    proto_of(model)


ATTENTION = """
g (float[1, 4, 8] x) => (float[1, 4, 8] y) <float[8] scale = {1, 1, 1, 1, 1, 1, 1, 2}> {
    norm = LayerNormalization (x, scale)
    turned = Transpose <perm = [0, 2, 1]> (norm)
    scores = MatMul(norm, turned)
    weights = Softmax(scores)
    mixed = MatMul(weights, norm)
    y = Add(mixed, x)
}"""


def test_a_value_is_cast_once_and_before_it_is_moved_where_all_want_it_low():
    model = parsed(ATTENTION)
    typed(model, plan(kept("LayerNormalization", "Softmax")))
    assert steps(model) == [
        "x_fp16 = Cast(x) to FLOAT16",
        "norm = LayerNormalization(x, scale)",
        "norm_fp16 = Cast(norm) to FLOAT16",
        "turned = Transpose(norm_fp16)",
        "scores = MatMul(norm_fp16, turned)",
        "scores_fp32 = Cast(scores) to FLOAT",
        "weights = Softmax(scores_fp32)",
        "weights_fp16 = Cast(weights) to FLOAT16",
        "mixed = MatMul(weights_fp16, norm_fp16)",
        "y_fp16 = Add(mixed, x_fp16)",
        "y = Cast(y_fp16) to FLOAT",
    ]
    assert stored(model) == {"scale": "FLOAT"}
    no_cast_chains(model)


def test_a_softmax_that_keeps_float32_is_numpys_of_the_float16_scores():
    model = parsed("g (float[1, 600] x) => (float[1, 600] y) { double = Add(x, x)\n y = Softmax(double) }")
    typed(model, plan(kept("Softmax")))
    x = np.random.default_rng(0).standard_normal((1, 600)).astype(np.float32)
    low = x.astype(np.float16)
    scores = (low + low).astype(np.float32)
    powers = np.exp(scores - scores.max())
    np.testing.assert_allclose(run(model, x=x), powers / powers.sum(), rtol=1e-6)
    inside = np.exp(scores.astype(np.float16) - scores.astype(np.float16).max())
    assert not np.allclose(inside / inside.sum(dtype=np.float16), powers / powers.sum(), rtol=1e-6)


MOVES = """
g (float[2, 4] x) => (float[4, 2] y, float[4, 2] z) {
    low = Relu(x)
    flat = Reshape(low, shape)
    root = Sqrt(flat)
    turned = Transpose <perm = [1, 0]> (root)
    halves, others = Split <axis = 0, num_outputs = 2> (turned)
    joined = Concat <axis = 0> (halves, others)
    y = Sqrt(joined)
    z = Relu(y)
}"""


def test_moves_between_float32_nodes_stay_in_float32_and_those_of_low_values_stay_low():
    model = parsed(MOVES.replace("{\n    low", "<int64[2] shape = {2, 4}> {\n    low", 1))
    typing = typed(model, plan(kept("Sqrt")))
    assert steps(model) == [
        "x_fp16 = Cast(x) to FLOAT16",
        "low = Relu(x_fp16)",
        "flat = Reshape(low, shape)",
        "flat_fp32 = Cast(flat) to FLOAT",
        "root = Sqrt(flat_fp32)",
        "turned = Transpose(root)",
        "halves = Split(turned)",
        "joined = Concat(halves, others)",
        "y = Sqrt(joined)",
        "y_fp16 = Cast(y) to FLOAT16",
        "z_fp16 = Relu(y_fp16)",
        "z = Cast(z_fp16) to FLOAT",
    ]
    assert stored(model) == {"shape": "INT64"}
    assert typing.nodes == {Precision.FP16: 3, Precision.FP32: 5}
    no_cast_chains(model)


def test_a_weight_that_is_read_in_two_types_is_stored_in_both():
    text = "g (float[2] x) => (float[2] y) <float[2] w = {0.1, 3}> { a = Mul(x, w)\n b = Sqrt(a)\n y = Sub(b, w) }"
    model = parsed(text, {"b": "m.root", "y": "m.root"})
    typing = typed(model, plan(kept(modules=("m.*",))))
    assert stored(model) == {"w": "FLOAT", "w_fp16": "FLOAT16"}
    assert typing.weights == {Precision.FP16: 2, Precision.FP32: 2}
    low = np.array([0.1, 3], np.float16)
    x = np.array([2, 5], np.float32)
    product = (x.astype(np.float16) * low).astype(np.float32)
    np.testing.assert_allclose(run(model, x=x), np.sqrt(product) - np.array([0.1, 3], np.float32), rtol=1e-6)


SIZES = """
g (float[n, 2, h, w] x, uint8[n, 2, h, w] picture, int64[1] index) => (float[n, 2, h2, w2] y, int64[n, h2, w2] best)
<float[4] scales = {1, 1, 2, 2}, float threshold = {0.5}> {
    sizes = Shape(x)
    batch = Gather(sizes, index)
    ones = ConstantOfShape <value = float[1] {1}> (sizes)
    zero = Constant <value_float = 0.25> ()
    start = Constant <value = float {0}> ()
    step = Constant <value = float {1}> ()
    count = Cast <to = 1> (batch)
    end = Squeeze(count)
    coordinates = Range(start, end, step)
    pixels = Cast <to = 1> (picture)
    is_bright = Greater(pixels, threshold)
    chosen = Where(is_bright, x, zero)
    sum = Add(chosen, ones)
    shifted = Add(sum, coordinates)
    y = Resize <mode = "linear"> (shifted, , scales)
    best = ArgMax <axis = 1, keepdims = 0> (y)
}"""


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("opset", [18, 23])
def test_sizes_coordinates_scales_integers_and_booleans_keep_their_types(opset, precision):
    model = parsed(SIZES, opset=opset)
    typed(model, plan(precision=precision))
    types = {value.name: kind.name for value, kind in element_types(model.graph).items()}
    low = LOW[precision].name
    fixed = ("sizes", "batch", "is_bright", "best", "scales", "count", "coordinates", "ones", "pixels")
    assert {name: types[name] for name in fixed} == {
        "sizes": "INT64",
        "batch": "INT64",
        "is_bright": "BOOL",
        "best": "INT64",
        "scales": "FLOAT",
        "count": "FLOAT",
        "coordinates": "FLOAT",
        "ones": "FLOAT",
        "pixels": "FLOAT",
    }
    assert {types[name] for name in ("chosen", "sum", "shifted", f"y_{precision}")} == {low}
    assert types["y"] == "FLOAT"
    assert stored(model)["zero"] == low  # a constant is a weight
    proto = proto_of(model)
    inferred = onnx.shape_inference.infer_shapes(proto, strict_mode=True, check_type=True)
    kinds = {value.name: ir.DataType(value.type.tensor_type.elem_type).name for value in inferred.graph.value_info}
    assert {name: kinds[name] for name in kinds.keys() & types.keys()} == {name: types[name] for name in kinds}


def test_a_graph_of_every_kind_of_node_still_computes_the_same():
    given = {
        "x": np.random.default_rng(0).standard_normal((1, 2, 3, 3)).astype(np.float32),
        "picture": np.random.default_rng(1).integers(0, 2, (1, 2, 3, 3), np.uint8),
        "index": np.array([0]),
    }
    expected = run(parsed(SIZES), **given)
    model = parsed(SIZES)
    typed(model, plan())
    bound = tolerance("OPERATOR_FP16")
    np.testing.assert_allclose(run(model, **given), expected, atol=bound.atol, rtol=bound.rtol)
    np.testing.assert_allclose(run_onnxruntime(proto_of(model), given), expected, atol=bound.atol, rtol=bound.rtol)


# --- what can't be typed ---------------------------------------------------------------------------------------------


def refused(model: ir.Model, *arguments, error=ExportError, **options) -> str:
    before = ir.serde.serialize_model(model).SerializeToString(deterministic=True)
    with pytest.raises(error) as raised:
        typed(model, *(arguments or (plan(),)), **options)
    assert ir.serde.serialize_model(model).SerializeToString(deterministic=True) == before
    assert "\n" not in str(raised.value)
    return str(raised.value)


LARGE = "g (float[2] x) => (float[2] y) <float[2] w = {1, 70000}> { a = Relu(x)\n y = Mul(a, w) }"


def test_a_weight_beyond_float16_is_refused_with_its_module_and_fits_bfloat16():
    message = refused(parsed(LARGE, {"y": "head.scale"}))
    assert "'w' of module 'head.scale' has values up to 7e+04, fp16 ends at 65504" in message
    assert "keep the module in fp32" in message
    model = parsed(LARGE, {"y": "head.scale"})
    typed(model, plan(kept(modules=("head.scale",))))
    assert stored(model) == {"w": "FLOAT"}
    model = parsed(LARGE, opset=22)
    typed(model, plan(precision=Precision.BF16))
    assert stored(model) == {"w": "BFLOAT16"}


def test_what_rounds_to_the_largest_float16_fits_and_what_is_tiny_becomes_zero():
    model = parsed(LARGE.replace("70000", "65519").replace("{1,", "{1e-9,"))
    typed(model, plan())
    np.testing.assert_array_equal(run(model, x=np.array([3, 1], np.float32)), [0, 65504])


def test_a_typed_model_is_refused():
    model = parsed(LINEAR)
    typed(model, plan())
    assert "has float16 values already, expected one in float32" in refused(model)


def test_control_flow_and_foreign_operators_are_refused():
    branch = "then_branch = t () => (float[2] a) { a = Identity(x) }, else_branch = e () => (float[2] a) { a = Neg(x) }"
    text = f"g (float[2] x, bool c) => (float[2] y) {{ z = If <{branch}> (c)\n y = Relu(z) }}"
    assert "holds control flow (If)" in refused(parsed(text))
    model = parsed("g (float[2] x) => (float[2] y) { y = Relu(x) }")
    model.graph[0].domain = "com.example"
    assert "holds the operator com.example.Relu" in refused(model)


def test_bfloat16_inputs_and_patterns_that_match_nothing_are_refused():
    assert "numpy has no bfloat16" in refused(parsed(LINEAR), plan(), io=Precision.BF16)
    model = parsed(LINEAR, {"sum": "head.fc", "product": "head.fc"})
    message = refused(model, plan(kept(modules=("haed.fc",))), error=RecipeError)
    assert "'haed.fc' matches no module" in message
    assert "head.fc" in message
    assert "LayerNormalization" in refused(model, plan(kept("LayerNormalisation")), error=RecipeError)


def test_a_node_has_the_precision_of_the_modules_that_it_replaces():
    model = parsed(LINEAR, {"sum": "fused"})
    next(node for node in model.graph if node.op_type == "Add").metadata_props[REPLACES_KEY] = "head.a, head.b"
    typed(model, plan(kept(modules=("head.b",))))
    assert "sum = Add(product_fp32, b)" in steps(model)


# --- the operators' bodies -------------------------------------------------------------------------------------------

SMALL = [OperatorCase(operator, batch=2, channels=6, height=3, width=5) for operator in contract.OPERATORS]


def typed_one_node(case: OperatorCase, chosen: PrecisionPlan, opset: int = 18, io=Precision.FP16) -> ir.Model:
    model = ir.serde.deserialize_model(one_node_model(case, opset))
    typed(model, chosen, io=io)
    return model


@pytest.mark.parametrize("run_model", [run_onnxruntime, run_reference])
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_a_float16_body_agrees_with_numpy_loops(case, run_model):
    proto = proto_of(typed_one_node(case, plan()))
    inputs = {name: value.astype(np.float16) for name, value in case.inputs().items()}
    expected = ORACLE[case.operator.name](**{k: v.astype(np.float64) for k, v in inputs.items()}, **case.attributes)
    given = run_model(proto, inputs)
    assert given.dtype == np.float16
    bound = tolerance("OPERATOR_FP16_BODY")
    np.testing.assert_allclose(given, expected, atol=bound.atol, rtol=bound.rtol)


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("opset", [18, 23])
@pytest.mark.parametrize("case", SMALL, ids=str)
def test_a_low_body_softens_in_float32_and_multiplies_low(case, opset, precision):
    model = typed_one_node(case, plan(precision=precision), opset, io=Precision.FP32)
    proto_of(model)
    assert [function.name for function in model.functions.values()] == [case.operator.name]
    inline_functions(model)
    types = element_types(model.graph)
    for node in model.graph:
        if node.op_type in ("Exp", "ReduceSum", "ReduceMax"):
            assert types[node.outputs[0]] is ir.DataType.FLOAT
        if node.op_type in ("MatMul", "Gemm"):
            assert types[node.outputs[0]] is LOW[precision]
    kinds = Counter(node.op_type for node in model.graph)
    assert (kinds["Exp"] > 0) is (case.operator is not contract.REASSEMBLE)


@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_the_body_of_a_float32_file_holds_no_cast(operator):
    body = function_body(operator, 18, **dict(operator.attributes))
    assert "Cast" not in {node.op_type for node in body}


def test_an_operator_that_keeps_float32_shares_the_body_of_a_low_one():
    case = OperatorCase(contract.UPSAMPLE, batch=1, channels=4, height=3, width=5)
    model = ir.serde.deserialize_model(one_node_model(case))
    graph = model.graph
    first = graph[0]
    second = ir.Node(
        contract.DOMAIN,
        first.op_type,
        first.inputs,
        [ir.Attr(attribute.name, attribute.type, attribute.value) for attribute in first.attributes.values()],
        outputs=[ir.val("kept", ir.DataType.FLOAT, ["n", "c", "h", "w"])],
    )
    second.metadata_props[MODULE_KEY] = "second"
    graph.append(second)
    graph.outputs.append(second.outputs[0])
    typed(model, plan(kept(modules=("second",))))
    assert len(model.functions) == 1
    proto = proto_of(model)
    inputs = {name: value.astype(np.float32) for name, value in case.inputs().items()}
    expected = ORACLE["FadeUpsample"](**{k: v.astype(np.float64) for k, v in inputs.items()}, **case.attributes)
    session = onnx.reference.ReferenceEvaluator(proto)
    low, whole = session.run(None, inputs)
    np.testing.assert_allclose(whole, expected, atol=tolerance("OPERATOR_FP32").atol, rtol=0)
    bound = tolerance("OPERATOR_FP16_BODY")
    np.testing.assert_allclose(low, expected, atol=bound.atol, rtol=bound.rtol)
    assert np.abs(low - expected).max() > tolerance("OPERATOR_FP32").atol  # it really is low
    np.testing.assert_allclose(run_onnxruntime(proto, inputs), expected, atol=bound.atol, rtol=bound.rtol)


# --- the twin that stands for a runtime with bfloat16 ----------------------------------------------------------------


def test_the_twin_rounds_after_every_node_to_the_nearest_even_bfloat16():
    text = "g (float[4] x) => (float[4] y) <float[1] one = {1}> { a = Add(x, one)\n b = Sub(a, one)\n y = Identity(b) }"
    model = parsed(text)
    typed(model, plan(precision=Precision.BF16))
    emulate_low_types(model)
    # 8 bits: 1 + k/128. 1/256 is a tie and goes down to 1, 3/256 a tie that goes up; 1/128 stays.
    x = np.array([1 / 256, 3 / 256, 1 / 128, 0.3], np.float32)
    expected = np.array([0, 2 / 128, 1 / 128, 38 / 128], np.float32)
    assert ir.DataType.BFLOAT16 not in {value.const_value.dtype for value in model.graph.initializers.values()}
    np.testing.assert_array_equal(run_onnxruntime(proto_of(model), {"x": x}), expected)


def test_the_twin_overflows_where_float16_does():
    # onnxruntime on the CPU computes the file itself in float32 throughout and gives 1000 for both.
    text = "g (float[2] x) => (float[2] y) <float[1] k = {256}> { a = Mul(x, k)\n b = Div(a, k)\n y = Relu(b) }"
    model = parsed(text)
    typed(model, plan())
    emulate_low_types(model)
    given = run_onnxruntime(proto_of(model), {"x": np.array([1000, 100.06], np.float32)})
    np.testing.assert_array_equal(given, [np.inf, 100.0625])


@pytest.mark.parametrize("precision", LOW)
def test_the_twin_of_an_operator_agrees_with_numpy_loops_and_rounds_inside(precision):
    case = OperatorCase(contract.UPSAMPLE, batch=1, channels=6, height=9, width=5)
    model = typed_one_node(case, plan(precision=precision), opset=22, io=Precision.FP32)
    emulate_low_types(model)
    assert not model.functions
    kind = LOW[precision].numpy()
    inputs = {name: value.astype(kind).astype(np.float32) for name, value in case.inputs().items()}
    expected = ORACLE["FadeUpsample"](**{k: v.astype(np.float64) for k, v in inputs.items()}, **case.attributes)
    given = run_onnxruntime(proto_of(model), inputs)
    np.testing.assert_array_equal(given, given.astype(kind).astype(np.float32))
    bound = tolerance("OPERATOR_BF16" if precision is Precision.BF16 else "OPERATOR_FP16_BODY")
    np.testing.assert_allclose(given, expected, atol=bound.atol, rtol=bound.rtol)


def test_the_twin_has_the_types_of_the_file_at_its_inputs_and_outputs():
    model = parsed(LINEAR)
    typed(model, plan(), io=Precision.FP16)
    emulate_low_types(model)
    (given,), (output,) = model.graph.inputs, model.graph.outputs
    assert (given.name, given.dtype, output.name, output.dtype) == ("x", ir.DataType.FLOAT16, "y", ir.DataType.FLOAT16)
    x = np.ones((2, 3), np.float16)
    np.testing.assert_array_equal(run_onnxruntime(proto_of(model), {"x": x}), np.array([[9.1, 12.2]] * 2, np.float16))


def test_the_shipped_plan_types_a_graph_that_has_nothing_to_keep():
    model = parsed(LINEAR, {"product": "fc", "sum": "fc", "y": "fc"})
    assert typed(model, default_plan(Precision.FP16)).nodes == {Precision.FP16: 3}


def test_a_file_of_standard_operators_keeps_its_bodies_in_float32_since_they_name_no_module():
    case = OperatorCase(contract.UPSAMPLE, batch=1, channels=4, height=3, width=5)
    model = ir.serde.deserialize_model(one_node_model(case))
    inline_functions(model)
    first = model.graph[0]
    decoder = model.graph.inputs[0]
    inner = ir.node("Relu", [decoder], name="relu")
    inner.outputs[0].name = "activated"
    inner.metadata_props[MODULE_KEY] = "block"
    model.graph.insert_before(first, inner)
    for node, index in list(decoder.uses()):
        if node is not inner:
            node.replace_input_with(index, inner.outputs[0])
    typed(model, default_plan(Precision.FP16))
    types = element_types(model.graph)
    kinds = {node.op_type: types[node.outputs[0]] for node in model.graph}
    assert (kinds["Relu"], kinds["Exp"], kinds["MatMul"]) == (ir.DataType.FLOAT16, ir.DataType.FLOAT, ir.DataType.FLOAT)
    inputs = {name: value.astype(np.float32) for name, value in case.inputs().items()}
    activated = {**inputs, "decoder": np.maximum(inputs["decoder"], 0).astype(np.float16)}
    expected = ORACLE["FadeUpsample"](**{k: v.astype(np.float64) for k, v in activated.items()}, **case.attributes)
    bound = tolerance("OPERATOR_FP16")
    np.testing.assert_allclose(run_onnxruntime(proto_of(model), inputs), expected, atol=bound.atol, rtol=bound.rtol)
