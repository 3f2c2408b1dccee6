"""The smallest set of things that mends a fault, found with few trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence

__all__ = ["smallest_mending"]


def smallest_mending(units: Sequence[str], mends: Callable[[tuple[str, ...]], bool]) -> tuple[str, ...] | None:
    """A set of ``units`` that mends and of which nothing can be left out.

    Halves are tried before single units (QuickXplain, Junker, AAAI 2004): about ``2 k log2(n / k)`` trials for k of n.
    The set that is returned has been tried. Where more can mend less, a part of it may do, too.

    Args:
        units: What there is, in any order.
        mends: Tries one set.

    Returns:
        In the order of ``units``; None where not even all of them mend.
    """
    if mends(()):
        return ()
    if not mends(tuple(units)):
        return None
    needed = set(_needed((), tuple(units), mends, tried=True))
    return tuple(unit for unit in units if unit in needed)


def _needed(
    kept: tuple[str, ...], units: tuple[str, ...], mends: Callable[[tuple[str, ...]], bool], *, tried: bool
) -> tuple[str, ...]:
    """Which of ``units`` are needed beside ``kept``; ``tried``: ``kept`` alone is known not to mend."""
    if not tried and mends(kept):
        return ()
    if len(units) == 1:
        return units
    middle = len(units) // 2
    first, second = units[:middle], units[middle:]
    of_second = _needed((*kept, *first), second, mends, tried=False)
    of_first = _needed((*kept, *of_second), first, mends, tried=not of_second)
    return (*of_first, *of_second)
