"""``fade-predict`` with a matting file, and every mistake one can make with one."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.command_line import contents, run, run_here
from tests.serve.matting_file import demo, matting_file, scene
from tests.serve.test_predictor import network_file


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a model of each task, a picture of 50x37 pixels, its trimap, and a few wrong things."""
    monkeypatch.chdir(tmp_path)
    network_file(tmp_path).rename("segmentation.onnx")
    matting_file(tmp_path, shape=(1, 32, 48)).rename("small.onnx")
    matting_file(tmp_path)
    picture, trimap = scene(37, 50)
    Image.fromarray(picture).save("cat.png")
    Image.fromarray(trimap).save("trimap.png")
    Image.fromarray(trimap[:, :-1]).save("narrow.png")
    Image.new("F", (50, 37)).save("floats.tif")
    (tmp_path / "notes.txt").write_text("Just some notes.\n")
    (tmp_path / "old.png").write_text("old")
    return tmp_path


def test_a_picture_and_its_trimap_become_an_alpha(folder: Path) -> None:
    finished = run("fade-predict", "matting.onnx", "cat.png", "--trimap", "trimap.png", "-o", "alpha.png", cwd=folder)
    assert (finished.code, finished.err) == (0, "")
    assert re.fullmatch(
        r"PASSED  alpha\.png  50x37, \d+\.\d\d s predicting  \(\d+\.\d s\)", finished.out.splitlines()[-1]
    )
    picture, trimap = scene(37, 50)
    with Image.open("alpha.png") as image:
        assert (image.mode, image.size, image.format) == ("L", (50, 37), "PNG")
        alpha = np.asarray(image)
    exact = demo(picture, trimap)
    known = np.isin(trimap, (0, 255))
    np.testing.assert_array_equal(alpha[known], trimap[known])
    near_a_level = np.abs(exact - np.rint(exact)) < 0.01
    assert near_a_level[~known].mean() < 0.5  # clipped ones are
    np.testing.assert_array_equal(alpha[~near_a_level], np.floor(exact[~near_a_level]))
    shares = dict(re.findall(r"^│ (\w+) +│ ([\d.]+)% +│$", finished.out, re.MULTILINE))
    assert list(shares) == ["foreground", "unknown"]
    assert float(shares["foreground"]) == pytest.approx(100 * alpha.mean() / 255, abs=0.051)
    assert float(shares["unknown"]) == pytest.approx(100 * (~known).mean(), abs=0.051)


