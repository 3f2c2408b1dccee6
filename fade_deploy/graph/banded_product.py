"""Reassembly as one banded matrix product for each tile of the picture: the form of every function body.

An output pixel sums K*K source pixels, so a tile of t x t source pixels' outputs (s*t x s*t of them) depends on a
window of (t+K-1) x (t+K-1) source pixels only: per tile one dense matrix product
``[outputs x window] @ [window x channels]``, whose left matrix holds the tap weights in a band and zeros elsewhere.
Shifted slices, unfold, einsum and batched 4 x 25 products were all slower on ONNX Runtime: here nearly all of the time
is one batched MatMul and copies of contiguous rows.

Two tables feed the product, and an index into each says what goes where:
- *planes* [N, P, tiles]: the tap weights, a plane for each (output of a tile, term, tap), then a plane of zeros;
- *pixels* [N, rows, C]: for each term the source pixels as rows of channels, then a row of zeros for what is outside.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from fade_deploy.graph.body_writer import BodyWriter

__all__ = [
    "Tiles",
    "band",
    "band_index",
    "output_index",
    "part_of_planes",
    "part_of_rows",
    "parts_of",
    "pixels_in_order",
    "planes_of_tiles",
    "tiles_of",
    "weighted_softmax",
    "window_index",
    "with_zeros",
]

# Side of a tile in source pixels, for each scale: 64 outputs for the scales that upsample.
_SIDE = {1: 4, 2: 4, 4: 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """How a source image of dynamic size is cut; the last tiles may hang over the bottom and the right edge."""

    kernel_size: int
    scale: int
    batch: ir.Value
    height: ir.Value  # of the source image
    width: ir.Value
    rows: ir.Value  # of tiles
    columns: ir.Value
    count: ir.Value
    spare: ir.Value  # tiles after the last that nobody reads, see `tiles_of`
    parts: int  # how many parts the tiles are worked on in; see `parts_of`

    @property
    def side(self) -> int:
        """Of a tile, in source pixels."""
        return _SIDE[self.scale]

    @property
    def output_side(self) -> int:
        """Of a tile, in output pixels."""
        return self.side * self.scale

    @property
    def window_side(self) -> int:
        """Of what a tile sees, in source pixels."""
        return self.side + self.kernel_size - 1


def tiles_of(b: BodyWriter, low: ir.Value, kernel_size: int, scale: int, parts: int) -> Tiles:
    """The tiles of a source image [N, C, H, W]; with the spare ones at least one for each part."""
    height, width = b.size(low, 2), b.size(low, 3)
    rows, columns = (b.ceil_div(size, _SIDE[scale]) for size in (height, width))
    count = b("Mul", rows, columns)
    return Tiles(
        kernel_size=kernel_size,
        scale=scale,
        batch=b.size(low, 0),
        height=height,
        width=width,
        rows=rows,
        columns=columns,
        count=count,
        # Planes are often powers of two long; then the pixels of a column share few places of the cache, and the
        # transpose of a large band takes twice as long.
        spare=b("Max", b("Min", b("Div", count, b.ints([256])), b.ints([4])), b("Sub", b.ints([parts]), count)),
        parts=parts,
    )


def parts_of(b: BodyWriter, tiles: Tiles) -> list[tuple[ir.Value, ir.Value]]:
    """First tile and end of each part, spare tiles included.

    Band and windows are several times as large as what they are made of: one part after the other they fit the caches
    and keep the peak of memory low.
    """
    total = b("Add", tiles.count, tiles.spare)
    ends = [b("Div", b.times(total, part), b.ints([tiles.parts])) for part in range(1, tiles.parts + 1)]
    return list(zip([b.ints([0]), *ends[:-1]], ends, strict=True))


def part_of_planes(b: BodyWriter, planes: ir.Value, bounds: tuple[ir.Value, ir.Value]) -> ir.Value:
    """The planes [N, P, tiles] of some tiles."""
    return b("Slice", planes, *bounds, b.ints([2]))


def part_of_rows(b: BodyWriter, table: ir.Value, index: ir.Value, bounds: tuple[ir.Value, ir.Value]) -> ir.Value:
    """Rows of a table [N, rows, C] where the index [tiles, n] says, for some tiles: [N, tiles, n, C]."""
    return b("Gather", table, b("Slice", index, *bounds, b.ints([0])), axis=1)


# --- the band: tap weights in their places -----------------------------------------------------------------------


def planes_of_tiles(b: BodyWriter, tiles: Tiles, image: ir.Value, scale: int) -> ir.Value:
    """[N, P, H*scale, W*scale] -> [N, pixels of a tile (row-major) * P, tiles]."""
    side = tiles.side * scale
    over_bottom = b("Sub", b.times(tiles.rows, side), b.times(tiles.height, scale))
    over_right = b("Sub", b.times(tiles.columns, side), b.times(tiles.width, scale))
    padded = b("Pad", image, b.shape(0, 0, 0, 0, 0, 0, over_bottom, over_right))
    return b.reshape(b("SpaceToDepth", padded, blocksize=side), 0, 0, -1)


def weighted_softmax(
    b: BodyWriter,
    tiles: Tiles,
    encoder_logits: ir.Value,
    decoder_logits: ir.Value | None,
    decoder_weight: ir.Value,
    terms: int,
) -> ir.Value:
    """Planes of each term's softmax times its weight: [N, outputs of a tile * T * K*K, tiles].

    ``exp(l - max) * (w / sum)`` divides once per output pixel instead of K*K times. All of it happens on planes: there
    ONNX Runtime reduces over the taps several times faster than over axis 1 of an image, and what is given at the
    source's size is broadcast and never written large. In float32 where the writer widens: a softmax is a sum of small
    terms, and the native kernels compute it so whatever their inputs' type; the planes have the logits' type again.
    """
    side, scale, taps = tiles.side, tiles.scale, tiles.kernel_size**2
    pixels = (side, scale, side, scale)  # of a tile: source row, row within it, source column, column within it
    logits = b.widened(planes_of_tiles(b, tiles, encoder_logits, scale))
    if decoder_logits is not None:
        low = b.reshape(b.widened(planes_of_tiles(b, tiles, decoder_logits, 1)), 0, side, 1, side, 1, -1)
        logits = b("Add", b.reshape(logits, 0, *pixels, -1), low)
    logits = b.reshape(logits, 0, side**2 * scale**2 * terms, taps, tiles.count)
    axis = b.ints([2])
    exponentials = b("Exp", b("Sub", logits, b("ReduceMax", logits, axis, keepdims=1)))
    total = b("ReduceSum", exponentials, axis, keepdims=1)
    weight = b.reshape(b.widened(planes_of_tiles(b, tiles, decoder_weight, 1)), 0, side, 1, side, 1, -1)
    normaliser = b("Div", weight, b.reshape(total, 0, *pixels, -1))
    normaliser = b.reshape(normaliser, 0, side**2 * scale**2 * terms, 1, tiles.count)
    weights = b.narrowed(b("Mul", exponentials, normaliser), encoder_logits)
    return b.reshape(weights, 0, -1, tiles.count)


def with_zeros(b: BodyWriter, table: ir.Value, spare: ir.Value | None = None) -> ir.Value:
    """One more row of zeros after the rows [N, rows, ...]: what an index points to that means nothing."""
    return b("Pad", table, b.shape(0, 0, 0, 0, 1, 0 if spare is None else spare))


def band_index(tiles: Tiles, terms: int, zeros: int) -> NDArray[np.int64]:
    """[outputs of a tile, T*window] -> plane of the tap that lands there, or the plane of zeros."""
    side, window, taps = tiles.output_side, tiles.window_side, tiles.kernel_size**2
    index = np.full((side, side, terms, window, window), zeros)
    for out_y, out_x, term, i, j in np.ndindex(side, side, terms, tiles.kernel_size, tiles.kernel_size):
        plane = ((out_y * side + out_x) * terms + term) * taps + i * tiles.kernel_size + j
        index[out_y, out_x, term, out_y // tiles.scale + i, out_x // tiles.scale + j] = plane
    return index.reshape(side**2, -1)


def band(b: BodyWriter, planes: ir.Value, index: NDArray[np.int64]) -> ir.Value:
    """Planes put where the index [outputs of a tile, columns] says: [N, tiles, outputs of a tile, columns]."""
    spread = b("Gather", planes, b.ints(index.ravel()), axis=1)
    return b.reshape(b("Transpose", spread, perm=[0, 2, 1]), 0, -1, *index.shape)


# --- the windows, and back to an image ---------------------------------------------------------------------------


def window_index(b: BodyWriter, tiles: Tiles, terms: int) -> ir.Value:
    """[tiles, T*window] -> row of the pixel table; each term has H*W pixels, and a row of zeros for what is outside."""
    outside = b("Mul", tiles.height, tiles.width)

    def seen(tile_count: ir.Value, size: ir.Value, stride: ir.Value | None) -> ir.Value:
        # [tiles along an axis, window]: stride * position, or what makes the sum point outside.
        offsets = np.arange(tiles.window_side) - tiles.kernel_size // 2
        starts = b("Unsqueeze", b.times(b.range(tile_count), tiles.side), b.ints([1]))
        position = b("Add", starts, b.ints(offsets))
        inside = b("And", b("GreaterOrEqual", position, b.ints([0])), b("Less", position, size))
        return b("Where", inside, position if stride is None else b("Mul", position, stride), outside)

    y = b.reshape(seen(tiles.rows, tiles.height, tiles.width), -1, 1, tiles.window_side, 1)
    x = b.reshape(seen(tiles.columns, tiles.width, None), 1, -1, 1, tiles.window_side)
    index = b.reshape(b("Min", b("Add", y, x), outside), -1, 1, tiles.window_side**2)
    if terms > 1:
        starts = b("Mul", b("Add", outside, b.ints([1])), b.ints(np.arange(terms)))
        index = b("Add", index, b.reshape(starts, terms, 1))
    index = b.reshape(index, -1, terms * tiles.window_side**2)
    return b("Pad", index, b.shape(0, 0, tiles.spare, 0))


def output_index(b: BodyWriter, tiles: Tiles) -> ir.Value:
    """[tiles, outputs of a tile] -> row of the output pixel, or of another one where the tile hangs over the edge."""

    def positions(tile_count: ir.Value, size: ir.Value) -> ir.Value:
        starts = b("Unsqueeze", b.times(b.range(tile_count), tiles.output_side), b.ints([1]))
        last = b("Sub", b.times(size, tiles.scale), b.ints([1]))
        return b("Min", b("Add", starts, b.ints(np.arange(tiles.output_side))), last)

    width = b.times(tiles.width, tiles.scale)
    y = b.reshape(b("Mul", positions(tiles.rows, tiles.height), width), -1, 1, tiles.output_side, 1)
    x = b.reshape(positions(tiles.columns, tiles.width), 1, -1, 1, tiles.output_side)
    index = b.reshape(b("Add", y, x), -1, tiles.output_side**2)
    return b("Pad", index, b.shape(0, 0, tiles.spare, 0))


def pixels_in_order(b: BodyWriter, tiles: Tiles, product: ir.Value, channels: ir.Value) -> ir.Value:
    """Rows in the order of tiles, the outputs of each row-major -> [N, sH, sW, C], without what hangs over the edge."""
    height, width = (b.times(size, tiles.scale) for size in (tiles.height, tiles.width))
    side = tiles.output_side

    def split(size: ir.Value) -> tuple[ir.Value, ir.Value]:
        position = b.range(size)
        tile = b("Div", position, b.ints([side]))
        return tile, b("Sub", position, b.times(tile, side))

    (tile_y, in_y), (tile_x, in_x) = split(height), split(width)
    from_y = b("Add", b("Mul", tile_y, b.times(tiles.columns, side * side)), b.times(in_y, side))
    from_x = b("Add", b.times(tile_x, side * side), in_x)
    index = b("Add", b("Unsqueeze", from_y, b.ints([1])), from_x)
    return b("Gather", b.reshape(product, tiles.batch, -1, channels), index, axis=1)
