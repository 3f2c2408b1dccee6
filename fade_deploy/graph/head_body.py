"""The body of ``FadeHead``: reassemblies, both products and the class logits without leaving the order of tiles.

The three reassemblies are one banded product with three windows side by side. Everything after it works on rows of
channels, whatever their order, so the rows stay as the product leaves them and only the class logits, fewer than the
hidden channels, go back to an image. All of it is done for one part of the tiles after the other: the windows are
12 times as large as a decoder feature, and smaller parts both fit the caches and keep the peak of memory low.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fade_deploy.graph import banded_product
from fade_deploy.graph.body_writer import BodyWriter

__all__ = ["head"]

_TERMS = 3
_PARTS = 16  # at 1024x2048 5 to 9 % faster than 8, which are as fast at 512x512; 32 are no faster


def head(
    b: BodyWriter,
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
    *,
    kernel_size: int,
    scale: int,
) -> ir.Value:
    """The nodes of ``contract.HEAD``."""
    tiles = banded_product.tiles_of(b, first, kernel_size, scale, parts=_PARTS)
    hidden, channels, classes = b.size(encoder_weight, 0), b.size(encoder, 1), b.size(class_bias, 0)
    gated_channels = b.times(channels, _TERMS + 1)

    gates = b("Sigmoid", gate_logits)
    one_minus_gates = b("Sigmoid", b("Neg", gate_logits))
    taps = banded_product.weighted_softmax(b, tiles, encoder_logits, decoder_logits, one_minus_gates, _TERMS)
    gate_planes = banded_product.planes_of_tiles(b, tiles, gates, 1)
    one = b("Expand", b.number_like(1, gates), b.shape(tiles.batch, 1, tiles.count))
    planes = banded_product.with_zeros(b, b("Concat", taps, gate_planes, one, axis=1), tiles.spare)
    band_index = _band_index(tiles)

    gate_weight = b("Slice", encoder_weight, gated_channels, b.size(encoder_weight, 1), b.ints([1]))
    constants = b("Concat", b("Transpose", gate_weight, perm=[1, 0]), b("Unsqueeze", encoder_bias, b.ints([0])), axis=0)
    table = _pixel_table(b, tiles, (first, second, third), constants, hidden)
    window_index = _window_index(b, tiles)
    weight = b.first(encoder_weight, gated_channels, 1)
    pixels = b("Transpose", b.reshape(encoder, 0, 0, -1), perm=[0, 2, 1])
    output_index = banded_product.output_index(b, tiles)

    parts = []
    for bounds in banded_product.parts_of(b, tiles):
        band = banded_product.band(b, banded_product.part_of_planes(b, planes, bounds), band_index)
        windows = banded_product.part_of_rows(b, table, window_index, bounds)
        # The sum of the reassemblies, of what the gates' own channels add, and of the bias.
        summed = b.reshape(b("MatMul", band, windows), -1, hidden)
        factors = b("Slice", band, b.ints([-_TERMS - 1]), b.ints([np.iinfo(np.int64).max]), b.ints([3]))
        x = b.reshape(banded_product.part_of_rows(b, pixels, output_index, bounds), -1, 1, channels)
        gated = b.reshape(b("Mul", x, b.reshape(factors, -1, _TERMS + 1, 1)), -1, gated_channels)
        rows = b("Relu", b("Gemm", gated, weight, summed, transB=1))
        logits = b("Gemm", rows, class_weight, class_bias, transB=1)
        parts.append(b.reshape(logits, tiles.batch, -1, classes))
    image = banded_product.pixels_in_order(b, tiles, b("Concat", *parts, axis=1), classes)
    return b("Transpose", image, perm=[0, 3, 1, 2])


def _band_index(tiles: banded_product.Tiles) -> NDArray[np.int64]:
    """[outputs of a tile, 3*window + 4]: the taps of the three terms, the three gates, and a one."""
    outputs = tiles.output_side**2
    first_gate = outputs * _TERMS * tiles.kernel_size**2
    ones = first_gate + tiles.side**2 * _TERMS
    # Each gate pixel serves its s x s outputs.
    y, x = np.indices((tiles.output_side, tiles.output_side)) // tiles.scale
    pixel = (y * tiles.side + x).reshape(outputs, 1)
    taps = banded_product.band_index(tiles, _TERMS, zeros=ones + 1)
    return np.concatenate([taps, first_gate + pixel * _TERMS + np.arange(_TERMS), np.full((outputs, 1), ones)], axis=1)


def _pixel_table(
    b: BodyWriter, tiles: banded_product.Tiles, decoders: tuple[ir.Value, ...], constants: ir.Value, hidden: ir.Value
) -> ir.Value:
    """[N, 3*(H*W + 1) + 4, E]: of each feature its pixels and a row of zeros; then the rows of ``constants``."""
    rows = []
    zero = b("Expand", b.number_like(0, constants), b.shape(tiles.batch, 1, hidden))
    for decoder in decoders:
        pixels = b.reshape(b.first(decoder, hidden, 1), 0, 0, -1)
        rows += [b("Transpose", pixels, perm=[0, 2, 1]), zero]
    rows.append(b("Expand", b("Unsqueeze", constants, b.ints([0])), b.shape(tiles.batch, _TERMS + 1, hidden)))
    return b("Concat", *rows, axis=1)


def _window_index(b: BodyWriter, tiles: banded_product.Tiles) -> ir.Value:
    """[tiles, 3*window + 4]: what each tile sees of the three features, then the constants."""
    first_constant = b.times(b("Add", b("Mul", tiles.height, tiles.width), b.ints([1])), _TERMS)
    constants = b("Add", first_constant, b.ints(np.arange(_TERMS + 1)))
    windows = banded_product.window_index(b, tiles, _TERMS)
    return b("Concat", windows, b("Expand", constants, b.shape(b.size(windows, 0), _TERMS + 1)), axis=1)