def test_names_and_json(folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    line = ("matting.onnx", "cat.png", "--trimap", "trimap.png", "--json")
    finished = run_here("fade-predict", *line, patch=monkeypatch, capture=capfd)
    document = json.loads(finished.out)
    assert document.keys() == {"status", "output", "height", "width", "shares", "seconds", "notes"}
    assert (document["output"], document["height"], document["width"]) == ("cat.alpha.png", 37, 50)
    finished = run_here("fade-predict", *line, "--background", "white", patch=monkeypatch, capture=capfd)
    assert json.loads(finished.out)["output"] == "cat.cutout.png"
    with Image.open("cat.cutout.png") as cutout:
        assert (cutout.mode, cutout.size) == ("RGB", (50, 37))


WITH_TRIMAP = "fade-predict matting.onnx cat.png --trimap trimap.png"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "fade-predict matting.onnx cat.png",
            ["matting.onnx is a matting model and needs a trimap", "white where", "give one with --trimap"],
        ),
        ("fade-predict matting.onnx cat.png --background red", ["needs a trimap", "give one with --trimap"]),
        (f"{WITH_TRIMAP} --overlay", ["matting.onnx is a matting model", "--overlay is for a seg", "leave it out"]),
        (
            "fade-predict segmentation.onnx cat.png --trimap trimap.png",
            ["segmentation.onnx is a segmentation model", "--trimap is for a matting model", "leave it out"],
        ),
        (
            "fade-predict segmentation.onnx cat.png --background white",
            ["segmentation.onnx is a segmentation model", "--background is for a matting model", "leave it out"],
        ),
        (
            "fade-predict matting.onnx cat.png --trimap narrow.png",
            ["the trimap has 49x37 pixels, expected 50x37", "give the trimap of this picture"],
        ),
        ("fade-predict matting.onnx cat.png --trimap no.png", ["no.png can't be read", "give a picture"]),
        ("fade-predict matting.onnx cat.png --trimap notes.txt", ["notes.txt is not a picture", "give a picture"]),
        ("fade-predict matting.onnx cat.png --trimap floats.tif", ["floats.tif has floating-point", "save it as"]),
        ("fade-predict matting.onnx no.png --trimap trimap.png", ["no.png can't be read", "give a picture"]),
        (
            "fade-predict small.onnx cat.png --trimap trimap.png",
            ["50x37 pixels, small.onnx takes at most 48x32", "scale picture and trimap down", "without --shape"],
        ),
        (f"{WITH_TRIMAP} --background sea-gren", ["background sea-gren can't be read", "a colour such as white"]),
        (f"{WITH_TRIMAP} --background notes.txt", ["background notes.txt is not a picture", "a colour such as white"]),
        (f"{WITH_TRIMAP} --background #ffffff80", ["#ffffff80' is transparent", "an opaque colour such as"]),
        (f"{WITH_TRIMAP} -o alpha.jpg", ["alpha.jpg does not end in .png", "give another name with -o"]),
        (f"{WITH_TRIMAP} -o old.png", ["old.png exists", "or --force to replace it"]),
        (f"{WITH_TRIMAP} --background", ["--background", "see fade-predict --help"]),
    ],
)
def test_a_mistake_ends_in_one_line_that_says_how_to_mend_it(
    line: str, told: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(folder)
    command, *arguments = line.split()
    finished = run_here(command, *arguments, patch=monkeypatch, capture=capfd)
    assert re.fullmatch(r"FAILED  [^\n]+  \(\d+\.\d s\)\n", finished.err), finished.err
    assert (finished.code, finished.out) == (2, "")
    for words in told:
        assert words in finished.err
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("what", "name"), [("trimap", "trimap.png"), ("picture", "cat.png"), ("background", "wall.png")]
)
def test_force_never_overwrites_what_the_result_is_made_of(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], what: str, name: str
) -> None:
    Image.new("RGB", (8, 8), "white").save("wall.png")
    before = contents(folder)
    line = ("matting.onnx", "cat.png", "--trimap", "trimap.png", "--background", "wall.png", "-o", name)
    for flags in ((), ("--force",)):  # without it, too, --force must not be what is advised
        finished = run_here("fade-predict", *line, *flags, patch=monkeypatch, capture=capfd)
        assert finished.code == 2
        assert f"{name} is the {what} itself, expected another file to write" in finished.err
        assert contents(folder) == before


@pytest.mark.parametrize(
    ("save", "says"),
    [
        (lambda grey: Image.fromarray(np.where(np.isin(grey, (0, 255)), grey, 100)).save("t.png"), None),
        (lambda grey: Image.fromarray(grey // 2 + 9).save("t.png"), "leaves everything to decide"),
        (lambda grey: Image.fromarray(np.full_like(grey, 255)).save("t.png"), "leaves nothing to decide"),
        (lambda grey: Image.linear_gradient("L").resize(grey.shape[::-1]).save("t.png"), "grey levels, and all but 0"),
    ],
)
def test_a_trimap_that_looks_like_a_mistake_is_noted(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], save: Any, says: str | None
) -> None:
    save(scene(37, 50)[1])
    line = ("matting.onnx", "cat.png", "--trimap", "t.png", "-o", "a.png")
    finished = run_here("fade-predict", *line, patch=monkeypatch, capture=capfd)
    assert finished.code == 0
    assert says in finished.out if says else "note:" not in finished.out
