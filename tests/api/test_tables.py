"""The papers' complexity tables: our counts, the published numbers, and what of them is reproduced."""

from __future__ import annotations

import json
import tomllib
from typing import Any

import pytest

from fade_deploy.api.tables import PaperTable, paper_table
from fade_deploy.ops.registry import UPSAMPLERS
from fade_deploy.recipe import list_recipes, recipe_folder

# Parameters and MACs that an upsampler adds at 512x512, worked out from the reference's layers; the MACs, in G, are
# those of the papers' rows: with the blend, but for FADE-Lite in matting.
ADDED = {
    "segformer-b1": {
        "CARAFE (B2)": (444_888, 1.4531),
        "IndexNet, linear": (6_291_456, 15.301),
        "A2U": (120_252, 0.4077),
        "A2U without bconv_DP": (64_740, 0.4077),
        "FADE (B6)": (285_084, 2.6532),
        "FADE-Lite": (79_992, 0.8905),
        "SAPA-B": (104_832, 1.0179),
        "SemiShiftUp (B4)": (283_542, 2.6196),
    },
    "a2u-matting": {
        "CARAFE (B2)": (263_824, 6.0023),
        "IndexNet, C channels inside": (6_131_712, 31.944),
        "IndexNet, 2C channels inside": (12_263_424, 63.888),
        "A2U": (40_232, 0.6603),
        "A2U without GroupNorm": (38_184, 0.6603),
        "FADE (B6)": (124_008, 8.8535),
        "FADE-Lite": (27_216, 1.4605),
        "SAPA-B": (35_072, 1.8461),
    },
}
BASES = {"segformer-b1": (13_735_148 - 19_350, 15.878), "a2u-matting": (8_049_003, 52.564)}
# Whether the published parameters and MACs are reproduced.
FITS = {
    "segformer-b1": {
        "Bilinear (the base)": ("yes", "no"),
        "CARAFE (B2)": ("yes", "yes"),
        "IndexNet, linear": ("no", "no"),
        "A2U": ("yes", "yes"),
        "A2U without bconv_DP": ("yes", "yes"),
        "FADE (B6)": ("yes", "with the blend"),
        "FADE-Lite": ("yes", "with the blend"),
        "SAPA-B": ("yes", "yes"),
        "SAPA-G": ("no", "no"),
    },
    "a2u-matting": {
        "Bilinear (the base)": ("yes", "no"),
        "CARAFE (B2)": ("yes", "yes"),
        "IndexNet, C channels inside": ("no", "no"),
        "IndexNet, 2C channels inside": ("yes", "no"),
        "A2U": ("no", "yes"),
        "A2U without GroupNorm": ("yes", "yes"),
        "A2U without GroupNorm and bconv_DP": ("yes", None),
        "FADE (B6)": ("yes", "with the blend"),
        "FADE-Lite": ("yes", "without the blend"),
        "SAPA-B": ("yes", None),
        "SAPA-G": ("no", None),
    },
}
# GFLOPs of one operator of 256 channels, 112x112 its output and its input; with the blend.
OPERATORS = {
    112: {"fade": 0.570, "fade_lite": 0.191, "carafe": 0.312, "a2u": 0.088},
    224: {"fade": 2.281, "fade_lite": 0.766, "carafe": 1.249},
}


@pytest.fixture(scope="module")
def tables() -> dict[str, dict[str, Any]]:
    return {name: paper_table(name) for name in PaperTable}


def rows_of(table: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in table["rows"]}


@pytest.mark.parametrize(("table", "label"), [(table, label) for table, rows in ADDED.items() for label in rows])
def test_upsampler_adds_what_the_reference_has(tables, table, label):
    row = rows_of(tables[table])[label]
    parameters, gflops = ADDED[table][label]
    assert row["adds"]
    assert row["parameters"]["count"] == parameters
    without_blend = label.startswith("IndexNet") or (table, label) == ("a2u-matting", "FADE-Lite")
    macs = row["macs"]["without_blend" if without_blend else "with_blend"]
    assert abs(macs / 1e9 - gflops) <= (5e-4 if gflops > 10 else 5e-5)


