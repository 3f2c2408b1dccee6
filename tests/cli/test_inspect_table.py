"""``fade-inspect --table``: whole numbers in whole rows, one JSON document, one line for a wrong call."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console

from fade_deploy.api.tables import PaperTable, paper_table
from fade_deploy.cli.inspect import _table_outcome
from tests.command_line import Finished, run, run_here

SECONDS = r"\(\d+\.\d s\)"


@pytest.fixture
def inspect(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "30")  # must not matter: this is no terminal

    def call(*arguments: str) -> Finished:
        return run_here("fade-inspect", *arguments, patch=monkeypatch, capture=capfd)

    return call


def cells(text: str) -> dict[str, list[str]]:
    """First cell -> the others, of every row of every table."""
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line[:1] == "│"]
    return {first: others for first, *others in rows}


def test_table_prints_ours_beside_the_published_numbers(inspect):
    finished = inspect("--table", "segformer-b1")
    assert (finished.code, finished.err) == (0, "")
    rows = cells(finished.out)
    assert rows["FADE (B6)"] == [
        *("fade", "+285084", "+0.29M", "-4916", "yes"),
        *("+2653175808", "+2623291392", "+2.653 / +2.623", "+2.65G", "+0.003", "with the blend"),
    ]
    assert rows["CARAFE (B2)"][5:] == ["+1453129728", "+1453129728", "+1.453", "+1.45G", "+0.003", "yes"]
    assert rows["SemiShiftUp (B4)"][2:5] == ["", "", ""]
    assert rows["IndexNet, linear"][4] == rows["IndexNet, linear"][-1] == "no"
    assert "note: IndexNet, linear: not reproduced: " in finished.out
    assert "19350 parameters more: decode_head.conv_seg" in finished.out
    assert "published, fade: README of github.com/poppinace/fade" in finished.out
    assert "…" not in finished.out
    assert re.fullmatch(rf"PASSED  segformer-b1  {SECONDS}", finished.out.splitlines()[-1])


def test_operator_table_has_both_readings_and_no_published_columns(inspect):
    finished = inspect("--table", "operator")
    assert finished.code == 0
    assert "One upsampler of 256 channels, output 112x112" in finished.out
    assert "One upsampler of 256 channels, output 224x224" in finished.out
    outputs = [cells(part)["FADE (B6)"] for part in finished.out.split("output 224x224")]
    assert outputs == [
        ["fade", "47514", "570200064", "563777536", "0.570 / 0.564"],
        ["fade", "47514", "2280800256", "2255110144", "2.281 / 2.255"],
    ]
    assert "fits" not in finished.out.partition("note:")[0]
    assert "can't be read" in finished.out


def test_json_is_the_apis_document_and_nothing_else(inspect):
    finished = inspect("--table", "operator", "--json")
    assert finished.code == 0
    assert json.loads(finished.out) == {"status": "passed", **paper_table("operator")}
    assert re.fullmatch(rf"PASSED  operator  {SECONDS}\n", finished.err)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (
            [],
            "no file was given; give a checkpoint, an .onnx file or an engine, or --table with one of segformer-b1,",
        ),
        (["model.pth", "--table", "operator"], "--table operator takes no file and none of a file's options; leave"),
        (["--table", "operator", "--shape", "1x64x64"], "--table operator takes no file and none of a file's options"),
        (["--table", "operator", "--recipe", "segformer"], "--table operator takes no file"),
        (["--table", "operator", "--ema"], "--table operator takes no file"),
        (["--table", "segformer-b9"], "'segformer-b9' is not one of 'segformer-b1', 'a2u-matting', 'operator'"),
    ],
    ids=" ".join,
)
def test_wrong_calls_are_refused_in_one_line(arguments, line, inspect):
    finished = inspect(*arguments)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("FAILED  ")
    assert len(finished.err.splitlines()) == 1
    assert line in finished.err


def test_missing_torch_is_named_with_what_installs_it(tmp_path):
    finished = run("fade-inspect", "--table", "operator", cwd=tmp_path, absent=("torch",))
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("FAILED  torch is not installed; install it with: pip install 'fade-deploy[export]'")


@pytest.mark.parametrize("table", list(PaperTable))
def test_a_terminal_of_80_columns_shows_every_number_whole(table):
    outcome = _table_outcome(table, narrow=True)
    console = Console(width=80, record=True, file=io.StringIO())
    for one in outcome.tables:
        console.print(one)
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 80
    for row in outcome.document["rows"]:
        for number in (f"{row['parameters']['count']:d}", f"{row['macs']['with_blend'] / 1e9:.3f}"):
            assert re.search(rf"(?<!\d){re.escape(number)}(?!\d)", text), (row["label"], number)
