"""Peak memory of a first run: what the process grows by beyond the loaded model, its inputs and its output."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

from benchmarks.runners import LeftOut

__all__ = ["growth_of"]

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): sets VmHWM to the present VmRSS


def growth_of(run: Callable[[], object]) -> float:
    """MiB by which the resident set of this process peaks above where it stood before ``run``.

    Freed memory that the allocator still holds is given back first: a run that fills it again would look free.

    Raises:
        LeftOut: The system does not reset the peak.
    """
    ctypes.CDLL(None).malloc_trim(0)
    try:
        _CLEAR_REFS.write_text(_RESET_PEAK)
    except OSError as error:
        raise LeftOut(f"the peak of the resident set can't be reset here ({error.strerror})") from error
    before = _kib("VmRSS")
    if _kib("VmHWM") > before + 1024:
        raise LeftOut("the system ignores the reset of the resident set's peak")
    run()
    return (_kib("VmHWM") - before) / 1024


def _kib(field: str) -> int:
    found = re.search(rf"^{field}:\s*(\d+) kB$", _STATUS.read_text(encoding="ascii"), re.MULTILINE)
    if found is None:
        raise LeftOut(f"the system does not tell {field}")
    return int(found[1])
