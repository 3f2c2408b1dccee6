"""The exported graph: what stands in it, what must not, and that it runs at sizes it was not traced with."""

from __future__ import annotations

import contextlib
from collections import Counter

import numpy as np
import onnx
import onnx.reference
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnxscript.rewriter.rules import common as rewrite_rules

from fade_deploy.contract import Head
from fade_deploy.graph.onnx_from_model import GraphOptions, onnx_from_model
from fade_deploy.graph.passes import MODULE_KEY
from fade_deploy.models.deployed import DeployedSegmentation
from fade_deploy.models.mix_transformer import MixTransformerConfig
from fade_deploy.models.segformer import SegFormer, SegFormerConfig
from fade_deploy.ops.registry import build_upsampler
from fade_deploy.recipe import load_recipe
from fade_deploy.tolerances import tolerance

CLASSES = 4
SMALL = MixTransformerConfig(widths=(8, 16, 20, 32), depths=(1, 1, 1, 1))


def deployed(upsampler: str) -> DeployedSegmentation:
    torch.manual_seed(0)
    config = SegFormerConfig(backbone=SMALL, embed_width=16, classes=CLASSES, upsampler=upsampler)
    model = SegFormer(config)
    for module in model.modules():  # equal norm weights would be merged into one initializer
        if isinstance(module, torch.nn.LayerNorm):
            torch.nn.init.normal_(module.weight, 1, 0.1)
    return DeployedSegmentation(model, head=Head.LOGITS, recipe=load_recipe("segformer"), embed_preprocess=False).eval()


def exported(model: DeployedSegmentation, **options) -> onnx.ModelProto:
    rows, columns = (torch.export.Dim(name, min=1) for name in ("rows", "columns"))
    graph = onnx_from_model(
        model,
        {"image": torch.zeros(2, 3, 64, 96)},
        GraphOptions(
            outputs={"logits": ("batch", CLASSES, "height/4", "width/4")},
            dynamic_axes={"image": {0: "batch", 2: "height", 3: "width"}},
            dimensions={"height": 32 * rows, "width": 32 * columns},
            wrapper="model.",
            **options,
        ),
    )
    return ir.serde.serialize_model(graph)


@pytest.fixture(scope="module")
def fade() -> tuple[DeployedSegmentation, onnx.ModelProto]:
    model = deployed("fade")
    return model, exported(model)


def test_fade_nodes_carry_their_bodies_and_name_the_plugin(fade):
    _, proto = fade
    nodes = [node for node in proto.graph.node if node.domain == "fade"]
    assert [node.op_type for node in nodes] == ["FadeUpsample"] * 6
    assert [function.name for function in proto.functions] == ["FadeUpsample"]
    attributes = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in nodes[0].attribute}
    assert attributes == {"kernel_size": 5, "scale": 2, "plugin_namespace": b"fade", "plugin_version": b"1"}
    assert {function.overload for function in proto.functions} == {""}


def test_graph_has_no_control_flow_no_unfold_and_keeps_layer_normalization(fade):
    model, proto = fade
    ops = Counter(node.op_type for node in proto.graph.node)
    assert {"If", "Loop", "Scan", "Col2Im"}.isdisjoint(ops)
    assert ops["LayerNormalization"] == sum(isinstance(module, torch.nn.LayerNorm) for module in model.modules())
    assert proto.ir_version <= 10
    onnx.checker.check_model(proto, full_check=True)


def test_interface_is_named_and_dynamic(fade):
    _, proto = fade
    sizes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*proto.graph.input, *proto.graph.output)
    }
    assert sizes == {
        "image": ["batch", 3, "height", "width"],
        "logits": ["batch", CLASSES, "height/4", "width/4"],
    }


def test_nodes_keep_module_names_and_nothing_of_the_machine(fade):
    _, proto = fade
    modules = {entry.value for node in proto.graph.node for entry in node.metadata_props if entry.key == MODULE_KEY}
    assert {"backbone.block1.0.attn", "decode_head.upsamplers.0", "decode_head.linear_pred"} <= modules
    assert {entry.key for node in proto.graph.node for entry in node.metadata_props} == {MODULE_KEY}
    text = proto.SerializeToString()
    for trace in (b"stack_trace", b".py", b"site-packages", b"/home", b"/root", b"torch"):
        assert trace not in text, trace


def test_weights_keep_their_checkpoint_names(fade):
    model, proto = fade
    names = {initializer.name for initializer in proto.graph.initializer}
    # Linear weights are transposed for MatMul and BatchNorm is folded, so these go by other names.
    convolutions = {
        f"{name}.weight".removeprefix("model.")
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Conv2d) and "linear_fuse" not in name
    }
    assert convolutions <= names


