"""The operators of domain ``fade`` as ONNX functions of standard ops: what a runtime without our library runs.

Every body is dynamic in batch, height, width and channels, generic in its floating dtype (no typed constant meets
the data; with ``float32_softmax`` none above float32), and free of If, Loop and Scan. K, scale, groups and terms are
baked in: one node name, one body.
"""

from __future__ import annotations

from collections.abc import Callable

import onnx_ir as ir

from fade_deploy import contract
from fade_deploy.graph import banded_product
from fade_deploy.graph.banded_product import Tiles
from fade_deploy.graph.body_writer import BodyWriter
from fade_deploy.graph.head_body import head

__all__ = ["PLUGIN_ATTRIBUTES", "function_body"]

# TensorRT's parser takes a plugin instead of the body only where the node names the plugin's namespace.
PLUGIN_ATTRIBUTES = {"plugin_namespace": contract.DOMAIN, "plugin_version": str(contract.VERSION)}

_PARTS = 4  # with more, small images lose time and large ones gain nothing


def function_body(
    operator: contract.Operator, opset: int, *, float32_softmax: bool = False, **attributes: int
) -> ir.Function:
    """The ONNX function of ``operator`` for these attribute values.

    Args:
        operator: One of ``contract.OPERATORS``.
        opset: Version of the default domain; the checker wants it equal to the model's.
        float32_softmax: Compute the softmax over the kernel in float32, for inputs of a lower type.
        **attributes: The operator's integer attributes.

    Raises:
        ValueError: An attribute is outside the contract.
    """
    name = operator.node_name(**attributes)
    inputs = [ir.val(input_name) for input_name, _ in operator.inputs]
    body = BodyWriter(float32_softmax=float32_softmax)
    output = _BODIES[operator.name](body, *inputs, **attributes)
    output.name = "output"
    graph = ir.Graph(inputs, [output], nodes=body.tape.nodes, opset_imports={"": opset}, name=name)
    declared = [ir.AttrInt64(key, value) for key, value in attributes.items()]
    declared += [ir.AttrString(key, value) for key, value in PLUGIN_ATTRIBUTES.items()]
    return ir.Function(contract.DOMAIN, name, graph=graph, attributes=declared)


def _reassemble(
    b: BodyWriter, features: ir.Value, kernels: ir.Value, *, kernel_size: int, scale: int, groups: int
) -> ir.Value:
    low, high = features, kernels
    if groups > 1:  # groups become batch entries: [N, G*c, H, W] -> [N*G, c, H, W]
        batch = b.times(b.size(features, 0), groups)
        channels = b("Div", b.size(features, 1), b.ints([groups]))
        low = b.reshape(features, batch, channels, b.size(features, 2), b.size(features, 3))
        high = b.reshape(kernels, batch, kernel_size**2, b.size(kernels, 2), b.size(kernels, 3))
    tiles = banded_product.tiles_of(b, low, kernel_size, scale, _PARTS)
    taps = banded_product.planes_of_tiles(b, tiles, high, scale)
    out = _reassembly(b, tiles, low, taps)
    return (
        out
        if groups == 1
        else b.reshape(out, b.size(features, 0), b.size(features, 1), b.size(kernels, 2), b.size(kernels, 3))
    )


def _upsample(
    b: BodyWriter,
    decoder: ir.Value,
    kernel_logits: ir.Value,
    encoder: ir.Value,
    gate_logits: ir.Value,
    *,
    kernel_size: int,
    scale: int,
) -> ir.Value:
    return _gated(b, decoder, (kernel_logits, None), encoder, gate_logits, kernel_size, scale)


def _upsample_add(
    b: BodyWriter,
    decoder: ir.Value,
    encoder_logits: ir.Value,
    decoder_logits: ir.Value,
    encoder: ir.Value,
    gate_logits: ir.Value,
    skip: ir.Value,
    *,
    kernel_size: int,
    scale: int,
) -> ir.Value:
    return _gated(b, decoder, (encoder_logits, decoder_logits), encoder, gate_logits, kernel_size, scale, skip)


def _accumulate(
    b: BodyWriter,
    decoder: ir.Value,
    kernel_logits: ir.Value,
    base: ir.Value,
    decoder_weight: ir.Value,
    *,
    kernel_size: int,
    scale: int,
    terms: int,
) -> ir.Value:
    tiles = banded_product.tiles_of(b, decoder, kernel_size, scale, _PARTS)
    taps = banded_product.weighted_softmax(b, tiles, kernel_logits, None, decoder_weight, terms)
    return b("Add", base, _reassembly(b, tiles, decoder, taps, terms))


_BODIES: dict[str, Callable[..., ir.Value]] = {
    contract.REASSEMBLE.name: _reassemble,
    contract.UPSAMPLE.name: _upsample,
    contract.ACCUMULATE.name: _accumulate,
    contract.UPSAMPLE_ADD.name: _upsample_add,
    contract.HEAD.name: head,
}


def _gated(
    b: BodyWriter,
    decoder: ir.Value,
    logits: tuple[ir.Value, ir.Value | None],
    encoder: ir.Value,
    gate_logits: ir.Value,
    kernel_size: int,
    scale: int,
    skip: ir.Value | None = None,
) -> ir.Value:
    """``g*encoder + (1-g)*R(decoder, softmax(sum of the logits)) + skip``."""
    tiles = banded_product.tiles_of(b, decoder, kernel_size, scale, _PARTS)
    one_minus_gate = b("Sigmoid", b("Neg", gate_logits))  # without a typed constant
    taps = banded_product.weighted_softmax(b, tiles, *logits, one_minus_gate, terms=1)
    out = _reassembly(b, tiles, decoder, taps)
    # The reassembly is the second summand: OpenVINO 2026.4.1 computes some sums wrong where it is the first.
    if skip is not None:
        out = b("Add", skip, out)
    # The gate takes its size from that sum, not from a factor: so it is made late, and the runtime does not hold the
    # output-sized gate * encoder meanwhile.
    gate = b.repeat_to(b("Sigmoid", gate_logits), b("Shape", out, start=2, end=4))
    return b("Add", b("Mul", encoder, gate), out)


def _reassembly(b: BodyWriter, tiles: Tiles, features: ir.Value, taps: ir.Value, terms: int = 1) -> ir.Value:
    """Sum of T reassemblies: features [N, T*C, H, W], planes of tap weights -> [N, C, sH, sW]."""
    zeros = tiles.output_side**2 * terms * tiles.kernel_size**2
    index = banded_product.band_index(tiles, terms, zeros)
    planes = banded_product.with_zeros(b, taps, tiles.spare)
    channels = b("Div", b.size(features, 1), b.ints([terms]))
    by_term = b.reshape(features, b.times(tiles.batch, terms), channels, -1)
    pixels = banded_product.with_zeros(b, b("Transpose", by_term, perm=[0, 2, 1]))
    table = b.reshape(pixels, tiles.batch, -1, channels)
    window_index = banded_product.window_index(b, tiles, terms)
    parts = []
    for bounds in banded_product.parts_of(b, tiles):
        band = banded_product.band(b, banded_product.part_of_planes(b, planes, bounds), index)
        parts.append(b("MatMul", band, banded_product.part_of_rows(b, table, window_index, bounds)))
    product = b("Concat", *parts, axis=1)
    out = banded_product.pixels_in_order(b, tiles, product, channels)
    height, width = (b.times(size, tiles.scale) for size in (tiles.height, tiles.width))
    return b.reshape(b("Transpose", b.reshape(out, 0, -1, channels), perm=[0, 2, 1]), 0, 0, height, width)
