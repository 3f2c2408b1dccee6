"""Memory that a process takes: what it grows by while something happens. Linux; standard library only."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

__all__ = ["MemoryUnknown", "growth_while", "resident_mib"]

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets VmHWM to the present VmRSS
_SLACK = 1.0  # MiB that the process may grow by between the reset and the look at it


class MemoryUnknown(Exception):
    """The system does not tell; the text is the reason."""


def growth_while(run: Callable[[], object]) -> float:
    """MiB by which the resident set of this process peaks during ``run`` above where it stood before.

    Freed memory that the allocator still holds is given back first: a run that fills it again would look free.

    Raises:
        MemoryUnknown: The system does not reset the peak.
    """
    _trim()
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError as error:
        raise MemoryUnknown(f"the peak of the resident set can't be reset here ({error.strerror})") from error
    before = _mib("VmRSS")
    if _mib("VmHWM") > before + _SLACK:
        raise MemoryUnknown("the system ignores the reset of the resident set's peak")
    run()
    return max(0.0, _mib("VmHWM") - before)


def resident_mib() -> float:
    """The resident set of this process, without what its allocator has to spare.

    Raises:
        MemoryUnknown: The system does not tell.
    """
    _trim()
    return _mib("VmRSS")


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # of glibc; musl keeps little
    if trim is not None:
        trim(0)


def _mib(field: str) -> float:
    try:
        found = re.search(rf"^{field}:\s*(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    except OSError as error:
        raise MemoryUnknown(f"{_STATUS} can't be read ({error.strerror})") from error
    if found is None:
        raise MemoryUnknown(f"the system does not tell {field}")
    return int(found[1]) / 1024
