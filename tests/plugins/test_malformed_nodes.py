"""Whatever a file or a caller gets wrong, the library says so in an error of ONNX Runtime; it never crashes."""

from __future__ import annotations

import re

import numpy as np
import pytest
from onnx import TensorProto

from fade_deploy import contract
from tests.cases import OperatorCase
from tests.plugins.one_node import bare_node_model, session

SIZES = {"batch": 2, "channels": 6, "height": 4, "width": 5}
CASES = {operator.name: OperatorCase(operator, **SIZES) for operator in contract.OPERATORS}
# Operator, input, its wrong shape, what the error says of it.
WRONG_SHAPES = [
    ("FadeReassemble", "features", (2, 6, 4), "features is [2,6,4], expected [N,C,H,W]"),
    ("FadeReassemble", "kernels", (2, 9, 8, 10), "kernels is [2,9,8,10], expected [N,G*K*K,sH,sW] = [2,25,8,10]"),
    ("FadeReassemble", "kernels", (2, 25, 8, 11), "kernels is [2,25,8,11]"),
    ("FadeUpsample", "decoder", (1, 6, 4, 5), "kernel_logits is [2,25,8,10], expected [N,K*K,sH,sW] = [1,25,8,10]"),
    ("FadeUpsample", "kernel_logits", (2, 25, 8, 10, 1), "kernel_logits is [2,25,8,10,1]"),
    ("FadeUpsample", "encoder", (2, 5, 8, 10), "encoder is [2,5,8,10], expected [N,C,sH,sW] = [2,6,8,10]"),
    ("FadeUpsample", "gate_logits", (2, 1, 8, 10), "gate_logits is [2,1,8,10], expected [N,1,H,W] = [2,1,4,5]"),
    ("FadeUpsample", "gate_logits", (), "gate_logits is [], expected"),
    ("FadeAccumulate", "base", (2, 3, 1, 1), "base is [2,3,1,1], expected [N or 1,C or 1,sH or 1,sW or 1]"),
    ("FadeAccumulate", "base", (8, 10), "base is [8,10]"),
    ("FadeAccumulate", "decoder_weight", (2, 2, 4, 5), "decoder_weight is [2,2,4,5], expected [N,T,H,W] = [2,1,4,5]"),
    ("FadeUpsampleAdd", "decoder_logits", (2, 25, 8, 10), "decoder_logits is [2,25,8,10]"),
    ("FadeUpsampleAdd", "skip", (2, 6, 4, 5), "skip is [2,6,4,5], expected [N,C,sH,sW] = [2,6,8,10]"),
    ("FadeHead", "first", (2, 5, 4, 5), "first is [2,5,4,5], expected [N,E or more,H,W] = [2,6 or more,4,5]"),
    ("FadeHead", "third", (2, 6, 5, 5), "third is [2,6,5,5]"),
    ("FadeHead", "encoder_weight", (6, 14), "encoder_weight is [6,14], expected [E,4*C+3] = [6,15]"),
    ("FadeHead", "encoder_weight", (15,), "encoder_weight is [15]"),
    ("FadeHead", "class_weight", (5, 7), "class_weight is [5,7], expected [M,E] = [5,6]"),
    ("FadeHead", "class_bias", (4,), "class_bias is [4], expected [M] = [5]"),
    ("FadeHead", "encoder_bias", (0,), "encoder_bias is [0], expected [E] = [6]"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "wrong", "shape", "told"), WRONG_SHAPES, ids=lambda value: str(value)[:40])
def test_a_wrong_shape_is_told_with_both_shapes(native, name, wrong, shape, told):
    case = CASES[name]
    inputs = {key: value.astype(np.float32) for key, value in case.inputs().items()}
    inputs[wrong] = np.zeros(shape, np.float32)
    # Whether a file states its inputs' shapes or not; ONNX Runtime does not listen to what shape inference refuses.
    for shapes in ([value.shape for value in inputs.values()], [None] * len(inputs)):
        one = session(bare_node_model(case.operator, case.attributes, shapes=shapes), native)
        with pytest.raises(Exception, match=re.escape(told)):
            one.run(None, inputs)


@pytest.mark.parametrize(("key", "channels"), [("features", 5), ("features", 7)])
def test_groups_divide_the_channels(native, key, channels):
    case = OperatorCase(contract.REASSEMBLE, batch=1, channels=channels, height=3, width=3, lanes=3)
    inputs = {name: value.astype(np.float32) for name, value in case.inputs().items()}
    with pytest.raises(Exception, match=f"features has {channels} channels, expected a multiple of groups = 3"):
        session(bare_node_model(case.operator, case.attributes), native).run(None, inputs)