@pytest.mark.parametrize("shape", [(1, 3, 32, 32), (3, 3, 64, 32), (2, 3, 96, 160)])
def test_file_follows_pytorch_on_two_runtimes_at_sizes_it_was_not_traced_with(fade, shape):
    model, proto = fade
    image = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    bound = tolerance("ORT_CPU_FP32")
    np.testing.assert_allclose(session.run(None, {"image": image})[0], expected, atol=bound.atol, rtol=bound.rtol)
    if shape[0] < 3:  # numpy's convolutions are slow
        reference = onnx.reference.ReferenceEvaluator(proto).run(None, {"image": image})[0]
        np.testing.assert_allclose(reference, expected, atol=bound.atol, rtol=bound.rtol)


def test_standard_ops_leave_no_function_and_no_fade_node_and_change_nothing(fade):
    model, proto = fade
    inlined = exported(model, standard_ops=True)
    assert not inlined.functions
    assert {node.domain for node in inlined.graph.node} == {""}
    assert [entry.domain for entry in inlined.opset_import] == [""]
    onnx.checker.check_model(inlined, full_check=True)
    image = np.random.default_rng(1).standard_normal((1, 3, 64, 96)).astype(np.float32)
    outputs = [
        onnxruntime.InferenceSession(p.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"image": image}
        )
        for p in (proto, inlined)
    ]
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("upsampler", ["fade_lite", "semishift", "fade_scrambled", "bilinear"])
def test_every_upsampler_exports_and_agrees(upsampler):
    model = deployed(upsampler)
    proto = exported(model)
    image = np.random.default_rng(2).standard_normal((1, 3, 96, 64)).astype(np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(image)).numpy()
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    bound = tolerance("ORT_CPU_FP32")
    np.testing.assert_allclose(session.run(None, {"image": image})[0], expected, atol=bound.atol, rtol=bound.rtol)


class Own(torch.nn.Module):
    """A user's: a part called ``model`` beside a weight of the same name as that part's."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.model = torch.nn.Conv2d(3, 3, 1)
        self.weight = torch.nn.Parameter(torch.randn(3, 3, 1, 1))

    def forward(self, image):
        return self.model(image).relu() + torch.nn.functional.conv2d(image, self.weight)


@pytest.mark.parametrize(
    ("image", "output"), [("image", "output"), ("weight", "relu")], ids=["own", "of-inner-tensors"]
)
def test_a_users_module_keeps_its_names_and_the_file_those_asked_for(image, output):
    model, example = Own().eval(), torch.randn(2, 3, 4, 5)
    proto = ir.serde.serialize_model(onnx_from_model(model, {image: example}, GraphOptions(outputs={output: None})))
    onnx.checker.check_model(proto, full_check=True)
    names = {initializer.name for initializer in proto.graph.initializer}
    assert {"model.weight", "model.bias"} <= names
    assert ("weight" in names) is (image != "weight")
    modules = [entry.value for node in proto.graph.node for entry in node.metadata_props if entry.key == MODULE_KEY]
    assert "model" in modules
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        expected = model(example).numpy()
    np.testing.assert_allclose(session.run([output], {image: example.numpy()})[0], expected, atol=1e-5)


class Sum(torch.nn.Module):
    def forward(self, first, *features):
        return first + sum(features)


def test_inputs_of_a_starred_parameter_are_dynamic_by_names_that_are_no_identifiers():
    axes = {name: {0: "my-batch", 1: "my width"} for name in ("a", "b", "c")}
    inputs = {name: torch.randn(2, 3) for name in axes}
    graph = onnx_from_model(Sum().eval(), inputs, GraphOptions(outputs={"sum": None}, dynamic_axes=axes))
    proto = ir.serde.serialize_model(graph)
    onnx.checker.check_model(proto, full_check=True)
    for value in proto.graph.input:
        assert [dim.dim_param for dim in value.type.tensor_type.shape.dim] == ["my-batch", "my width"]
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    ones = np.ones((1, 7), np.float32)
    np.testing.assert_array_equal(session.run(None, dict.fromkeys(axes, ones))[0], 3 * ones)


def test_what_is_left_out_of_pytorchs_exporter_changes_no_byte_and_no_other_export(monkeypatch):
    rows, columns = (torch.export.Dim(name, min=1) for name in ("rows", "columns"))
    options = GraphOptions(
        outputs={"upsampled": None},
        dynamic_axes={"encoder": {0: "batch", 2: "high", 3: "wide"}, "decoder": {0: "batch", 2: "low", 3: "narrow"}},
        dimensions={"high": 2 * rows, "wide": 2 * columns, "low": rows, "narrow": columns},
    )
    inputs = {"encoder": torch.randn(2, 16, 8, 12), "decoder": torch.randn(2, 16, 4, 6)}
    torch.manual_seed(0)
    upsampler = build_upsampler("fade", 16).eval()

    def exported_bytes() -> bytes:
        return ir.serde.serialize_model(onnx_from_model(upsampler, inputs, options)).SerializeToString(
            deterministic=True
        )

    ours = exported_bytes()
    assert torch._dynamo.config.fake_tensor_cache_enabled
    assert "try_rewrite" not in vars(rewrite_rules.slice_split_rule)
    monkeypatch.setattr("fade_deploy.graph.onnx_from_model._without_detours", contextlib.nullcontext)
    assert exported_bytes() == ours
