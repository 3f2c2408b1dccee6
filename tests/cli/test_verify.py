"""``fade-verify`` as a user calls it: the API's result, tables that fit, exit codes, one document for programs."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.api.planted_faults import one_more, with_weights
from tests.command_line import Finished, contents, run_here
from tests.serve.matting_file import matting_file, scene

SECONDS = r"\(\d+\.\d s\)"


@pytest.fixture
def folder(tmp_path: Path, tiny_onnx: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with ``tiny.onnx``, ``tiny.pth`` and ``changed.onnx``, of which one weight is another."""
    (tmp_path / "tiny.onnx").symlink_to(tiny_onnx)
    (tmp_path / "tiny.pth").symlink_to(tiny_checkpoint)
    with_weights(tiny_onnx, tmp_path / "changed.onnx", {"decode_head.chains.1.start.weight": one_more})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verified(line: str, patch: pytest.MonkeyPatch, capture: pytest.CaptureFixture[str]) -> Finished:
    command, *arguments = shlex.split(line)
    return run_here(command, *arguments, patch=patch, capture=capture)


def test_agreement_is_told_in_tables_of_a_hundred_columns(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = "fade-verify tiny.onnx tiny.pth --shapes 1x32x32,2x64x96 --library none"
    finished = verified(line, monkeypatch, capfd)
    assert finished.code == 0, finished.err
    lines = finished.out.splitlines()
    assert max(len(line) for line in lines) <= 100
    assert re.fullmatch(rf"PASSED  tiny\.pth  1 run, 2 inputs, 0 of 2 comparisons disagree  {SECONDS}", lines[-1])
    row = next(line for line in lines if "2x64x96" in line)
    assert re.search(r"\d\.\de-0\d.*768 of 768.*agrees", row)
    assert [line.partition(":")[0] for line in finished.err.splitlines()] == ["load", "verify", "verify"]


def test_disagreement_ends_with_the_command_that_shows_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = "fade-verify tiny.pth changed.onnx --shapes 2x64x96 --seed 5 --library none -q"
    finished = verified(line, monkeypatch, capfd)
    assert (finished.code, finished.err) == (1, "")
    assert "DISAGREES" in finished.out
    assert finished.out.splitlines()[-1].startswith("FAILED  tiny.pth  1 run, 1 input, 1 of 1 comparisons disagree")
    (shown,) = re.findall(r"^shown by: (.*)$", finished.out, re.MULTILINE)
    assert shown == "fade-verify tiny.pth changed.onnx --shapes 2x64x96 --seed 5 --library none"
    (smallest,) = re.findall(r"^fails down to \S+: (.*)$", finished.out, re.MULTILINE)
    again = verified(f"{smallest} -q", monkeypatch, capfd)
    assert again.code == 1
    assert "DISAGREES" in again.out


def test_json_is_one_document_with_every_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = "fade-verify tiny.pth changed.onnx --shapes 1x32x32 --library none --json"
    finished = verified(line, monkeypatch, capfd)
    assert finished.code == 1
    document = json.loads(finished.out)
    assert (document["status"], document["passed"], document["task"]) == ("failed", False, "segmentation")
    (comparison,) = document["comparisons"]
    for number in ("max_error", "mean_error", "p50_error", "p99_error", "p999_error", "cosine", "psnr", "nan", "inf"):
        assert isinstance(comparison[number], int | float)
    assert comparison["collapsed"] is False
    assert document["command"].startswith("fade-verify tiny.pth changed.onnx")
    assert finished.err.splitlines()[-1].startswith("FAILED  tiny.pth")


def test_bisection_names_the_module_and_what_it_stands_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    finished = verified("fade-verify --bisect changed.onnx tiny.pth --shapes 1x32x64 -q", monkeypatch, capfd)
    assert (finished.code, finished.err) == (1, "")
    (first,) = re.findall(r"^first to leave the tolerance: (.*)$", finished.out, re.MULTILINE)
    assert first.startswith("decode_head.chains.1.start, which stands for decode_head.linear_c3, ")
    assert "weight that is not the checkpoint's: decode_head.chains.1.start.weight (1 of " in finished.out
    last = finished.out.splitlines()[-1]
    assert re.fullmatch(
        rf"FAILED  changed\.onnx  \d+ modules compared in standard operators at 1x32x64  {SECONDS}", last
    )
    agreeing = verified("fade-verify --bisect tiny.onnx tiny.pth --shapes 1x32x64 -q --json", monkeypatch, capfd)
    assert agreeing.code == 0
    assert json.loads(agreeing.out)["first"] is None


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("fade-verify tiny.onnx tiny.pth --on gpu", ["--on has 'gpu'", "expected a list of cpu, cuda"]),
        ("fade-verify tiny.onnx tiny.pth --shapes 32", ["shape '32' is not NxHxW"]),
        ("fade-verify tiny.onnx tiny.pth --shapes 1x33x32", ["--shapes has 1x33x32", "multiples of 32"]),
        ("fade-verify missing.onnx tiny.pth", ["missing.onnx can't be read"]),
        ("fade-verify tiny.onnx missing.pth", ["missing.pth"]),
        ("fade-verify tiny.onnx tiny.pth --tolerance none", ["tolerance 'none' is unknown"]),
        ("fade-verify tiny.onnx tiny.pth --library missing.so", ["--library missing.so is not there"]),
        ("fade-verify --bisect tiny.onnx", ["--bisect compares one .onnx file with one checkpoint"]),
        ("fade-verify tiny.onnx tiny.pth -o plan.toml", ["-o plan.toml is where --bisect writes its plan"]),
        ("fade-verify --bisect tiny.onnx tiny.pth --report r.html", ["--report shows a comparison", "leave one of"]),
        ("fade-verify --bisect tiny.onnx tiny.pth --on openvino", ["--on means nothing with --bisect"]),
        ("fade-verify tiny.onnx tiny.pth --plugin x.so", ["--plugin means nothing without an engine"]),
        (
            "fade-verify tiny.onnx tiny.pth --report tiny.onnx --force",
            ["--report tiny.onnx is one of the given files", "expected another one to write"],
        ),
        ("fade-verify tiny.onnx tiny.pth --max-miou-drop 2", ["--max-miou-drop"]),
        ("fade-verify", ["Missing argument 'files'"]),
    ],
)
def test_a_mistake_ends_in_one_line_that_says_how_to_mend_it(
    line: str, told: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    finished = verified(f"{line} -q" if line != "fade-verify" else line, monkeypatch, capfd)
    assert re.fullmatch(r"FAILED  [^\n]+  \(\d+\.\d s\)\n", finished.err), finished.err
    assert (finished.code, finished.out) == (2, "")
    for words in told:
        assert words in finished.err
    assert contents(folder) == before


def test_scores_are_told_beside_the_references(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        matting_file(tmp_path / name)
    picture, trimap = scene(37, 50)
    Image.fromarray(picture).save(tmp_path / "scene.png")
    Image.fromarray(trimap).save(tmp_path / "trimap.png")
    Image.fromarray(np.where(trimap == 255, 255, np.where(trimap == 0, 0, 90)).astype(np.uint8)).save(
        tmp_path / "truth.png"
    )
    monkeypatch.chdir(tmp_path)
    line = (
        "fade-verify one/matting.onnx other/matting.onnx --library none -q "
        "--images scene.png --trimaps trimap.png --alphas truth.png"
    )
    finished = verified(line, monkeypatch, capfd)
    assert finished.code == 0, finished.err
    lines = finished.out.splitlines()
    assert max(len(line) for line in lines) <= 100
    header = next(line for line in lines if "grad" in line)
    for name in ("sad", "mse", "grad", "conn"):
        assert name in header
    assert re.search(r"│ 1 +│ 1 +│ \d\S* \+0e\+00 ", finished.out)  # the same file twice: no difference
    assert "unknown band" in finished.out
