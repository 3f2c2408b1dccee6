"""``FadeHead`` taken apart for TensorRT: its products become convolutions, which run on tensor cores there.

On a CPU the operator is one kernel, because its tensors at full size would not fit the caches. On a GPU the two
products are most of the work and TensorRT's own convolutions are the fastest there is for them, so what stays an
operator of ours is what TensorRT lacks: the sum of the three reassemblies, ``FadeAccumulate`` with three terms.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from fade_deploy import contract
from fade_deploy.graph.body_writer import BodyWriter
from fade_deploy.graph.function_bodies import PLUGIN_ATTRIBUTES, function_body
from fade_deploy.graph.node_types import element_types

__all__ = ["lower_heads"]

_TERMS = 3
_LOW = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)


def lower_heads(model: ir.Model) -> int:
    """Replace every ``FadeHead`` by standard nodes and one ``FadeAccumulate`` of three terms, exactly.

    ``classes(relu(FadeAccumulate([first, second, third], logits, conv([g_t*x, x, g_t]), 1 - g_t)))``, with the module
    names of the operator on each new node. Weights that are initializers stay initializers. Other nodes and the names
    of the interface are left as they are.

    Args:
        model: Changed in place; of any floating dtype.

    Returns:
        How many there were.
    """
    heads = [node for node in model.graph if _is_head(node.domain, node.op_type)]
    if not heads:
        return 0
    types = element_types(model.graph)
    for node in heads:
        attributes = {name: node.attributes[name].as_int() for name, _ in contract.HEAD.attributes}
        is_low = any(types[value] in _LOW for value in node.inputs if value is not None)
        body = function_body(
            contract.ACCUMULATE,
            model.graph.opset_imports[""],
            float32_softmax=is_low,  # as graph/precision.py gives every fade node of such a file
            **attributes,
            terms=_TERMS,
        )
        model.functions.setdefault(body.identifier(), body)
        _replace(model, node, attributes)
    for identifier in [identifier for identifier in model.functions if _is_head(*identifier[:2])]:
        del model.functions[identifier]
    return len(heads)


def _is_head(domain: str, op_type: str) -> bool:
    return domain == contract.DOMAIN and op_type.partition("_")[0] == contract.HEAD.name


def _replace(model: ir.Model, node: ir.Node, attributes: dict[str, int]) -> None:
    graph, old = model.graph, node.outputs[0]
    inputs = [value for value in node.inputs if value is not None]  # all of them: none is optional
    b = BodyWriter()
    output = _lowered(b, graph, attributes, *inputs)
    new = list(b.tape.nodes)
    for number, part in enumerate(new):
        part.name = f"{node.name}/{number}_{part.op_type}"
        part.metadata_props.update(node.metadata_props)
        for made in part.outputs:
            made.name = f"{old.name}/{number}_{part.op_type}"
    ir.convenience.replace_nodes_and_values(graph, node, [node], new, [old], [output])
    for value in inputs:  # weights that were given another shape
        _remove_unused(graph, value)


def _lowered(
    b: BodyWriter,
    graph: ir.Graph,
    attributes: dict[str, int],
    first: ir.Value,
    second: ir.Value,
    third: ir.Value,
    encoder_logits: ir.Value,
    decoder_logits: ir.Value,
    gate_logits: ir.Value,
    encoder: ir.Value,
    encoder_weight: ir.Value,
    encoder_bias: ir.Value,
    class_weight: ir.Value,
    class_bias: ir.Value,
) -> ir.Value:
    """The nodes of ``contract.HEAD``, in ``b``."""
    scale = attributes["scale"]
    bias = encoder_bias.const_value
    hidden = b.size(encoder_bias, 0) if bias is None else b.ints([bias.shape.numpy()[0]])
    gates = _repeated(b, b("Sigmoid", gate_logits), scale)
    gated = [b("Mul", encoder, _channel(b, gates, term)) for term in range(_TERMS)]
    base = b(
        "Conv",
        b("Concat", *gated, encoder, gates, axis=1),
        _as_convolution(b, graph, encoder_weight),
        encoder_bias,
    )
    decoders = b("Concat", *(b.first(decoder, hidden, 1) for decoder in (first, second, third)), axis=1)
    logits = b("Add", encoder_logits, _repeated(b, decoder_logits, scale))
    one_minus_gates = b("Sigmoid", b("Neg", gate_logits))
    summed = _accumulate(b, attributes, decoders, logits, base, one_minus_gates)
    return b("Conv", b("Relu", summed), _as_convolution(b, graph, class_weight), class_bias)


def _accumulate(b: BodyWriter, attributes: dict[str, int], *inputs: ir.Value) -> ir.Value:
    name = contract.ACCUMULATE.node_name(**attributes, terms=_TERMS)
    return b.tape.op(name, inputs, {**attributes, "terms": _TERMS, **PLUGIN_ATTRIBUTES}, domain=contract.DOMAIN)


def _repeated(b: BodyWriter, low: ir.Value, scale: int) -> ir.Value:
    """Each pixel of [N, T, H, W] as an s x s block, by a constant factor: TensorRT then knows the size's ratio."""
    scales = b.tape.op("Constant", [], {"value": ir.tensor(np.array([1, 1, scale, scale], np.float32))})
    return b(
        "Resize", low, None, scales,
        mode="nearest", nearest_mode="floor", coordinate_transformation_mode="asymmetric",
    )  # fmt: skip


def _channel(b: BodyWriter, value: ir.Value, number: int) -> ir.Value:
    return b("Slice", value, b.ints([number]), b.ints([number + 1]), b.ints([1]))


def _as_convolution(b: BodyWriter, graph: ir.Graph, weight: ir.Value) -> ir.Value:
    """A product's weight [M, E] as that of a 1x1 convolution.

    An initializer, or the exporter's Reshape of one, gives another initializer: TensorRT has its fastest kernels, and
    refitting, for weights that are constants of the file.
    """
    producer = weight.producer()
    source = producer.inputs[0] if producer is not None and producer.op_type == "Reshape" else weight
    if source is None or source.const_value is None:
        return b("Unsqueeze", weight, b.ints([2, 3]))
    array = source.const_value.numpy()
    array = array.reshape(array.shape[0], -1, 1, 1)
    name = f"{source.name}/1x1"
    tensor = ir.tensor(array, dtype=source.const_value.dtype, name=name)
    value = ir.Value(name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
    graph.register_initializer(value)
    return value


def _remove_unused(graph: ir.Graph, value: ir.Value | None) -> None:
    """Remove a value that nothing reads, with the exporter's Reshape and the weight before it."""
    if value is None or value.uses() or value.is_graph_output():
        return
    producer = value.producer()
    if value.is_initializer() and value.name is not None and not value.is_graph_input():
        del graph.initializers[value.name]
    elif producer is not None and producer.op_type == "Reshape":
        sources = tuple(producer.inputs)
        graph.remove(producer, safe=True)
        for source in sources:
            _remove_unused(graph, source)
