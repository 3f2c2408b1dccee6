"""What was asked of an engine and is not in it is told; what TensorRT's inspector says is read in each of its forms."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest

from fade_deploy.engines.layers import Layer, as_json, engine_layers, from_json, summary, unmet_requests

CONVOLUTION = Layer(
    name="node_conv", kind="CONVOLUTION", inputs=("fp16", "fp16"), outputs=("fp16",), tensors=(("y", "fp16"),)
)
CAST = Layer(name="node_cast", kind="CAST", inputs=("fp32",), outputs=("bf16",), tensors=(("z", "bf16"),))
PLUGIN = Layer(name="node_upsample_1", kind="PLUGIN_V3", inputs=("fp16",), outputs=("fp16",))
LAYERS = [CONVOLUTION, CAST, PLUGIN]


def unmet(
    layers: list[Layer] = LAYERS,
    *,
    precisions: tuple[str, ...] = (),
    types: dict[str, str] | None = None,
    plugin_nodes: tuple[str, ...] = (),
) -> list[str]:
    return unmet_requests(
        layers, precisions=precisions, types=types or {}, plugin_nodes=plugin_nodes, where="the network"
    )


def test_what_is_met_is_not_told():
    asked = {"y": "fp16", "z": "bf16", "of no layer": "fp32"}
    assert unmet(precisions=("fp16",), types=asked, plugin_nodes=("node_upsample_1",)) == []
    assert unmet(plugin_nodes=("",)) == []  # of an engine: any


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_precision_that_no_layer_computes_in_is_told(precision):
    """A cast has both, and computes nothing."""
    assert unmet(precisions=(precision,)) == [f"{precision} was asked for and no layer of the network has it"]


def test_a_tensor_of_another_type_than_the_graphs_is_told():
    assert unmet(types={"y": "fp32"}) == ["layer 'node_conv' of the network is fp16, the graph has it in fp32"]


@pytest.mark.parametrize(
    ("nodes", "told"),
    [
        (("node_gate", "node_head"), "has no plugin layer for node 'node_gate' and 1 more"),
        (("node_upsample", "node_upsample_1"), "2 nodes are for the plugin and the network has 1 plugin layers"),
    ],
    ids=["none by that name", "a name that is part of another"],
)
def test_a_node_without_its_plugin_is_told(nodes, told):
    (fault,) = unmet(plugin_nodes=nodes)
    assert told in fault
    assert unmet([CONVOLUTION], plugin_nodes=("",))


def inspected(*layers: Any) -> list[Layer]:
    inspector = SimpleNamespace(get_engine_information=lambda _: json.dumps({"Layers": layers}))
    trt: Any = SimpleNamespace(LayerInformationFormat=SimpleNamespace(JSON="json"))
    return engine_layers(trt, SimpleNamespace(create_engine_inspector=lambda: inspector))


@pytest.mark.parametrize(
    ("described", "precision"),
    [
        ({"Format/Datatype": "Row major linear FP16 format"}, "fp16"),
        ({"Format/Datatype": "Half"}, "fp16"),
        ({"Format/Datatype": "BFloat16"}, "bf16"),
        ({"Format": "Linear", "Datatype": "Float"}, "fp32"),
        ({"Datatype": "Int32"}, ""),
        ({}, ""),
    ],
)
def test_the_inspectors_words_for_a_type(described, precision):
    """As documented for TensorRT 10 and 11; of no engine that we have run, for the inspector needs its GPU."""
    (layer,) = inspected({"Name": "a", "LayerType": "CaskConvolution", "Inputs": [], "Outputs": [described]})
    assert (layer.name, layer.kind, layer.precision) == ("a", "CaskConvolution", precision)


def test_an_engine_that_tells_names_only_has_no_precision():
    (layer,) = inspected("a + b")
    assert (layer.name, layer.precision) == ("a + b", "")
    assert unmet([layer], precisions=("fp16",))


def test_layers_survive_their_plain_data():
    assert from_json(json.loads(json.dumps(as_json(LAYERS)))) == LAYERS
    assert summary(LAYERS)["plugins"] == ["node_upsample_1"]
    assert summary(LAYERS)["by_precision"] == {"fp16": 2, "bf16": 1}
