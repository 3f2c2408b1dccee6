"""Harmless stand-ins for what training containers pickle beside their weights.

A pickle may only ask for the names in :data:`STAND_INS`, and gets one of these objects instead of the real one: numpy's
own unpickling trusts its input (a crafted ``dtype`` turns bytes into pointers), and mmengine need not be installed.
Numbers and arrays are read back by :func:`plain`; everything else is thrown away.

What real files need: mmcv's ``meta`` and A2U's ``measure`` hold numpy scalars; mmengine's message hub holds
``HistoryBuffer`` objects, each with two numpy arrays and, since mmengine 0.7.3, its statistics methods, which pickle
protocol 2 writes as ``getattr(HistoryBuffer, 'mean')``.
"""

from __future__ import annotations

import pickle
from typing import Any, Self

import numpy as np

__all__ = ["STAND_INS", "plain"]

_LONGEST = 10_000  # entries of one list in a file's facts; palettes and class lists have a few hundred
_CODES = frozenset({"b1", "f2", "f4", "f8"} | {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)})


class _Inert:
    """Takes any arguments and any state, keeps nothing, does nothing."""

    __slots__ = ()

    def __new__(cls, *_: object) -> Self:
        return super().__new__(cls)

    def __setstate__(self, state: object) -> None:
        pass


class _HistoryBuffer(_Inert):
    """mmengine's log of one scalar."""

    __slots__ = ()


class _DType(_Inert):
    """A numpy dtype; only the code and the byte order are kept."""

    __slots__ = ("code", "order")

    code: str
    order: str

    def __new__(cls, *arguments: object) -> Self:
        self = super().__new__(cls)
        self.code = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        self.order = "="
        return self

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def real(self) -> np.dtype[Any] | None:
        return np.dtype(self.code).newbyteorder(self.order) if self.code in _CODES else None  # type: ignore[arg-type]


class _Array(_Inert):
    """A numpy array; shape, dtype and bytes are kept and checked when somebody asks for the values."""

    __slots__ = ("state",)

    state: tuple[object, ...]

    def __new__(cls, *_: object) -> Self:
        self = super().__new__(cls)
        self.state = ()
        return self

    def __setstate__(self, state: object) -> None:
        if isinstance(state, tuple):
            self.state = state

    def tolist(self) -> Any:
        match self.state:
            case (_, tuple(shape), _DType() as dtype, fortran, bytes(data)) if (real := dtype.real()) is not None:
                return np.frombuffer(data, real).reshape(shape, order="F" if fortran else "C").tolist()
        raise ValueError("holds an array that is not made of numbers")


def _reconstruct(*_: object) -> _Array:
    return _Array()


def _scalar(*arguments: object) -> Any:
    """numpy's scalar from its dtype and bytes, as the Python number of the same value; None for anything else."""
    match arguments:
        case (_DType() as dtype, bytes(data)) if (real := dtype.real()) is not None:
            return np.frombuffer(data, real, count=1)[0].item()
    return None


def _statistics_method(*arguments: object) -> _Inert:
    """``getattr``, but of the public methods of the stand-in for HistoryBuffer alone, and it looks nothing up.

    What comes back has no attributes, can't be called, and is not accepted here again.
    """
    match arguments:
        case (owner, str(name)) if owner is _HistoryBuffer and name.isidentifier() and not name.startswith("_"):
            return _Inert()
    raise pickle.UnpicklingError("GLOBAL builtins.getattr was used on something else than HistoryBuffer")


# The dotted name that a pickle asks for -> what it gets. Nothing here can reach a real function or module.
STAND_INS: dict[str, Any] = {
    "builtins.getattr": _statistics_method,
    "mmengine.logging.history_buffer.HistoryBuffer": _HistoryBuffer,
    "numpy.dtype": _DType,
    "numpy.ndarray": _Array,
    "numpy._core.multiarray._reconstruct": _reconstruct,  # numpy 2
    "numpy.core.multiarray._reconstruct": _reconstruct,  # numpy 1
    "numpy._core.multiarray.scalar": _scalar,
    "numpy.core.multiarray.scalar": _scalar,
}


def plain(value: object, *, depth: int = 3) -> Any:
    """A value of a file's meta as plain Python: str, int, float, bool, None, tuples and dicts of those.

    Raises:
        ValueError: It holds something else, or is nested deeper or longer than facts ever are.
    """
    if isinstance(value, _Array):
        value = value.tolist()
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if depth == 0 or not isinstance(value, list | tuple | dict) or len(value) > _LONGEST:
        raise ValueError("holds something else than text, numbers and short lists of them")
    if isinstance(value, dict):
        return {str(key): plain(item, depth=depth - 1) for key, item in value.items()}
    return tuple(plain(item, depth=depth - 1) for item in value)
