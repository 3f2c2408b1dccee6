"""What TensorRT says while it works: kept by severity, because its functions return None and log the reason."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

__all__ = ["TensorRTLog", "logger_for"]

_ERRORS = ("INTERNAL_ERROR", "ERROR")


class TensorRTLog:
    """The messages of one job, in order: errors and warnings, each on one line."""

    def __init__(self, tell: Callable[[str, str], None] | None = None) -> None:
        self.errors: list[str] = []
        self.warnings: list[str] = []
        self._tell = tell

    def add(self, severity: str, message: str) -> None:
        """Keep a message; severity is a name of TensorRT's enumeration."""
        line = " ".join(message.split())
        if severity in _ERRORS:
            self.errors.append(line)
        elif severity == "WARNING":
            self.warnings.append(line)
        if self._tell is not None and severity in (*_ERRORS, "WARNING"):
            self._tell(severity, line)


def logger_for(trt: ModuleType, log: TensorRTLog) -> Any:
    """A TensorRT logger that writes into ``log``; it must outlive what is made with it.

    Args:
        trt: ``tensorrt`` or ``tensorrt_rtx``.
        log: Gets every message.
    """

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined] # a class of whichever package is installed
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, msg: str) -> None:
            log.add(severity.name, msg)

    return Logger()
