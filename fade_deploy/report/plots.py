"""Plots as SVG that takes its colours and its letters from the page, in light and in dark.

Runs are named by their numbers alone, so that no text of a file gets into an SVG.
"""

from __future__ import annotations

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from fade_deploy.optional import require
from fade_deploy.report.content import Histogram, Latencies, Series, Throughput

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "histogram_svg", "latencies_svg", "throughput_svg"]

COLOURS = 8  # that the page has for runs; a ninth run has the first's again, and its own number

_WIDTH = 5.0  # inches of 72 points: about the width of a phone
_INK, _LINE = "#0a0b0c", "#0d0e0f"  # stand for the page's variables until the SVG is written
_POINTS = 160  # samples that are drawn of a run, evenly through its ranking
_LABEL = 0.07  # of the plot's height: a line of text
_FAR = 15  # times as long, from which on latencies are drawn on a logarithmic axis
_SETTINGS = {
    "svg.fonttype": "none",  # letters, not outlines
    "text.parse_math": False,
    "font.size": 10,
    "axes.edgecolor": _LINE,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _LINE,
    "ytick.color": _LINE,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


def histogram_svg(plot: Histogram) -> str:
    """Share of the values over their error, a row for each run; a dashed line is its tolerance."""
    edges = np.asarray(plot.edges)
    counts = np.array([series.values for series in plot.series])
    bounds = [series.bound for series in plot.series if series.bound]
    used = np.flatnonzero(counts.sum(0))
    ends = [*bounds, *((edges[used[0]], edges[used[-1] + 1]) if used.size else (edges[0], edges[-1]))]
    # Whole powers of ten; the line of a tolerance stays off the edge.
    limits = 10.0 ** math.floor(math.log10(min(ends))), 10.0 ** math.ceil(math.log10(1.5 * max(ends)))
    with _drawn(plot.title, 0.7 * len(plot.series) + 0.6) as (figure, written):
        rows = figure.subplots(len(plot.series), 1, sharex=True, squeeze=False)[:, 0]
        for axes, series, row in zip(rows, plot.series, counts, strict=True):
            shares = row / max(1.0, row.sum())
            axes.stairs(np.maximum(shares, 1e-9), edges, fill=True, baseline=1e-9, color=_colour(series))
            axes.set(xscale="log", yscale="log", ylim=(1e-7, 1.5), xlim=limits)
            axes.set_yticks([1e-6, 1e-3, 1], ["1e-6", "0.001", "1"])
            axes.set_yticks([], minor=True)
            _label_row(axes, series)
            if series.bound:
                axes.axvline(series.bound, color=_INK, linewidth=1, linestyle=(0, (4, 3)))
        _power_ticks(rows[-1])
        rows[-1].set_xlabel("absolute error (left: share of the values that differ)")
    return written()


def latencies_svg(plot: Latencies) -> str:
    """A row for each run: samples as dots, quartiles as a box, the median as a line, p90 and p99 as ticks.

    The axis starts at zero, unless the slowest takes so much longer that the fastest would be a line at its edge.
    """
    medians = [float(np.median(series.values)) for series in plot.series]
    with _drawn(plot.title, 0.45 * len(plot.series) + 0.6) as (figure, written):
        axes = figure.subplots()
        for row, series in enumerate(plot.series):
            samples = np.sort(series.values)
            p25, p50, p75, p90, p99 = np.quantile(samples, (0.25, 0.5, 0.75, 0.9, 0.99))
            places = np.unique(np.linspace(0, samples.size - 1, min(_POINTS, samples.size)).round().astype(int))
            colour = _colour(series)
            # Dots of a row lie on a fixed zigzag, so that equal times don't hide each other.
            offsets = 0.16 * (np.arange(places.size) * 0.618 % 1 - 0.5)
            axes.plot(samples[places], row + 0.27 + offsets, ".", color=colour, markersize=2.5, alpha=0.7)
            axes.barh(row - 0.08, p75 - p25, left=p25, height=0.34, color=colour, alpha=0.35)
            axes.plot([p50, p50], [row - 0.27, row + 0.11], color=colour, linewidth=2.5)
            for value in (p90, p99):
                axes.plot([value, value], [row - 0.2, row + 0.04], color=colour, linewidth=1.2)
        axes.set_yticks(range(len(plot.series)), [str(series.number) for series in plot.series])
        axes.set_ylim(len(plot.series) - 0.4, -0.6)
        if max(medians) > _FAR * min(medians):
            _logarithmic(axes)
        else:
            axes.set_xlim(left=0)
            axes.set_xlabel("milliseconds")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    return written()


def throughput_svg(plot: Throughput) -> str:
    """Pictures a second over the batch size."""
    with _drawn(plot.title, 2.6) as (figure, written):
        axes = figure.subplots()
        places = range(len(plot.batches))
        for series in plot.series:
            axes.plot(places, series.values, "o-", color=_colour(series), markersize=4, linewidth=1.5)
        axes.set_xticks(range(len(plot.batches)), [str(batch) for batch in plot.batches])
        axes.set_ylim(bottom=0)
        height = math.inf  # of the number above: those of lines that end together would hide each other
        for series in sorted(plot.series, key=lambda series: -series.values[-1]):
            height = min(series.values[-1], height - _LABEL * axes.get_ylim()[1])
            end = (places[-1], height)
            axes.annotate(
                str(series.number), end, (6, -3), textcoords="offset points", color=_INK, annotation_clip=False
            )
        axes.set_xlabel("batch size (left: pictures a second)")
    return written()


@contextmanager
def _drawn(title: str, height: float) -> Iterator[tuple[Figure, Callable[[], str]]]:
    """A figure to draw on, and what turns it into SVG afterwards."""
    matplotlib = require("matplotlib", extra="report")
    figures = require("matplotlib.figure", extra="report")
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": title}):  # names of one plot's parts are no other's
        figure = figures.Figure(figsize=(_WIDTH, height), layout="constrained")

        def written() -> str:
            with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": title}):
                buffer = io.StringIO()
                figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Type": None})
            return _for_page(buffer.getvalue())

        yield figure, written


def _for_page(svg: str) -> str:
    """The ``<svg>`` element alone, with the page's variables for its colours and no names that could repeat."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)  # nothing refers to groups
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*"', r"\1\2", svg, count=1)
    svg = svg.replace(_INK, "var(--ink)").replace(_LINE, "var(--line)")
    return re.sub(r"#0000(0[1-9])\b", r"var(--run-\1)", svg)


def _colour(series: Series) -> str:
    return f"#0000{(series.number - 1) % COLOURS + 1:02d}"


def _label_row(axes: Axes, series: Series) -> None:
    axes.text(0.995, 0.93, str(series.number), transform=axes.transAxes, ha="right", va="top", fontweight="bold")


def _logarithmic(axes: Axes) -> None:
    axes.set_xscale("log")
    low, high = (math.log10(limit) for limit in axes.get_xlim())
    steps = (1, 2, 5) if high - low < 3 else (1,)
    ticks = [step * 10.0**power for power in range(math.floor(low), math.ceil(high)) for step in steps]
    ticks = [tick for tick in ticks if low <= math.log10(tick) <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("milliseconds, logarithmic")


def _power_ticks(axes: Axes) -> None:
    """Powers of ten without their superscripts, which need mathematical type."""
    low, high = (math.log10(limit) for limit in axes.get_xlim())
    step = max(1, math.ceil((high - low) / 6))
    powers = range(math.ceil(low), math.floor(high) + 1, step)
    axes.set_xticks([10.0**power for power in powers], [f"1e{power}" if power else "1" for power in powers])
    axes.set_xticks([], minor=True)
