"""Plots: one SVG each, in the page's colours, with the values where they belong."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")

from fade_deploy.report.content import Histogram, Latencies, Series, Throughput
from fade_deploy.report.plots import COLOURS, histogram_svg, latencies_svg, throughput_svg

NAME = "<b>$x^2$</b>"  # what neither XML nor mathematical type may make something of
EDGES = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
HISTOGRAM = Histogram(
    title="errors",
    edges=EDGES,
    series=(
        Series(number=1, name=NAME, values=(0, 90, 10, 0, 0), bound=1e-4),
        Series(number=2, name=NAME, values=(0, 0, 50, 50, 0)),
    ),
)
LATENCIES = Latencies(
    title="times",
    series=(
        Series(number=1, name=NAME, values=tuple(float(value) for value in range(10, 1010))),
        Series(number=COLOURS + 2, name=NAME, values=(5.0,)),
    ),
)
THROUGHPUT = Throughput(title="rates", batches=(1, 4), series=(Series(number=3, name=NAME, values=(10.0, 30.0)),))
DRAWN = {
    "histogram": lambda: histogram_svg(HISTOGRAM),
    "latencies": lambda: latencies_svg(LATENCIES),
    "throughput": lambda: throughput_svg(THROUGHPUT),
}


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("}text")]


@pytest.mark.parametrize("name", DRAWN)
def test_a_plot_is_one_scalable_element_in_the_pages_colours(name: str) -> None:
    svg = DRAWN[name]()
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("}svg")
    assert root.get("viewBox")
    assert root.get("width") is None
    assert root.get("height") is None
    assert "var(--ink)" in svg
    assert not re.search(r"#0[ad]0[be]0[cf]|#0000\d\d", svg)
    assert not re.findall(r"(?:fill|stroke): #(?!none)\w+", svg)  # nothing is drawn in a colour of its own


@pytest.mark.parametrize("name", DRAWN)
def test_no_name_gets_into_a_plot_but_every_number_does(name: str) -> None:
    plot = {"histogram": HISTOGRAM, "latencies": LATENCIES, "throughput": THROUGHPUT}[name]
    svg = DRAWN[name]()
    assert NAME not in svg
    assert "x^2" not in svg
    assert {str(series.number) for series in plot.series} <= set(texts(svg))


def test_a_run_has_its_colour_and_the_colours_begin_again() -> None:
    svg = latencies_svg(LATENCIES)
    assert "var(--run-01)" in svg
    assert "var(--run-02)" in svg  # of run COLOURS + 2


def test_only_a_run_with_a_tolerance_has_its_line() -> None:
    assert histogram_svg(HISTOGRAM).count("stroke-dasharray") == 1


def test_axes_are_named_in_powers_of_ten_without_mathematical_type() -> None:
    assert {"1e-7", "1e-6", "1e-5"} <= set(texts(histogram_svg(HISTOGRAM)))


def test_batches_are_named() -> None:
    assert {"1", "4"} <= set(texts(throughput_svg(THROUGHPUT)))


def test_a_plot_is_the_same_every_time_and_shares_no_name_with_another() -> None:
    assert histogram_svg(HISTOGRAM) == histogram_svg(HISTOGRAM)
    names = [set(re.findall(r' id="([^"]+)"', DRAWN[name]())) for name in DRAWN]
    assert all(names)
    assert len(set.union(*names)) == sum(map(len, names))


def test_thousands_of_samples_are_drawn_as_a_few_dots() -> None:
    many = Latencies(title="", series=(Series(number=1, name="", values=tuple(map(float, range(1, 100_001)))),))
    assert len(latencies_svg(many)) < 60_000
