"""Everything that a page shows, whoever measured it; the page knows nothing else.

Texts are plain: the page escapes them. A run has the same number and colour in every table and plot.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Block",
    "Cell",
    "Column",
    "Commands",
    "Facts",
    "Gallery",
    "Histogram",
    "Latencies",
    "Note",
    "Picture",
    "Report",
    "Scale",
    "Section",
    "Series",
    "Swatch",
    "Table",
    "Throughput",
    "Tone",
    "Verdict",
]


class Tone(StrEnum):
    """What a cell or a verdict says at a glance; the words say it too."""

    GOOD = "good"
    BAD = "bad"
    NEUTRAL = "neutral"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What stands first."""

    tone: Tone
    word: str  # PASSED, FAILED, MEASURED
    headline: str
    lines: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()  # that show it


@dataclass(frozen=True, slots=True)
class Column:
    """Of a table."""

    name: str
    is_number: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """Of a table, where there is more to it than its text."""

    text: str
    tone: Tone = Tone.NEUTRAL
    number: int | None = None  # of the run that it names
    share: float | None = None  # 0..1, drawn as a bar


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows of texts under columns; the first column names the row."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell | str, ...], ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One tile of a gallery."""

    title: str
    pixels: NDArray[np.uint8]  # [h, w] grey or [h, w, 3] RGB
    is_photo: bool  # compressed with loss; else every pixel counts
    caption: str = ""
    number: int | None = None  # of the run that made it
    starts_row: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What the colours of a gallery's maps mean."""

    low: str
    high: str
    colours: str  # a colour map of fade_deploy.report.pictures


@dataclass(frozen=True, slots=True, kw_only=True)
class Swatch:
    """One colour of a mask."""

    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """Pictures side by side."""

    title: str
    pictures: tuple[Picture, ...]
    note: str = ""
    scales: tuple[Scale, ...] = ()
    legend: tuple[Swatch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The values of one run in a plot."""

    number: int
    name: str
    values: tuple[float, ...]
    detail: str = ""  # follows the name in the legend
    bound: float | None = None  # of a histogram: the tolerance


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """How often which error occurs: one row a run, both axes logarithmic."""

    title: str
    edges: tuple[float, ...]  # positive, ascending; one more than each series has values
    series: tuple[Series, ...]  # counts
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """How long each run took: every series is its samples in milliseconds."""

    title: str
    series: tuple[Series, ...]
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Throughput:
    """Pictures a second over batch sizes."""

    title: str
    batches: tuple[int, ...]
    series: tuple[Series, ...]  # one value a batch
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """Names and values."""

    title: str
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Commands:
    """Command lines to copy."""

    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence."""

    text: str


Block = Table | Gallery | Histogram | Latencies | Throughput | Facts | Commands | Note


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A chapter of the page."""

    title: str
    blocks: tuple[Block, ...]
    intro: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The page."""

    title: str
    subtitle: str
    verdict: Verdict
    sections: tuple[Section, ...]
