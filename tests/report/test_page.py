"""The page: complete in one file, its verdict first, and nothing of a file's text taken for markup."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")
pytest.importorskip("jinja2", reason="the extra 'report' is not installed")

from fade_deploy.report.content import (
    Cell,
    Column,
    Commands,
    Facts,
    Gallery,
    Histogram,
    Note,
    Picture,
    Report,
    Section,
    Series,
    Swatch,
    Table,
    Tone,
    Verdict,
)
from fade_deploy.report.page import rendered

EVIL = """</title></style><script>alert("1")</script><img src=x onerror='alert(2)'>&amp;{{ 7 * 7 }}{% raw %}"""
VOID = {"meta", "img", "wbr", "br", "path", "use", "line", "circle", "rect"}
PIXELS = np.zeros((4, 4, 3), np.uint8)


def report_with(text: str) -> Report:
    """A report with every kind of block, in which every text is the given one."""
    series = (Series(number=1, name=text, values=(1.0, 2.0), detail=text, bound=1e-4),)
    blocks = (
        Table(title=text, columns=(Column(text), Column(text)), rows=((text, Cell(text=text, number=3, share=0.5)),)),
        Gallery(
            title=text,
            pictures=(Picture(title=text, pixels=PIXELS, is_photo=False, caption=text, number=9),),
            note=text,
            legend=(Swatch(name=text, colour=(1, 2, 3)),),
        ),
        Histogram(title=text, edges=(1e-7, 1e-6, 1e-5), series=series, note=text),
        Facts(title=text, items=((text, text),)),
        Commands(title=text, lines=(text,)),
        Note(text),
    )
    verdict = Verdict(tone=Tone.BAD, word=text, headline=text, lines=(text,), commands=(text,))
    sections = (Section(title=text, intro=text, blocks=blocks),)
    return Report(title=text, subtitle=text, verdict=verdict, sections=sections)


class Outline(HTMLParser):
    """Elements with their attributes, and the texts between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_markup_in_any_text_stays_text() -> None:
    outline = Outline(rendered(report_with(EVIL)))
    tags = {tag for tag, _ in outline.elements}
    assert "script" not in tags
    assert not [name for _, attributes in outline.elements for name in attributes if name.startswith("on")]
    images = [attributes["src"] for tag, attributes in outline.elements if tag == "img"]
    assert all(str(source).startswith("data:image/") for source in images)
    plain = Outline(rendered(report_with("text")))
    assert [tag for tag, _ in outline.elements if tag != "wbr"] == [tag for tag, _ in plain.elements if tag != "wbr"]


def test_every_text_is_there_as_it_was() -> None:
    shown = "".join(Outline(rendered(report_with(EVIL))).texts)
    assert shown.count(EVIL) == "".join(Outline(rendered(report_with("QXZ"))).texts).count("QXZ")
    assert shown.count(EVIL) > 20


def test_every_element_is_closed_in_order() -> None:
    assert Outline(rendered(report_with("text"))).open == []


def test_the_page_refers_to_nothing_outside_itself_and_forbids_it() -> None:
    outline = Outline(rendered(report_with("text")))
    for tag, attributes in outline.elements:
        assert tag not in ("link", "script", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#"))
    styles = "".join(outline.texts)
    assert "@import" not in styles
    assert all(inside.startswith("#") for inside in re.findall(r"url\(([^)]*)\)", styles))
    policy = next(a["content"] for _, a in outline.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert str(policy).startswith("default-src 'none'; img-src data:;")


def test_the_verdict_comes_first() -> None:
    page = rendered(report_with("text"))
    body = page[page.index("<body>") :]
    assert re.match(r'<body>\s*<header class="verdict bad">\s*<p class="word">text</p>', body)


def test_contents_lead_to_the_sections() -> None:
    outline = Outline(rendered(report_with("text")))
    targets = {str(a["href"]).removeprefix("#") for tag, a in outline.elements if tag == "a"}
    assert targets == {str(a["id"]) for tag, a in outline.elements if tag == "section"}


def test_a_page_is_the_same_every_time() -> None:
    assert rendered(report_with("text")) == rendered(report_with("text"))


def test_names_may_break_at_their_dots_and_numbers_may_not() -> None:
    page = rendered(report_with("decode_head.upsamplers 9.8e-6"))
    assert "decode_<wbr>head.<wbr>upsamplers 9.8e-6</span>" in page


def test_colours_of_runs_begin_again_and_their_numbers_do_not() -> None:
    assert '<span class="badge run-1">9</span>' in rendered(report_with("text"))


def test_a_small_picture_shows_its_pixels() -> None:
    report = report_with("text")
    assert 'class="small"' in rendered(report)
    large = Gallery(title="", pictures=(Picture(title="", pixels=np.zeros((240, 4), np.uint8), is_photo=False),))
    report = dataclasses.replace(report, sections=(Section(title="", blocks=(large,)),))
    assert 'class="small"' not in rendered(report)


def test_rows_of_a_gallery_stay_together() -> None:
    tiles = tuple(
        Picture(title=str(index), pixels=PIXELS, is_photo=False, starts_row=index in (0, 2)) for index in range(5)
    )
    report = dataclasses.replace(
        report_with("text"), sections=(Section(title="", blocks=(Gallery(title="", pictures=tiles),)),)
    )
    rows = rendered(report).split('<div class="row">')[1:]
    assert [row.count("<figure>") for row in rows] == [2, 3]
