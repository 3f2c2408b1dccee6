from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest

from benchmarks.head_growth import cut_head, handed_over
from benchmarks.models import inputs_of
from fade_deploy.contract import Task
from fade_deploy.tolerances import tolerance

BOUND = {"rtol": tolerance("ORT_CPU_FP32").rtol, "atol": tolerance("ORT_CPU_FP32").atol}


def _run(model, inputs):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, inputs)[0]


@pytest.fixture(scope="module")
def whole(tiny_onnx):
    return onnx.load(tiny_onnx)


@pytest.fixture(scope="module")
def head(whole):
    return cut_head(whole, [handed_over(whole, height=64, width=width) for width in (64, 96)])


@pytest.mark.parametrize("size", [(64, 64), (96, 64)], ids=str)
def test_the_cut_head_computes_the_rest_of_the_file(whole, size):
    height, width = size
    samples = [handed_over(whole, height=each, width=64) for each in (64, 96)]
    head = cut_head(whole, samples)
    onnx.checker.check_model(head, full_check=True)
    given = _run(head, handed_over(whole, height=height, width=width))
    expected = _run(whole, inputs_of(Task.SEGMENTATION, batch=1, height=height, width=width))
    assert expected.std() > 1e-3
    np.testing.assert_allclose(given, expected, **BOUND)


def test_the_cut_head_holds_no_node_of_the_backbone(whole, head):
    modules = [entry.value for node in head.graph.node for entry in node.metadata_props]
    assert modules
    assert not [module for module in modules if module.startswith("backbone")]
    assert 0 < len(head.graph.node) < len(whole.graph.node)
    ranks = [len(value.type.tensor_type.shape.dim) for value in head.graph.input if value.name != "image"]
    assert ranks.count(4) >= 4  # the four features, whatever else crosses


def test_sizes_that_differ_stay_free(head):
    (feature, *_) = [value for value in head.graph.input if len(value.type.tensor_type.shape.dim) == 4]
    assert [bool(size.dim_param) for size in feature.type.tensor_type.shape.dim].count(True) == 1  # the width


def test_a_file_without_backbone_is_refused():
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "g", values[:1], values[1:]))
    with pytest.raises(ValueError, match="backbone"):
        handed_over(model, height=64, width=64)
