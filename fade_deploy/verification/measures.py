"""How far an output is from the reference, in numbers that say where and how, not only how much."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["HISTOGRAM_EDGES", "Measures", "is_collapsed", "json_number", "measures_of"]

# Absolute errors, four bins a power of ten; what is below the first edge (zero, mostly) is counted there, too.
HISTOGRAM_EDGES = tuple(float(10.0 ** (quarter / 4)) for quarter in range(-40, 9))
_CHUNK = 1 << 20  # values that are turned into float64 at a time
_FLAT = 1e-3  # of the reference's spread: less is one thing everywhere


@dataclass(frozen=True, slots=True, kw_only=True)
class Measures:
    """Errors of one floating output, candidate against reference, over all of its values.

    Where a value of either is not finite the errors are of the others, and ``nan`` and ``inf`` count the candidate's.
    """

    values: int
    max_error: float
    mean_error: float
    p50_error: float  # half of the values are at most this far apart
    p99_error: float
    p999_error: float
    cosine: float  # of the two as vectors; nan where one is all zero
    psnr: float  # dB, of the reference's range; infinite for equal outputs
    nan: int
    inf: int
    collapsed: bool  # one thing everywhere, where the reference says several
    histogram: tuple[int, ...]  # of the errors, between HISTOGRAM_EDGES

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: json_number(value) for name, value in asdict(self).items()}


def json_number(value: Any) -> Any:
    """The value as JSON can hold it: what is not finite stands there as text."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def measures_of(given: NDArray[Any], expected: NDArray[Any], *, class_axis: bool) -> Measures:
    """Measure one output.

    ``cosine = <a, b> / (|a| |b|)``, ``psnr = 10 log10(range**2 / mean (a - b)**2)`` with the range of the reference.

    Args:
        given: Of the candidate, floating, of the shape of ``expected`` and not empty.
        expected: Of the reference.
        class_axis: Whether axis 1 holds one score a class: then collapse is of the labels.

    Raises:
        ValueError: The shapes differ, or there are no values.
    """
    if given.shape != expected.shape or given.size == 0:
        raise ValueError(f"outputs are {given.shape} and {expected.shape}, expected one shape with values")
    finite = np.isfinite(given) & np.isfinite(expected)
    whole = bool(finite.all())
    a, b = (given.ravel(), expected.ravel()) if whole else (given[finite], expected[finite])
    nan = int(np.isnan(given).sum())
    inf = int(np.isinf(given).sum())
    collapsed = is_collapsed(given, expected, class_axis=class_axis)
    if a.size == 0:
        return Measures(
            values=given.size,
            **dict.fromkeys(
                ("max_error", "mean_error", "p50_error", "p99_error", "p999_error", "cosine", "psnr"), math.nan
            ),
            nan=nan,
            inf=inf,
            collapsed=collapsed,
            histogram=(0,) * (len(HISTOGRAM_EDGES) - 1),
        )
    error = np.abs(a.astype(b.dtype, copy=False) - b)
    squares = _sums(a, b)
    spread = float(b.max()) - float(b.min())
    mean_square = squares["difference"] / a.size
    length = math.sqrt(squares["given"]) * math.sqrt(squares["expected"])
    clipped = np.clip(error, HISTOGRAM_EDGES[0], HISTOGRAM_EDGES[-1])
    p50, p99, p999 = _quantiles(error, (0.5, 0.99, 0.999))
    return Measures(
        values=given.size,
        max_error=float(error.max()),
        mean_error=float(error.mean(dtype=np.float64)),
        p50_error=p50,
        p99_error=p99,
        p999_error=p999,
        cosine=squares["product"] / length if length else math.nan,
        psnr=_psnr(spread, mean_square),
        nan=nan,
        inf=inf,
        collapsed=collapsed,
        histogram=tuple(int(count) for count in np.histogram(clipped, HISTOGRAM_EDGES)[0]),
    )


def is_collapsed(given: NDArray[Any], expected: NDArray[Any], *, class_axis: bool) -> bool:
    """Whether an entry of the batch says one thing everywhere, where the reference says several.

    Of class scores (``class_axis``: over axis 1) and integers that is one label; of other floats a spread of less than
    a thousandth of the reference's.
    """
    if np.issubdtype(expected.dtype, np.floating) and not (np.isfinite(given).all() and np.isfinite(expected).all()):
        return False  # NaN and infinity are counted on their own
    if class_axis:
        given, expected = given.argmax(1), expected.argmax(1)
    return any(_is_flat(one, other) for one, other in zip(np.atleast_2d(given), np.atleast_2d(expected), strict=True))


def _is_flat(given: NDArray[Any], expected: NDArray[Any]) -> bool:
    if not np.issubdtype(expected.dtype, np.floating):
        return bool((given == given.flat[0]).all() and (expected != expected.flat[0]).any())
    spread = float(expected.std(dtype=np.float64))
    return spread > 0 and float(given.std(dtype=np.float64)) < _FLAT * spread


def _sums(a: NDArray[Any], b: NDArray[Any]) -> dict[str, float]:
    """Inner products in float64, a part at a time: the outputs may be large."""
    sums = dict.fromkeys(("product", "given", "expected", "difference"), 0.0)
    for start in range(0, a.size, _CHUNK):
        one, other = (part[start : start + _CHUNK].astype(np.float64) for part in (a, b))
        difference = one - other
        sums["product"] += float(one @ other)
        sums["given"] += float(one @ one)
        sums["expected"] += float(other @ other)
        sums["difference"] += float(difference @ difference)
    return sums


def _psnr(spread: float, mean_square: float) -> float:
    if mean_square == 0:
        return math.inf
    return 10 * math.log10(spread**2 / mean_square) if spread else -math.inf


def _quantiles(values: NDArray[Any], shares: tuple[float, ...]) -> list[float]:
    """Linear interpolation between order statistics, as numpy's, in one pass."""
    positions = [share * (values.size - 1) for share in shares]
    indices = sorted({min(int(position) + step, values.size - 1) for position in positions for step in (0, 1)})
    ordered = np.partition(values, indices)
    found = []
    for position in positions:
        below = int(position)
        low, high = float(ordered[below]), float(ordered[min(below + 1, values.size - 1)])
        found.append(low + (position - below) * (high - low))
    return found
