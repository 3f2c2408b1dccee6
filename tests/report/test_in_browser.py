"""The page in a real browser: it loads nothing, fits a phone, and has its colours in light, in dark and on paper."""

from __future__ import annotations

import dataclasses
import io
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")
pytest.importorskip("jinja2", reason="the extra 'report' is not installed")

from PIL import Image

from fade_deploy.report.content import Report, Section
from fade_deploy.report.from_benchmark import benchmark_report
from fade_deploy.report.from_verification import verification_report
from fade_deploy.report.page import rendered
from fade_deploy.report.upsamplers import UpsamplerMaps, upsampler_section
from tests.report.browser import Browser
from tests.report.made import benchmark, matting, segmentation

LONG = "a_folder_with_a_long_name/" * 4 + "model_without_any_place_to_break" * 2 + ".onnx"
PHONE, DESK = 390, 1200


def upsamplers() -> Section:
    values = np.linspace(0, 1, 60, dtype=np.float32).reshape(6, 10)
    maps = UpsamplerMaps(module="decode_head.upsamplers.0", kind="FADE", kernel_size=5, gate=values, entropy=values)
    return upsampler_section((maps,), source="32x64")


def reports() -> dict[str, Report]:
    classes = ("<b>sky</b>", "sea", "sand")
    failing = segmentation(5e-5, 0.5, file=LONG, classes=classes, command=f"fade-verify model.pth {LONG}")
    return {
        "segmentation": verification_report(failing, command="fade-verify " + LONG, sections=[upsamplers()]),
        "matting": verification_report(matting(2e-5), command="fade-verify a b", sections=[upsamplers()]),
        "benchmark": benchmark_report(benchmark(names=(f"{LONG} cpu", "b.pth"), earlier=0.5), command="fade-bench"),
    }


NAMES = tuple(reports())


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name, report in reports().items():
        (folder / f"{name}.html").write_text(rendered(report), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in NAMES}


def paper(browser: Browser) -> str:
    return str(browser.value_of("getComputedStyle(document.body).backgroundColor"))


@pytest.mark.parametrize("name", NAMES)
def test_a_page_asks_for_nothing_and_the_browser_has_nothing_to_complain_about(
    browser: Browser, pages: dict[str, Path], name: str
) -> None:
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(pages[name], width=DESK)
    asked = [address for address in browser.requests if not address.startswith("data:image/")]
    assert asked == [pages[name].resolve().as_uri()]
    assert browser.complaints == []
    assert browser.value_of("document.compatMode") == "CSS1Compat"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [PHONE, 320, 700, 980, DESK])
def test_a_page_is_as_wide_as_its_window(browser: Browser, pages: dict[str, Path], name: str, width: int) -> None:
    browser.open(pages[name], width=width)
    assert browser.value_of("document.documentElement.scrollWidth") <= width
    beyond = """[...document.querySelectorAll('main *, header *')].filter(
        e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('svg') && !e.closest('thead')).length"""
    assert browser.value_of(beyond) == 0


@pytest.mark.parametrize("name", NAMES)
def test_every_picture_is_shown(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], width=PHONE)
    sizes = browser.value_of("[...document.images].map(image => image.complete && image.naturalWidth > 0)")
    assert all(sizes)
    assert (len(sizes) > 5) == (name != "benchmark")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dark", [False, True])
def test_letters_stand_out_from_the_paper(browser: Browser, pages: dict[str, Path], name: str, dark: bool) -> None:
    browser.open(pages[name], width=DESK, dark=dark)
    ink = browser.value_of("getComputedStyle(document.body).color")
    assert contrast(str(ink), paper(browser)) > 7  # WCAG's enhanced level
    for part in (".word", "td.bad", ".note", "a", "svg text", "thead th"):
        found = f"document.querySelector('{part}')"
        if not browser.value_of(f"{found} !== null"):
            continue
        property_ = "fill" if part == "svg text" else "color"
        colour = str(browser.value_of(f"getComputedStyle({found}).{property_}"))
        behind = "getComputedStyle(document.querySelector('.verdict')).backgroundColor"
        under = str(browser.value_of(behind)) if part == ".word" else paper(browser)
        assert contrast(colour, under) > 4.5, part  # and its minimum


def test_dark_is_dark_and_light_is_light(browser: Browser, pages: dict[str, Path]) -> None:
    brightness = {}
    for dark in (False, True):
        browser.open(pages["matting"], width=DESK, dark=dark)
        shot = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L"))
        brightness[dark] = np.median(shot)
    assert brightness[True] < 60 < 200 < brightness[False]


def test_markup_in_a_class_name_is_read_as_text(browser: Browser, pages: dict[str, Path]) -> None:
    browser.open(pages["segmentation"], width=DESK)
    legend = str(browser.value_of("document.querySelector('.keys').textContent"))
    assert "<b>sky</b>" in legend
    assert browser.value_of("document.querySelectorAll('.keys b').length") == 0


def test_numbers_of_a_table_stand_under_their_columns_and_on_a_phone_beside_their_names(
    browser: Browser, pages: dict[str, Path]
) -> None:
    cell = "document.querySelector('table.cards td.number')"
    before = f"getComputedStyle({cell}, '::before').content"
    browser.open(pages["matting"], width=DESK)
    assert browser.value_of(f"getComputedStyle({cell}).display") == "table-cell"
    assert browser.value_of(before) == "none"
    browser.open(pages["matting"], width=PHONE)
    assert browser.value_of(before) == '"max error"'


@pytest.mark.parametrize("name", NAMES)
def test_a_page_prints_light_on_a_few_sheets(browser: Browser, pages: dict[str, Path], name: str) -> None:
    browser.open(pages[name], width=DESK, dark=True)
    browser.ask(
        "Emulation.setEmulatedMedia", media="print", features=[{"name": "prefers-color-scheme", "value": "dark"}]
    )
    assert paper(browser) == "rgb(255, 255, 255)"
    assert browser.value_of("getComputedStyle(document.querySelector('nav')).display") == "none"
    browser.ask("Emulation.setEmulatedMedia", media="")
    pdf = browser.pdf()
    assert pdf.startswith(b"%PDF-")
    assert 1 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 6


def test_an_empty_report_is_a_page_too(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    path.write_text(rendered(dataclasses.replace(reports()["matting"], sections=())), encoding="utf-8")
    browser.open(path, width=PHONE)
    assert browser.value_of("document.querySelector('.word').textContent") == "PASSED"


def contrast(first: str, second: str) -> float:
    """Ratio of two CSS colours as WCAG defines it, 1 to 21."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    levels = np.array([float(level) for level in re.findall(r"[\d.]+", colour)[:3]]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))
