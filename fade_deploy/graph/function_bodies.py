"""The operators of domain ``fade`` as ONNX functions of standard ops: what a runtime without our library runs.

Every body is dynamic in batch, height, width and channels, generic in its floating dtype (no typed constant meets
the data), and free of If, Loop and Scan. K, scale, groups and terms are baked in: one node name, one body.

The form is a *banded product*. An output pixel sums K*K source pixels, so a tile of t x t source pixels' outputs
(s*t x s*t of them) depends on a window of (t+K-1) x (t+K-1) source pixels only: per tile one dense matrix product
``[outputs x window] @ [window x channels]``, whose left matrix holds the tap weights in a band and zeros elsewhere.
Shifted slices, unfold, einsum and batched 4 x 25 products were all slower on ONNX Runtime: here nearly all of the time
is one batched MatMul and copies of contiguous rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx_ir as ir

from fade_deploy import contract

__all__ = ["PLUGIN_ATTRIBUTES", "function_body"]

# TensorRT's parser takes a plugin instead of the body only where the node names the plugin's namespace.
PLUGIN_ATTRIBUTES = {"plugin_namespace": contract.DOMAIN, "plugin_version": str(contract.VERSION)}

# Side of a tile in source pixels, for each scale: 64 outputs for the scales that upsample.
_TILE = {1: 4, 2: 4, 4: 2}


def function_body(operator: contract.Operator, opset: int, **attributes: int) -> ir.Function:
    """The ONNX function of ``operator`` for these attribute values.

    Args:
        operator: One of ``contract.OPERATORS``.
        opset: Version of the default domain; the checker wants it equal to the model's.
        **attributes: The operator's integer attributes.

    Raises:
        ValueError: An attribute is outside the contract.
    """
    name = operator.node_name(**attributes)
    inputs = [ir.val(input_name) for input_name, _ in operator.inputs]
    body = _Body()
    output = _BODIES[operator.name](body, *inputs, **attributes)
    output.name = "output"
    graph = ir.Graph(inputs, [output], nodes=body.tape.nodes, opset_imports={"": opset}, name=name)
    declared = [ir.AttrInt64(key, value) for key, value in attributes.items()]
    declared += [ir.AttrString(key, value) for key, value in PLUGIN_ATTRIBUTES.items()]
    return ir.Function(contract.DOMAIN, name, graph=graph, attributes=declared)


class _Body:
    """Records the nodes of one function; ``ints`` are int64 constants."""

    def __init__(self) -> None:
        self.tape = ir.tape.Tape()

    def __call__(self, op_type: str, *inputs: ir.Value | None, **attributes: int | str | Sequence[int]) -> ir.Value:
        return self.tape.op(op_type, inputs, attributes)

    def ints(self, values: Sequence[int] | np.ndarray) -> ir.Value:
        array = np.asarray(values, dtype=np.int64)
        return self.tape.op("Constant", [], {"value": ir.tensor(array)})

    def size(self, value: ir.Value, axis: int) -> ir.Value:
        return self("Shape", value, start=axis, end=axis + 1)  # [1]

    def times(self, value: ir.Value, factor: int) -> ir.Value:
        return value if factor == 1 else self("Mul", value, self.ints([factor]))

    def reshape(self, value: ir.Value, *shape: int | ir.Value) -> ir.Value:
        """Reshape to numbers and [1]-shaped sizes; neighbouring numbers share one constant."""
        parts: list[ir.Value] = []
        numbers: list[int] = []
        for entry in (*shape, None):
            if isinstance(entry, int):
                numbers.append(entry)
                continue
            if numbers:
                parts.append(self.ints(numbers))
                numbers = []
            if entry is not None:
                parts.append(entry)
        return self("Reshape", value, parts[0] if len(parts) == 1 else self("Concat", *parts, axis=0))

    def range(self, end: ir.Value) -> ir.Value:
        zero, one = (self.tape.op("Constant", [], {"value": ir.tensor(np.int64(v))}) for v in (0, 1))
        return self("Range", zero, self("Squeeze", end, self.ints([0])), one)

    def repeat_nearest(self, low: ir.Value, scale: int) -> ir.Value:
        """[N, T, H, W] -> [N, T, s*H, s*W]: each pixel becomes an s x s block."""
        if scale == 1:
            return low
        scales = self.tape.op("Constant", [], {"value": ir.tensor(np.array([1, 1, scale, scale], np.float32))})
        return self("Resize", low, None, scales, **_NEAREST)


_NEAREST = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}


# --- the three operators ----------------------------------------------------------------------------------


def _reassemble(
    b: _Body, features: ir.Value, kernels: ir.Value, *, kernel_size: int, scale: int, groups: int
) -> ir.Value:
    if groups == 1:
        return _banded_product(b, features, kernels, kernel_size, scale, terms=1)
    # Groups become batch entries: [N, G*c, H, W] -> [N*G, c, H, W].
    batch = b.times(b.size(features, 0), groups)
    channels = b("Div", b.size(features, 1), b.ints([groups]))
    low = [b.size(features, 2), b.size(features, 3)]
    high = [b.size(kernels, 2), b.size(kernels, 3)]
    folded = _banded_product(
        b,
        b.reshape(features, batch, channels, *low),
        b.reshape(kernels, batch, kernel_size**2, *high),
        kernel_size,
        scale,
        terms=1,
    )
    return b.reshape(folded, b.size(features, 0), b.size(features, 1), *high)


def _upsample(
    b: _Body,
    decoder: ir.Value,
    kernel_logits: ir.Value,
    encoder: ir.Value,
    gate_logits: ir.Value,
    *,
    kernel_size: int,
    scale: int,
) -> ir.Value:
    gate = b("Sigmoid", gate_logits)
    decoder_weight = b("Sigmoid", b("Neg", gate_logits))  # 1 - gate, without a typed constant
    taps = _weighted_softmax(b, kernel_logits, decoder_weight, kernel_size, scale, terms=1)
    reassembled = _banded_product(b, decoder, taps, kernel_size, scale, terms=1)
    # The gate takes its size from the reassembled feature, not from a factor: so it is made late, and the runtime
    # does not hold the output-sized gate * encoder while the product runs.
    size = b("Concat", b("Shape", gate, start=0, end=2), b("Shape", reassembled, start=2, end=4), axis=0)
    late_gate = b("Resize", gate, None, None, size, **_NEAREST)
    return b("Add", reassembled, b("Mul", encoder, late_gate))


def _accumulate(
    b: _Body,
    decoder: ir.Value,
    kernel_logits: ir.Value,
    base: ir.Value,
    decoder_weight: ir.Value,
    *,
    kernel_size: int,
    scale: int,
    terms: int,
) -> ir.Value:
    taps = _weighted_softmax(b, kernel_logits, decoder_weight, kernel_size, scale, terms)
    return b("Add", _banded_product(b, decoder, taps, kernel_size, scale, terms), base)


_BODIES: dict[str, Callable[..., ir.Value]] = {
    contract.REASSEMBLE.name: _reassemble,
    contract.UPSAMPLE.name: _upsample,
    contract.ACCUMULATE.name: _accumulate,
}


# --- their parts --------------------------------------------------------------------------------------------


def _weighted_softmax(
    b: _Body, logits: ir.Value, decoder_weight: ir.Value, kernel_size: int, scale: int, terms: int
) -> ir.Value:
    """Softmax over each term's K*K channels, times the term's weight: [N, T*K*K, sH, sW].

    ``exp(l - max) * (w / sum)`` divides once per pixel instead of K*K times, and ONNX Runtime's own Softmax over
    axis 1 would transpose its input.
    """
    weight = b.repeat_nearest(decoder_weight, scale)
    axis = 1
    if terms > 1:
        shape = b("Shape", logits)
        logits = b.reshape(logits, 0, terms, kernel_size**2, b.size(logits, 2), b.size(logits, 3))
        weight = b("Unsqueeze", weight, b.ints([2]))
        axis = 2
    exponentials = b("Exp", b("Sub", logits, b("ReduceMax", logits, b.ints([axis]), keepdims=1)))
    normaliser = b("Div", weight, b("ReduceSum", exponentials, b.ints([axis]), keepdims=1))
    taps = b("Mul", exponentials, normaliser)
    return b("Reshape", taps, shape) if terms > 1 else taps


def _banded_product(b: _Body, features: ir.Value, taps: ir.Value, kernel_size: int, scale: int, terms: int) -> ir.Value:
    """Sum of T reassemblies: features [N, T*C, H, W], tap weights [N, T*K*K, sH, sW] -> [N, C, sH, sW]."""
    tile = _TILE[scale]
    batch, height, width = (b.size(features, axis) for axis in (0, 2, 3))
    channels = b.size(features, 1)
    if terms > 1:
        channels = b("Div", channels, b.ints([terms]))
    rows, columns = (_ceil_div(b, side, tile) for side in (height, width))
    # Sizes need not be multiples of the tile: the last tiles hang over the edge by this many source pixels.
    over_bottom = b("Sub", b.times(rows, tile), height)
    over_right = b("Sub", b.times(columns, tile), width)

    windows = _windows(b, features, (batch, channels, height, width), (rows, columns), kernel_size, tile, terms)
    band = _band(b, taps, (over_bottom, over_right), (rows, columns), kernel_size, scale, terms)
    product = b("MatMul", band, windows)  # [N, tiles, outputs of a tile, C]

    # Back to rows of pixels. One Gather puts the tiles in order and leaves out what hangs over the edge.
    side = scale * tile
    pixels = b("Gather", b.reshape(product, 0, -1, channels), _pixel_rows(b, taps, columns, side), axis=1)
    return b.reshape(b("Transpose", pixels, perm=[0, 2, 1]), 0, 0, b.size(taps, 2), b.size(taps, 3))


def _ceil_div(b: _Body, value: ir.Value, divisor: int) -> ir.Value:
    return b("Div", b("Add", value, b.ints([divisor - 1])), b.ints([divisor]))


def _windows(
    b: _Body,
    features: ir.Value,
    sizes: tuple[ir.Value, ir.Value, ir.Value, ir.Value],
    tiles: tuple[ir.Value, ir.Value],
    kernel_size: int,
    tile: int,
    terms: int,
) -> ir.Value:
    """Source pixels that each tile sees, as contiguous rows of channels: [N, tiles, T*window, C]."""
    batch, channels, height, width = sizes
    rows, columns = tiles
    margin = kernel_size - 1
    padded_height = b("Add", b.times(rows, tile), b.ints([margin]))
    padded_width = b("Add", b.times(columns, tile), b.ints([margin]))
    radius = b.ints([margin // 2])
    after_bottom = b("Sub", b("Sub", padded_height, height), radius)
    after_right = b("Sub", b("Sub", padded_width, width), radius)
    if terms == 1:
        pixels = b("Transpose", features, perm=[0, 2, 3, 1])
        before, spatial_end = b.ints([0, margin // 2, margin // 2, 0, 0]), b.ints([0])
    else:
        split = b.reshape(features, batch, terms, channels, height, width)
        pixels = b("Transpose", split, perm=[0, 1, 3, 4, 2])
        before, spatial_end = b.ints([0, 0, margin // 2, margin // 2, 0, 0, 0]), b.ints([0])
    pads = b("Concat", before, after_bottom, after_right, spatial_end, axis=0)
    pixels = b.reshape(b("Pad", pixels, pads), 0, -1, channels)  # [N, T * padded pixels, C]

    # Row of the first pixel of each tile's window, plus the offsets inside a window.
    first_rows = b("Mul", b.range(rows), b.times(padded_width, tile))
    first_columns = b("Mul", b.range(columns), b.ints([tile]))
    first = b("Add", b("Unsqueeze", first_rows, b.ints([1])), b("Unsqueeze", first_columns, b.ints([0])))
    side = tile + margin
    window_y, window_x = (grid.ravel() for grid in np.indices((side, side)))
    offsets = b("Add", b("Mul", padded_width, b.ints(window_y)), b.ints(window_x))
    if terms > 1:
        plane = b("Mul", padded_height, padded_width)
        starts = b("Mul", plane, b.ints(np.arange(terms)))
        offsets = b("Add", b("Unsqueeze", starts, b.ints([1])), b("Unsqueeze", offsets, b.ints([0])))
    index = b("Add", b.reshape(first, -1, 1), b.reshape(offsets, 1, -1))
    return b("Gather", pixels, index, axis=1)


def _band(
    b: _Body,
    taps: ir.Value,
    overhang: tuple[ir.Value, ir.Value],
    tiles: tuple[ir.Value, ir.Value],
    kernel_size: int,
    scale: int,
    terms: int,
) -> ir.Value:
    """Tap weights in their places, zeros elsewhere: [N, tiles, outputs of a tile, T*window]."""
    rows, columns = tiles
    tile = _TILE[scale]
    pads = [b.ints([0] * 6), *(b.times(side, scale) for side in overhang)]
    padded = b("Pad", taps, b("Concat", *pads, axis=0))
    # Channel (output of the tile, term, tap); one more channel of zeros is what the index points to off the band.
    per_tile = b.reshape(b("SpaceToDepth", padded, blocksize=scale * tile), 0, 0, -1)
    with_zero = b("Pad", per_tile, b.ints([0, 0, 0, 0, 1, 0]))
    index = _band_index(kernel_size, scale, terms)
    spread = b("Gather", with_zero, b.ints(index.ravel()), axis=1)
    transposed = b("Transpose", spread, perm=[0, 2, 1])
    return b.reshape(transposed, 0, b("Mul", rows, columns), *index.shape)


def _band_index(kernel_size: int, scale: int, terms: int) -> np.ndarray:
    """[outputs of a tile, T*window] -> channel of the tap that lands there, or the channel of zeros."""
    tile = _TILE[scale]
    side, window = scale * tile, tile + kernel_size - 1
    taps = kernel_size**2
    index = np.full((side**2, terms, window, window), side**2 * terms * taps)
    for out_y, out_x in np.ndindex(side, side):
        for term in range(terms):
            for i, j in np.ndindex(kernel_size, kernel_size):
                output = out_y * side + out_x
                channel = (output * terms + term) * taps + i * kernel_size + j
                index[output, term, out_y // scale + i, out_x // scale + j] = channel
    return index.reshape(side**2, -1)


def _pixel_rows(b: _Body, taps: ir.Value, columns: ir.Value, side: int) -> ir.Value:
    """For each output pixel, row-major, its row in the product: tile * side**2 + position inside the tile."""
    y, x = b.range(b.size(taps, 2)), b.range(b.size(taps, 3))
    side_value, area = b.ints([side]), b.ints([side * side])
    tile_y, tile_x = b("Div", y, side_value), b("Div", x, side_value)
    in_y, in_x = b("Sub", y, b("Mul", tile_y, side_value)), b("Sub", x, b("Mul", tile_x, side_value))
    from_y = b("Add", b("Mul", b("Mul", tile_y, columns), area), b("Mul", in_y, side_value))
    from_x = b("Add", b("Mul", tile_x, area), in_x)
    grid = b("Add", b("Unsqueeze", from_y, b.ints([1])), b("Unsqueeze", from_x, b.ints([0])))
    return b.reshape(grid, -1)
