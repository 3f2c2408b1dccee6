"""A :class:`Report` as one HTML file that needs nothing else: no network, no script, no other file.

Templates escape every text; what they don't escape is the SVG and the data URIs made here. The page forbids itself, by
its content security policy, to load anything.
"""

from __future__ import annotations

import re

from fade_deploy.optional import require
from fade_deploy.report.content import (
    Block,
    Cell,
    Histogram,
    Latencies,
    Picture,
    Report,
    Scale,
    Throughput,
)
from fade_deploy.report.pictures import colour_strip, data_uri
from fade_deploy.report.plots import COLOURS, histogram_svg, latencies_svg, throughput_svg
from fade_deploy.version import __version__

__all__ = ["rendered"]

_BREAKS = re.compile(r"(?<=\w)([._/])(?=[^\W\d])")  # in names of files and modules, not in numbers
_SMALL = 240  # pixels: a smaller picture is enlarged with its pixels visible


def rendered(report: Report) -> str:
    """The page as text, to be written as UTF-8.

    Raises:
        MissingDependency: jinja2, matplotlib or Pillow is not installed.
    """
    jinja = require("jinja2", extra="report")
    environment = jinja.Environment(
        loader=jinja.PackageLoader("fade_deploy.report", "templates"),
        autoescape=True,
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    markup = require("markupsafe", extra="report")
    trusted, escape = markup.Markup, markup.escape
    environment.filters.update(
        kind=lambda block: type(block).__name__.lower(),
        as_cell=_as_cell,
        svg=lambda block: trusted(_svg(block)),
        pixels=_pixels,
        strip=_strip,
        colour=lambda number: (number - 1) % COLOURS + 1,
        is_small=_is_small,
        rows=_rows,
        breakable=lambda text: trusted(_BREAKS.sub(r"\1<wbr>", str(escape(text)))),
    )
    return str(environment.get_template("page.html.jinja").render(report=report, version=__version__))


def _as_cell(cell: Cell | str) -> Cell:
    return cell if isinstance(cell, Cell) else Cell(text=cell)


def _svg(block: Block) -> str:
    match block:
        case Histogram():
            return histogram_svg(block)
        case Latencies():
            return latencies_svg(block)
        case Throughput():
            return throughput_svg(block)
        case _:
            raise TypeError(f"{type(block).__name__} is no plot")


def _pixels(picture: Picture) -> str:
    return data_uri(picture.pixels, is_photo=picture.is_photo)


def _strip(scale: Scale) -> str:
    return data_uri(colour_strip(scale.colours), is_photo=False)


def _is_small(picture: Picture) -> bool:
    return bool(max(picture.pixels.shape[:2]) < _SMALL)


def _rows(pictures: tuple[Picture, ...]) -> list[list[Picture]]:
    """The tiles that stay together."""
    rows: list[list[Picture]] = [[]]
    for picture in pictures:
        if picture.starts_row and rows[-1]:
            rows.append([])
        rows[-1].append(picture)
    return rows
