"""Numbers as a page shows them."""

from __future__ import annotations

import math

__all__ = [
    "bound_text",
    "counted",
    "difference_text",
    "error_text",
    "millions",
    "percent",
    "rate_text",
    "score_text",
    "size_text",
]


def error_text(value: float | None) -> str:
    """``1.4e-5``; ``0`` where it is that, and a dash where there is none."""
    if value is None:
        return "-"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "infinite"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def bound_text(value: float) -> str:
    """A tolerance, as it was stated: ``1e-4``."""
    return error_text(value).replace(".0e", "e") if value < 1e-3 else f"{value:g}"


def score_text(value: float) -> str:
    """Five digits."""
    return f"{value:.5g}"


def difference_text(value: float) -> str:
    """Signed, two digits."""
    if math.isnan(value):
        return "NaN"
    size = error_text(abs(value)) if abs(value) < 1e-3 else f"{abs(value):.2g}"
    return size if value == 0 else f"{'+' if value > 0 else '-'}{size}"


def rate_text(rate: float) -> str:
    """Pictures a second: three digits below ten, whole tenths above."""
    return f"{rate:.1f}" if rate >= 10 else f"{rate:.3g}"


def percent(share: float) -> str:
    """``0.4 %``; never 0 or 100 where it is not quite that."""
    if share in (0, 1):
        return f"{100 * share:.0f} %"
    for digits in range(1, 5):
        text = f"{100 * share:.{digits}f}"
        if float(text) not in (0.0, 100.0):
            return f"{text} %"
    return "almost all" if share > 0.5 else "almost none"


def counted(count: int, thing: str) -> str:
    """``1 run``, ``12,345 values``."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def millions(count: int) -> str:
    """``0.26 M`` from ten thousand on."""
    return f"{count / 1e6:.2f} M" if count >= 10_000 else f"{count:,}"


def size_text(size: float) -> str:
    """Bytes as ``1.8 MB``, in powers of 1000."""
    for unit, name in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"