@pytest.mark.parametrize("table", BASES)
def test_base_is_counted_whole(tables, table):
    base, *others = tables[table]["rows"]
    assert (base["upsampler"], base["adds"]) == ("bilinear", False)
    assert (base["parameters"]["count"], round(base["macs"]["without_blend"] / 1e9, 3)) == BASES[table]
    assert all(row["adds"] for row in others)


@pytest.mark.parametrize("table", FITS)
def test_published_rows_come_first_and_say_whether_they_are_reproduced(tables, table):
    rows = tables[table]["rows"]
    published = [row for row in rows if row["source"]]
    assert rows[: len(published)] == published
    assert {row["label"]: (row["parameters"]["fits"], row["macs"]["fits"]) for row in published} == FITS[table]
    for row in published:
        assert row["note"] or "no" not in (row["parameters"]["fits"], row["macs"]["fits"])
    for row in rows[len(published) :]:
        assert row["parameters"]["published"] is row["macs"]["published"] is row["macs"]["fits"] is None


def test_differences_are_ours_minus_published(tables):
    fade = rows_of(tables["segformer-b1"])["FADE (B6)"]
    assert (fade["parameters"]["published"], fade["parameters"]["difference"]) == ("+0.29M", 285_084 - 290_000)
    assert fade["macs"]["difference"] == fade["macs"]["with_blend"] - 2_650_000_000
    lite = rows_of(tables["a2u-matting"])["FADE-Lite"]
    assert (lite["parameters"]["published"], lite["parameters"]["difference"]) == ("+27K", 216)
    assert lite["macs"]["difference"] == lite["macs"]["without_blend"] - 1_460_000_000


@pytest.mark.parametrize("side", OPERATORS)
def test_single_operators_cost_what_their_formulas_say(tables, side):
    rows = {
        row["upsampler"]: row for row in tables["operator"]["rows"] if (row["height"], row["width"]) == (side, side)
    }
    assert {name: round(rows[name]["macs"]["with_blend"] / 1e9, 3) for name in OPERATORS[side]} == OPERATORS[side]
    assert rows["fade"]["parameters"]["count"] == 47514
    assert rows["fade_lite"]["parameters"]["count"] == 13332
    assert not any(row["source"] for row in rows.values())


def test_operator_table_says_why_nothing_published_stands_there(tables):
    assert any("can't be read" in note for note in tables["operator"]["notes"])


@pytest.mark.parametrize("name", PaperTable)
def test_every_upsampler_has_a_row_and_the_notes_are_all_printed(tables, name):
    table = tables[name]
    assert {row["upsampler"] for row in table["rows"]} == UPSAMPLERS.keys()
    for row in table["rows"]:
        assert row["note"] is None or f"{row['label']}: {row['note']}" in table["notes"]
    json.dumps(table)


def test_work_for_each_image_is_left_out_and_named(tables):
    macs = rows_of(tables["segformer-b1"])["A2U"]["macs"]
    assert macs["for_each_image"] == 6 * 3 * 36 * 256
    assert macs["without_blend"] == 407_700_480  # the formula lo*(73C + 36) + hi*9C over the six slots
    notes = [note for note in tables["segformer-b1"]["notes"] if "for each image" in note]
    assert len(notes) == 1
    assert notes[0].startswith("a2u: 165888 MACs for each image")


@pytest.mark.parametrize("name", PaperTable)
def test_published_files_name_known_upsamplers_and_sources(name):
    published = tomllib.loads((recipe_folder() / "published" / f"{name}.toml").read_text(encoding="utf-8"))
    assert {row["upsampler"] for row in published["rows"]} <= UPSAMPLERS.keys()
    assert len({row["label"] for row in published["rows"]}) == len(published["rows"])
    for row in published["rows"]:
        has_numbers = "parameters" in row or "gflops" in row
        assert has_numbers == ("source" in row)
        assert not has_numbers or published["sources"][row["source"]]


def test_published_files_are_no_recipes_and_all_are_tables():
    names = {entry.name for entry in (recipe_folder() / "published").iterdir()}
    assert names == {f"{name}.toml" for name in PaperTable}
    assert not set(PaperTable) & set(list_recipes())


def test_unknown_table_is_a_programmers_mistake():
    with pytest.raises(ValueError, match="'segformer-b9' is not a valid PaperTable"):
        paper_table("segformer-b9")
