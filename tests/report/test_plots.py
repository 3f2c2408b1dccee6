"""Plots: one SVG each, in the page's colours, with the values where they belong."""

from __future__ import annotations

import re
from itertools import pairwise
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


def test_errors_of_one_narrow_bin_have_an_axis_too() -> None:
    edges = tuple(10 ** (quarter / 4) for quarter in range(-24, -18))
    plot = Histogram(title="", edges=edges, series=(Series(number=1, name="", values=(0, 7, 0, 0, 0)),))
    assert {"1e-6", "1e-5"} <= set(texts(histogram_svg(plot)))


def test_times_far_apart_are_drawn_on_a_logarithmic_axis() -> None:
    far, near = (
        Latencies(
            title="",
            series=tuple(
                Series(number=number, name="", values=(0.9 * median, median, 1.1 * median))
                for number, median in enumerate((20.0, slowest), start=1)
            ),
        )
        for slowest in (900.0, 200.0)
    )
    assert {"milliseconds, logarithmic", "20", "100", "500"} <= set(texts(latencies_svg(far)))
    assert {"milliseconds", "0"} <= set(texts(latencies_svg(near)))


def test_batches_are_named() -> None:
    assert {"1", "4"} <= set(texts(throughput_svg(THROUGHPUT)))


def test_numbers_of_lines_that_end_together_stand_apart() -> None:
    series = tuple(Series(number=number, name="", values=(1.0, 100 + number / 100)) for number in range(1, 4))
    svg = throughput_svg(Throughput(title="", batches=(1, 4), series=series))
    ends = sorted(
        float(element.get("y", ""))
        for element in ElementTree.fromstring(svg).iter()
        if element.tag.endswith("}text") and "text-anchor: start" in element.get("style", "")
    )
    assert len(ends) == 3
    assert all(after - before > 8 for before, after in pairwise(ends))


def test_a_plot_is_the_same_every_time_and_shares_no_name_with_another() -> None:
    assert histogram_svg(HISTOGRAM) == histogram_svg(HISTOGRAM)
    names = [set(re.findall(r' id="([^"]+)"', DRAWN[name]())) for name in DRAWN]
    assert all(names)
    assert len(set.union(*names)) == sum(map(len, names))


def test_thousands_of_samples_are_drawn_as_a_few_dots() -> None:
    many = Latencies(title="", series=(Series(number=1, name="", values=tuple(map(float, range(1, 100_001)))),))
    assert len(latencies_svg(many)) < 60_000