@pytest.mark.parametrize(
    "channels",
    [
        {"encoder": (1, 0, 4, 4), "encoder_weight": (6, 3)},
        {"encoder_weight": (0, 15), "encoder_bias": (0,), "class_weight": (5, 0)},
    ],
)
def test_a_head_without_channels_is_refused(native, channels):
    case = OperatorCase(contract.HEAD, batch=1, channels=6, height=2, width=2)
    inputs = {name: value.astype(np.float32) for name, value in case.inputs().items()}
    inputs |= {name: np.zeros(shape, np.float32) for name, shape in channels.items()}
    with pytest.raises(Exception, match="expected at least 1 of both"):
        session(bare_node_model(case.operator, case.attributes), native).run(None, inputs)


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ({"kernel_size": 3, "scale": 2}, "attribute kernel_size is 3, expected 5"),
        ({"kernel_size": 5, "scale": -2}, "attribute scale is -2, expected 2"),
        ({"kernel_size": 5}, "attribute scale is missing or no integer, expected 2"),
        ({"kernel_size": 5.0, "scale": 2}, "attribute kernel_size is missing or no integer, expected 5"),
        ({"kernel_size": "5", "scale": 2}, "attribute kernel_size is missing or no integer, expected 5"),
        ({"kernel_size": 5, "scale": 2, "plugin_version": "2"}, "attribute plugin_version is '2', expected '1'"),
        ({"kernel_size": 5, "scale": 2, "plugin_version": "1" * 99}, "is a text of 99 bytes, expected '1'"),
        ({"kernel_size": 5, "scale": 2, "plugin_version": "1\0"}, r"is '1\x00', expected '1'"),
        ({"kernel_size": 5, "scale": 2, "plugin_version": "1\n\x1b[2J'"}, r"is '1\x0a\x1b[2J\x27', expected '1'"),
        ({"kernel_size": 5, "scale": 2, "plugin_version": ""}, "is '', expected '1'"),
    ],
    ids=str,
)
def test_attributes_that_contradict_the_name_are_refused(native, stated, told):
    model = bare_node_model(contract.UPSAMPLE, CASES["FadeUpsample"].attributes, node_attributes=stated)
    with pytest.raises(Exception, match=re.escape(told)):
        session(model, native)


def test_plugin_attributes_may_be_left_out(native):
    attributes = CASES["FadeUpsample"].attributes
    session(bare_node_model(contract.UPSAMPLE, attributes, node_attributes=attributes), native)


@pytest.mark.parametrize(
    "dtypes",
    [
        {"dtype": TensorProto.DOUBLE},
        {"dtype": TensorProto.INT32},
        {"dtype": TensorProto.BFLOAT16},
        {"dtypes": {"encoder": TensorProto.FLOAT16}},
        {"dtypes": {"decoder": TensorProto.FLOAT16}},
        {"dtypes": {"gate_logits": TensorProto.INT64}},
    ],
    ids=str,
)
def test_other_and_mixed_dtypes_are_refused(native, dtypes):
    model = bare_node_model(contract.UPSAMPLE, CASES["FadeUpsample"].attributes, **dtypes)
    with pytest.raises(Exception, match=r"(?i)type"):
        session(model, native)


@pytest.mark.parametrize("inputs", [3, 5])
def test_missing_and_further_inputs_are_refused(native, inputs):
    model = bare_node_model(contract.UPSAMPLE, CASES["FadeUpsample"].attributes)
    node = model.graph.node[0]
    del node.input[3:]
    node.input.extend(["gate_logits", "encoder"][: inputs - 3])
    with pytest.raises(Exception, match=r"(?i)input"):
        session(model, native)


def test_an_optional_input_left_empty_is_refused(native):
    model = bare_node_model(contract.UPSAMPLE, CASES["FadeUpsample"].attributes)
    model.graph.node[0].input[2] = ""
    with pytest.raises(Exception, match=r"(?i)input|encoder"):
        session(model, native)


def test_an_output_beyond_64_bits_is_refused(native):
    # No such tensor fits a memory, but an empty one may say that it has these dimensions.
    features, kernels = np.zeros((0, 2**29, 2**15, 2**15), np.float32), np.zeros((0, 25, 2**16, 2**16), np.float32)
    one = session(bare_node_model(contract.REASSEMBLE, CASES["FadeReassemble"].attributes), native)
    with pytest.raises(Exception, match="exceeds 64 bits"):
        one.run(None, {"features": features, "kernels": kernels})
