"""At which sizes to compare, and the smallest size that still shows a fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from fade_deploy.recipe import Shape

__all__ = ["Bounds", "covering", "smallest_failing"]

# (batch, height, width) in multiples: portrait, landscape with a batch, primes, primes with an odd batch. Sizes that
# are no power of two are where tiles hang over the edge.
_COVERING = ((1, 12, 8), (2, 8, 12), (1, 7, 11), (3, 3, 5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Which sizes a file takes."""

    smallest: Shape  # of each side on its own
    largest: Shape
    multiple: int  # of heights and widths

    def __contains__(self, shape: Shape) -> bool:
        """Whether the file takes it."""
        within = all(
            low <= size <= high
            for low, size, high in zip(self.smallest.sizes, shape.sizes, self.largest.sizes, strict=True)
        )
        return within and (self.fixed or all(side % self.multiple == 0 for side in shape.sizes[1:]))

    @property
    def fixed(self) -> bool:
        """Whether there is one size only."""
        return self.smallest == self.largest

    def intersected(self, other: Bounds) -> Bounds | None:
        """The sizes that both take; None where there are none."""
        if self.fixed or other.fixed:
            fixed, wide = (self, other) if self.fixed else (other, self)
            return fixed if fixed.largest in wide else None
        multiple = max(self.multiple, other.multiple)  # both are of one model, so the larger is one of the smaller's
        smallest = Shape(*map(max, self.smallest.sizes, other.smallest.sizes))
        largest = Shape(*map(min, self.largest.sizes, other.largest.sizes))
        if any(low > high for low, high in zip(smallest.sizes, largest.sizes, strict=True)):
            return None
        return Bounds(smallest=smallest, largest=largest, multiple=multiple)


def covering(bounds: Bounds) -> tuple[Shape, ...]:
    """A few shapes that meet what sizes can break: the smallest, the largest, portrait, landscape, primes, batches."""
    if bounds.fixed:
        return (bounds.largest,)
    m = bounds.multiple
    inner = [Shape(n, rows * m, columns * m) for n, rows, columns in _COVERING]
    found = [bounds.smallest, *(_clipped(shape, bounds) for shape in inner), bounds.largest]
    return tuple(dict.fromkeys(found))


def smallest_failing(failing: Shape, bounds: Bounds, fails: Callable[[Shape], bool]) -> Shape:
    """Make a failing shape smaller along batch, height and width in turn, by halving, while it fails.

    Every size that is returned has been tried, and none of the next smaller legal ones along one side fails where
    failing grows with size; where it does not, a smaller shape may fail, too.

    Args:
        failing: Fails already; the result if nothing smaller does.
        bounds: What is legal.
        fails: Tries one shape.
    """
    if failing not in bounds:
        return failing
    known = {failing: True}

    def tried(shape: Shape) -> bool:
        if shape not in known:
            known[shape] = fails(shape)
        return known[shape]

    current = failing
    while True:
        before = current
        for side, step in (("batch", 1), ("height", bounds.multiple), ("width", bounds.multiple)):
            current = _shortened(current, side, step, getattr(bounds.smallest, side), tried)
        if current == before:
            return current


def _shortened(shape: Shape, side: str, step: int, lowest: int, fails: Callable[[Shape], bool]) -> Shape:
    def sized(steps: int) -> Shape:
        return replace(shape, **{side: lowest + steps * step})

    failing = (getattr(shape, side) - lowest) // step
    passing = -1  # in steps; what lies below the lowest is not legal
    while failing - passing > 1:
        # The lowest is tried first: most faults do not depend on the size at all.
        middle = 0 if passing < 0 else (passing + failing) // 2
        if fails(sized(middle)):
            failing = middle
        else:
            passing = middle
    return sized(failing)


def _clipped(shape: Shape, bounds: Bounds) -> Shape:
    sizes = zip(bounds.smallest.sizes, shape.sizes, bounds.largest.sizes, strict=True)
    return Shape(*(min(max(size, low), high) for low, size, high in sizes))
