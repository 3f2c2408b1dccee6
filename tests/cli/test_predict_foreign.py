"""``fade-predict`` and ``fade-inspect`` with files that lie: exit code 2 and one line, never a traceback or garbage."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.command_line import contents, run_here
from tests.serve.foreign_file import MATTING, SEGMENTATION, foreign_file

IMAGE, TRIMAP = "float[n,3,h,w] image", "float[n,1,h,w] trimap"
EMBEDDED = {"embed_preprocess": True}
LABELS, PROBS = {"head": "labels"}, {"head": "probs"}
WHOLE = f"({IMAGE}, {TRIMAP}) => (float[n,1,h,w] alpha) {{ alpha = Identity(trimap) }}"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a picture of 20x30 pixels and its trimap."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (30, 20, 3), np.uint8)).save("cat.png")
    Image.fromarray(rng.choice(np.array([0, 128, 255], np.uint8), (30, 20))).save("trimap.png")
    return tmp_path


def refused(line: str, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> str:
    """The one line of a command that must end with exit code 2, change nothing and warn of nothing."""
    before = contents(folder)
    command, *arguments = line.split()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finished = run_here(command, *arguments, patch=monkeypatch, capture=capfd)
    assert re.fullmatch(r"FAILED  [^\n]+  \(\d+\.\d s\)\n", finished.err), finished.err
    assert finished.err.rstrip("\n").isprintable()
    assert (finished.code, finished.out) == (2, "")
    assert contents(folder) == before
    return finished.err


# What the file is but for the lie, so that no case fails for another reason.
HONEST = [
    ("alpha = Identity(trimap)", MATTING),
    (WHOLE, MATTING),
    ("logits = Identity(image)", SEGMENTATION),
    ("probs = Softmax<axis = 1>(image)", SEGMENTATION | PROBS),
    (f"({IMAGE}) => (int64[] labels) {{ labels = ArgMax<axis = 1, keepdims = 0>(image) }}", SEGMENTATION | LABELS),
]


@pytest.mark.parametrize(("text", "facts"), HONEST)
def test_an_honest_file_of_that_kind_predicts(
    text: str,
    facts: dict[str, Any],
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    foreign_file(folder / "m.onnx", text, facts=facts)
    trimap = ["--trimap", "trimap.png"] if facts["task"] == "matting" else []
    finished = run_here("fade-predict", "m.onnx", "cat.png", *trimap, patch=monkeypatch, capture=capfd)
    assert (finished.code, finished.err) == (0, "")


@pytest.mark.parametrize(
    ("text", "changes", "told"),
    [
        # Inputs.
        (
            f"(double[n,3,h,w] image, {TRIMAP}) => (float[] alpha) {{ alpha = Identity(trimap) }}",
            {},
            "input 'image' of tensor(double), expected tensor(float)",
        ),
        (
            f"({IMAGE}, uint8[n,1,h,w] trimap) => (float[] alpha) {{ alpha = Cast<to = 1>(trimap) }}",
            {},
            "input 'trimap' of tensor(uint8), expected tensor(float)",
        ),
        ("alpha = Identity(trimap)", EMBEDDED, "input 'image' of tensor(float), expected tensor(uint8)"),
        (
            f"(float[n,4,h,w] image, {TRIMAP}) => (float[] alpha) {{ alpha = Identity(trimap) }}",
            {},
            "input 'image' of 4 channels, expected 3",
        ),
        (
            f"({IMAGE}, float[n,3,h,w] trimap) => (float[] alpha) {{ alpha = ReduceMax<axes = [1]>(trimap) }}",
            {},
            "input 'trimap' of 3 channels, expected 1",
        ),
        (
            f"({IMAGE}, float[n,h,w] trimap) => (float[] alpha) {{ alpha = Identity(trimap) }}",
            {},
            "input 'trimap' of 3 axes, expected 4",
        ),
        (
            "(float[n,3,32,32] image, float[n,1,48,32] trimap) => (float[] alpha) { alpha = Identity(trimap) }",
            {},
            "has inputs of different sizes, expected equal ones",
        ),
        (
            f"({IMAGE}, float[n,1,32,32] trimap) => (float[] alpha) {{ alpha = Identity(trimap) }}",
            {},
            "has inputs of different sizes, expected equal ones",
        ),
        (
            f"({IMAGE}, float[2,1,h,w] trimap) => (float[] alpha) {{ alpha = Identity(trimap) }}",
            {},
            "takes batches of 2 pictures, expected 1 or any",
        ),
        (
            "(float[1,3,200000,200000] image, float[1,1,200000,200000] trimap) => (float[] alpha) "
            "{ alpha = Identity(trimap) }",
            {},
            "a side of 200000, expected 1 to 65536 pixels",
        ),
        (
            "(float[1,3,0,32] image, float[1,1,0,32] trimap) => (float[] alpha) { alpha = Identity(trimap) }",
            {},
            "a side of 0, expected 1 to 65536 pixels",
        ),
        # What it computes.
        (
            f"({IMAGE}, {TRIMAP}) => (float[] alpha) <int64[2] size = {{7, 7}}> {{ alpha = Reshape(trimap, size) }}",
            {},
            "can't be run by onnxruntime",
        ),
        # What it returns.
        ("alpha = Flatten(trimap)", {}, "returned [1, 1024] as 'alpha', expected [1, 1, 32, 32]"),
        ("alpha = Squeeze(trimap)", {}, "returned [32, 32] as 'alpha', expected [1, 1, 32, 32]"),
        (
            "alpha = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(trimap)",
            {},
            "returned [1, 1, 16, 16] as 'alpha', expected [1, 1, 32, 32]",
        ),
        ("alpha = Identity(image)", {}, "returned [1, 3, 32, 32] as 'alpha', expected [1, 1, 32, 32]"),
        (
            f"({IMAGE}, {TRIMAP}) => (double[] alpha) {{ alpha = Cast<to = 11>(trimap) }}",
            {},
            "output 'alpha' of tensor(double), expected tensor(float)",
        ),
        (
            f"({IMAGE}, {TRIMAP}) => (seq(float[n,1,h,w]) alpha) {{ alpha = SequenceConstruct(trimap) }}",
            {},
            "output 'alpha' of seq(tensor(float)), expected tensor(float)",
        ),
        ("zero = Sub(trimap, trimap) alpha = Div(zero, zero)", {}, "returned NaN or infinity for this picture"),
        # What it says of itself.
        ("alpha = Identity(trimap)", {"mean": [int("9" * 400), 0, 0]}, "'mean' is [9999999999999999"),
        ("alpha = Identity(trimap)", {"mean": [0, 1e39, 0]}, "'mean' is [0, 1e+39, 0], expected three numbers"),
        ("alpha = Identity(trimap)", {"std": [1, 1, 1e-320]}, "expected three numbers from 1e-15 to 1e+15"),
        ("alpha = Identity(trimap)", {"std": [1, 1, -(10**400)]}, "expected three numbers from 1e-15 to 1e+15"),
        ("alpha = Identity(trimap)", {"std": [float("nan"), 1, 1]}, "'std' is [NaN, 1, 1], expected three numbers"),
    ],
)
def test_a_foreign_matting_file_is_one_line(
    text: str,
    changes: dict[str, Any],
    told: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    foreign_file(folder / "m.onnx", text, **changes)
    line = refused("fade-predict m.onnx cat.png --trimap trimap.png", folder, monkeypatch, capfd)
    assert told in line
    assert "export it" in line


@pytest.mark.parametrize(
    ("text", "changes", "told"),
    [
        (
            "(double[n,3,h,w] image) => (float[] logits) { logits = Cast<to = 1>(image) }",
            {},
            "input 'image' of tensor(double), expected tensor(float)",
        ),
        (
            "(float[n,4,h,w] image) => (float[] logits) <int64[3] rgb = {0, 1, 2}> "
            "{ logits = Gather<axis = 1>(image, rgb) }",
            {},
            "input 'image' of 4 channels, expected 3",
        ),
        (
            "(float[1,3,200000,200000] image) => (float[] logits) { logits = Identity(image) }",
            {},
            "a side of 200000, expected 1 to 65536 pixels",
        ),
        (
            f"({IMAGE}) => (float[] logits) <int64[3] far = {{7, 8, 9}}> {{ logits = Gather<axis = 1>(image, far) }}",
            {},
            "can't be run by onnxruntime",
        ),
        ("logits = Flatten(image)", {}, "as 'logits', expected [1, 3, any, any]"),
        ("logits = Concat<axis = 1>(image, image)", {}, "has 6 outputs and names 3 classes"),
        (
            "probs = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(image)",
            PROBS,
            "returned [1, 3, 24, 16] as 'probs', expected [1, 3, 48, 32]",
        ),
        ("zero = Sub(image, image) logits = Div(zero, zero)", {}, "returned NaN or infinity for this picture"),
        ("labels = Identity(image)", LABELS, "output 'labels' of tensor(float), expected tensor(int64)"),
        (
            f"({IMAGE}) => (int64[] labels) {{ labels = ArgMax<axis = 1>(image) }}",
            LABELS,
            "returned [1, 1, 48, 32] as 'labels', expected [1, 48, 32]",
        ),
        (
            f"({IMAGE}) => (int64[] labels) <int64 more = {{70000}}> "
            "{ best = ArgMax<axis = 1, keepdims = 0>(image) labels = Add(best, more) }",
            LABELS,
            "returned labels from 70000 to 70002, expected 0 to 2",
        ),
        (
            f"({IMAGE}) => (int64[] labels) <int64 more = {{-1}}> "
            "{ best = ArgMax<axis = 1, keepdims = 0>(image) labels = Add(best, more) }",
            LABELS,
            "returned labels from -1 to 1, expected 0 to 2",
        ),
        ("logits = Identity(image)", {"classes": []}, "'classes' is [], expected a list of 1 to 65536 names"),
        ("logits = Identity(image)", {"std": [1e-320, 1, 1]}, "expected three numbers from 1e-15 to 1e+15"),
    ],
)
def test_a_foreign_segmentation_file_is_one_line(
    text: str,
    changes: dict[str, Any],
    told: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    foreign_file(folder / "m.onnx", text, facts=SEGMENTATION, **changes)
    line = refused("fade-predict m.onnx cat.png", folder, monkeypatch, capfd)
    assert told in line
    assert "export it" in line


def test_a_module_of_the_user_is_named_as_one(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    foreign_file(
        folder / "m.onnx",
        facts={"task": "module", "model": "Mine"},
        text="(float[n] x) => (float[n] y) { y = Identity(x) }",
    )
    line = refused("fade-predict m.onnx cat.png", folder, monkeypatch, capfd)
    assert "m.onnx is a user's own module (fade_deploy.export_module)" in line
    assert "run it with onnxruntime" in line
    assert "export it" not in line


# --- what a terminal would obey ----------------------------------------------------------------------------------

TITLE = "\x1b]0;pwned\x07"  # sets the window's title
EVIL = (
    f"x{TITLE}\n\x9b2J\u202ey"  # and clears the screen, by a control character above ASCII, and turns the text around
)


def test_inspecting_shows_control_characters_and_does_not_send_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    foreign_file(folder / "m.onnx", WHOLE, **{f"key{TITLE}": EVIL, "classes": [EVIL], "versions": {EVIL: EVIL}})
    finished = run_here("fade-inspect", "m.onnx", patch=monkeypatch, capture=capfd)
    assert (finished.code, finished.err) == (0, "")
    assert all(line.isprintable() for line in finished.out.split("\n"))
    assert r"key\u001b]0;pwned\u0007" in finished.out
    assert r"x\u001b]0;pwned\u0007\n\u009b2J\u202ey" in finished.out


def test_the_json_of_an_inspection_is_safe_and_means_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    foreign_file(folder / "m.onnx", WHOLE, note=EVIL, place="日本")
    finished = run_here("fade-inspect", "m.onnx", "--json", patch=monkeypatch, capture=capfd)
    assert all(line.isprintable() for line in finished.out.split("\n"))
    document = json.loads(finished.out)
    assert (document["note"], document["place"]) == (EVIL, "日本")


def test_predicting_shows_control_characters_and_does_not_send_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    foreign_file(folder / "m.onnx", "logits = Identity(image)", facts=SEGMENTATION, classes=[EVIL] * 3)
    finished = run_here("fade-predict", "m.onnx", "cat.png", patch=monkeypatch, capture=capfd)
    assert (finished.code, finished.err) == (0, "")
    assert all(line.isprintable() for line in finished.out.split("\n"))
    assert r"x\u001b]0;pwned\u0007\n\u009b2J\u202ey" in finished.out


def test_a_failure_shows_control_characters_and_does_not_send_them(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = foreign_file(folder / "m.onnx")
    path.write_bytes(path.read_bytes().replace(b"image", b"\x1b[2Ja"))
    line = refused("fade-predict m.onnx cat.png --trimap trimap.png", folder, monkeypatch, capfd)
    assert r"has the inputs \u001b[2Ja, trimap" in line


def test_an_element_type_beyond_onnx_is_shown_as_a_number(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(foreign_file(folder / "m.onnx", WHOLE))
    model.graph.input[0].type.tensor_type.elem_type = 99
    onnx.save(model, folder / "m.onnx")
    finished = run_here("fade-inspect", "m.onnx", "--json", patch=monkeypatch, capture=capfd)
    assert finished.code == 0
    assert json.loads(finished.out)["inputs"][0] == "image type 99 [n, 3, h, w]"
