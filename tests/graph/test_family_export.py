"""Every upsampler as a file of its own: dynamic in batch and size, without control flow, equal to PyTorch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch

from fade_deploy.graph.onnx_from_model import GraphOptions, onnx_from_model
from fade_deploy.ops.registry import UPSAMPLERS, build_upsampler
from fade_deploy.tolerances import tolerance

# IndexNet and bilinear have no reassembly.
FADE_NODES = {
    "fade": "FadeUpsample",
    "fade_lite": "FadeUpsample",
    "fade_scrambled": "FadeUpsample",
    "a2u": "FadeAccumulate_k3_s2_t1",
    "indexnet": None,
    "indexnet_context": None,
    "bilinear": None,
}
ROWS, COLUMNS = torch.export.Dim("rows", min=1), torch.export.Dim("columns", min=1)


def channels_of(name: str) -> int:
    return 64 if name == "a2u" else 8  # its group norms have 32 groups, and one value is no group


def exported(name: str) -> tuple[torch.nn.Module, onnx.ModelProto]:
    torch.manual_seed(0)
    module, channels = build_upsampler(name, channels_of(name)).eval(), channels_of(name)
    for parameter in module.parameters():  # norms and biases start as ones and zeros, which the exporter may drop
        torch.nn.init.normal_(parameter, 0.1, 0.3)
    options = GraphOptions(
        outputs={"upsampled": ("batch", channels, "height", "width")},
        dynamic_axes={
            "encoder": {0: "batch", 2: "height", 3: "width"},
            "decoder": {0: "batch", 2: "rows", 3: "columns"},
        },
        dimensions={"rows": ROWS, "columns": COLUMNS, "height": 2 * ROWS, "width": 2 * COLUMNS},
    )
    inputs = {"encoder": torch.rand(2, channels, 8, 12), "decoder": torch.rand(2, channels, 4, 6)}
    return module, ir.serde.serialize_model(onnx_from_model(module, inputs, options))


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_file_follows_pytorch_at_sizes_it_was_not_traced_with(name):
    module, proto = exported(name)
    ops = Counter(node.op_type for node in proto.graph.node)
    assert {"If", "Loop", "Scan"}.isdisjoint(ops)
    expected_node = FADE_NODES.get(name, "FadeAccumulate")
    assert [node.op_type for node in proto.graph.node if node.domain == "fade"] == [expected_node] * bool(expected_node)
    assert [value.name for value in proto.graph.input] == ["encoder", "decoder"]
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    bound = tolerance("ORT_CPU_FP32")
    for batch, height, width in ((1, 1, 1), (3, 7, 2)):
        encoder = torch.randn(batch, channels_of(name), 2 * height, 2 * width)
        decoder = torch.randn(batch, channels_of(name), height, width)
        with torch.no_grad():
            expected = module(encoder, decoder).numpy()
        (given,) = session.run(None, {"encoder": encoder.numpy(), "decoder": decoder.numpy()})
        np.testing.assert_allclose(given, expected, atol=bound.atol, rtol=bound.rtol)
