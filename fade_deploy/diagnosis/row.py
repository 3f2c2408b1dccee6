"""What the doctor tells: one row for each thing that it examined."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Diagnosis", "Row", "Status", "given_and_remedy"]


class Status(StrEnum):
    """Of a row. ``missing`` is something optional that is not installed, and no failure."""

    OK = "ok"
    MISSING = "missing"
    BROKEN = "broken"
    BAD_VERSION = "bad version"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing: its state, what was found, and the line that mends it; ``thread`` is where a known fault is told."""

    name: str
    status: Status
    found: str
    version: str = ""
    remedy: str = ""  # of a row that is ok: what could be better
    thread: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Every row in the order of the screen."""

    rows: tuple[Row, ...]

    @property
    def faults(self) -> tuple[Row, ...]:
        """The rows of what is installed and does not work, or is known not to."""
        return tuple(row for row in self.rows if row.status in (Status.BROKEN, Status.BAD_VERSION))


def given_and_remedy(message: str) -> tuple[str, str]:
    """An error of ours (given, expected, remedy) in two parts: what was found, and what to do; either may be empty."""
    given, _, rest = message.partition(", expected ")
    return given, rest.partition(": ")[2]
