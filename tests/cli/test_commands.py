"""The commands as a user calls them: the API's results, one last line, exit codes, output that programs can read."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import fade_deploy
from fade_deploy.contract import METADATA_KEY
from tests.command_line import Finished, contents, run, run_here
from tests.conftest import TINY_CLASSES, Reproduced

ROOT = Path(__file__).parents[2]
COMMANDS = sorted(tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"])
SECONDS = r"\(\d+\.\d s\)"


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real photo, scaled to 60x40."""
    path = tmp_path_factory.mktemp("picture") / "coffee.png"
    Image.open(ROOT / "export" / "pictures" / "coffee.jpg").convert("RGB").resize((60, 40)).save(path)
    return path


def last_line(text: str) -> str:
    return text.splitlines()[-1]


def only_document(finished: Finished) -> dict[str, Any]:
    """Standard output as one JSON document; anything else there would not parse."""
    document: dict[str, Any] = json.loads(finished.out)
    return document


def with_facts(source: Path, target: Path, metadata: str) -> Path:
    """A copy of an exported file that says something else of itself."""
    model = onnx.load(source)
    for entry in model.metadata_props:
        if entry.key == METADATA_KEY:
            entry.value = metadata
    onnx.save(model, target)
    return target


def with_classes(source: Path, target: Path, classes: list[str]) -> Path:
    (entry,) = onnx.load(source).metadata_props
    return with_facts(source, target, json.dumps({**json.loads(entry.value), "classes": classes}))


# --- help and completion ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples_that_can_be_copied(command: str, tmp_path: Path) -> None:
    finished = run(command, "--help", cwd=tmp_path, environment={"COLUMNS": "100"})
    assert (finished.code, finished.err) == (0, "")
    assert f"Usage: {command} " in finished.out
    assert "Examples:" in finished.out
    assert len(re.findall(rf"^\W+{command} \S+", finished.out, re.MULTILINE)) >= 2
    for option in re.findall(r"--[a-z][a-z-]+", finished.out.partition("Examples:")[2].partition("Arguments")[0]):
        assert option in finished.out.partition("Options")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_works_in_bash(command: str, tmp_path: Path) -> None:
    words = Path(sys.executable).with_name(command)
    function = f"_{command.replace('-', '_')}_completion"
    script = f"""
    eval "$({words} --show-completion)"
    COMP_WORDS=({words} --hel); COMP_CWORD=1
    {function} {words}
    echo "${{COMPREPLY[@]}}"
    """
    finished = subprocess.run(
        ["bash", "--norc", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (finished.stdout, finished.stderr) == ("--help\n", "")


# --- fade-export -----------------------------------------------------------------------------------------------------


def test_export_prints_whole_tables_and_one_last_line(tiny_checkpoint: Path, tmp_path: Path) -> None:
    narrow = {"COLUMNS": "30"}  # must not matter: this is no terminal
    finished = run(
        "fade-export", tiny_checkpoint, "--shape", "1x3x32x32", "--verify", "quick", cwd=tmp_path, environment=narrow
    )
    assert finished.code == 0
    lines = finished.out.splitlines()
    assert re.fullmatch(
        rf"PASSED  tiny\.onnx  \d\.\d MB, opset 18, fade 1, sha256 [0-9a-f]{{12}}  {SECONDS}", lines[-1]
    )
    assert [line for line in lines if line.startswith(("PASSED", "FAILED"))] == lines[-1:]
    row = next(line for line in lines if "1x32x32" in line)
    assert re.search(r"standard operators.*\d\.\de-0\d.*64 of 64.*agrees", row)
    assert "294472 parameters" in finished.out  # whole, not 294k
    assert "…" not in finished.out
    assert "manifest: tiny.json" in lines
    assert not any("--verify full" in line for line in lines)  # a fixed shape has no others to compare
    # Progress goes to standard error, one plain line for each stage.
    stages = dict.fromkeys(line.partition(":")[0] for line in finished.err.splitlines())
    assert list(stages) == ["read", "export", "verify"]
    assert set(contents(tmp_path)) == {"tiny.onnx", "tiny.json"}


def test_export_with_json_prints_the_manifest_and_nothing_else(
    tiny_export: fade_deploy.ExportResult, tiny_export_reproduced: Reproduced
) -> None:
    finished = tiny_export_reproduced.finished
    assert only_document(finished) == {
        "status": "passed",
        "path": "tiny.onnx",
        "notes": list(tiny_export.notes),
        "manifest": tiny_export.document,
    }
    assert last_line(finished.err).startswith("PASSED  tiny.onnx  ")


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_a_disagreement_is_exit_code_1_and_another_name(
    tiny_checkpoint: Path,
    tmp_path: Path,
    as_json: bool,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    import fade_deploy.api.export.verified_file as module

    class Wrong(module.EagerRunner):
        """A reference that is a hundredth off in one class: as if the file were."""

        def infer_impl(self, feed_dict: Any) -> Any:
            outputs = super().infer_impl(feed_dict)
            outputs["logits"][:, 1] += 0.01
            return outputs

    monkeypatch.setattr(module, "EagerRunner", Wrong)
    monkeypatch.chdir(tmp_path)
    arguments = [str(tiny_checkpoint), "--shape", "1x32x32", "-q", *(["--json"] if as_json else [])]
    finished = run_here("fade-export", *arguments, patch=monkeypatch, capture=capfd)
    assert finished.code == 1
    assert set(contents(tmp_path)) == {"tiny.unverified.onnx", "tiny.unverified.json"}
    if as_json:
        document = only_document(finished)
        assert document["status"] == "failed"
        assert document["path"] == "tiny.unverified.onnx"
        assert document["manifest"]["passed"] is False
        verdict = finished.err
    else:
        assert re.search(r"│ 1x32x32 .*DISAGREES", finished.out)
        assert "the runtimes disagree: the file is kept under another name" in finished.out
        assert finished.err == ""
        verdict = last_line(finished.out) + "\n"
    assert re.fullmatch(rf"FAILED  tiny\.unverified\.onnx  .*{SECONDS}\n", verdict)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_export_leaves_nothing(
    tiny_checkpoint: Path, tmp_path: Path, sent: signal.Signals, code: int
) -> None:
    words = [str(Path(sys.executable).with_name("fade-export")), str(tiny_checkpoint), "--shape", "1x32x32"]
    with subprocess.Popen(
        words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("read: ")
        process.send_signal(sent)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert out == ""
    assert re.fullmatch(rf"FAILED  interrupted; nothing was replaced  {SECONDS}", last_line(err))
    assert "Traceback" not in err
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "json"])
def test_a_bug_of_ours_has_its_own_exit_code_and_keeps_its_traceback(
    arguments: list[str],
    tiny_onnx: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise KeyError("some bug")

    monkeypatch.setattr("fade_deploy.api.inspect.inspect", broken)
    finished = run_here("fade-inspect", tiny_onnx, *arguments, patch=monkeypatch, capture=capfd)
    assert finished.code == 70  # 1 would say that runtimes disagree
    assert "KeyError: 'some bug'" in finished.err
    assert last_line(finished.err).startswith("FAILED  this is a bug of fade-deploy")
    if arguments:
        assert only_document(finished)["status"] == "error"


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "json"])
def test_a_reader_that_leaves_early_is_no_failure(arguments: list[str], tiny_onnx: Path, tmp_path: Path) -> None:
    words = [Path(sys.executable).with_name("fade-inspect"), tiny_onnx, *arguments]
    with subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")


# --- fade-inspect ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["checkpoint", "onnx"])
def test_inspect_says_what_the_api_says(kind: str, tiny_checkpoint: Path, tiny_onnx: Path, tmp_path: Path) -> None:
    path = tiny_checkpoint if kind == "checkpoint" else tiny_onnx
    document = fade_deploy.inspect(path)
    finished = run("fade-inspect", path, "--json", cwd=tmp_path)
    assert finished.code == 0
    assert only_document(finished) == json.loads(json.dumps({"status": "passed", **document}))
    assert re.fullmatch(rf"PASSED  {re.escape(str(path))}  {SECONDS}\n", finished.err)

    assert document["kind"] == kind
    assert document["classes"] == list(TINY_CLASSES)
    assert (document["backbone"], document["upsampler"], document["parameters"]) == ("custom MiT", "fade", 294472)
    assert contents(tmp_path) == {}


def test_inspect_of_a_file_agrees_with_its_checkpoint(tiny_checkpoint: Path, tiny_onnx: Path) -> None:
    checkpoint, exported = fade_deploy.inspect(tiny_checkpoint), fade_deploy.inspect(tiny_onnx)
    for key in ("task", "model", "backbone", "upsampler", "kernel_size", "classes", "parameters", "macs", "recipe"):
        assert checkpoint[key] == exported[key]
    assert exported["checkpoint_sha256"] == checkpoint["sha256"]
    assert exported["inputs"] == ["image float [batch, 3, height, width]"]
    assert exported["outputs"] == ["logits float [batch, 4, height/4, width/4]"]
    assert exported["opsets"] == {"ai.onnx": 18, "fade": 1}
    fade_nodes = {name: count for name, count in exported["nodes"].items() if name.startswith("fade.")}
    assert fade_nodes == {"fade.FadeUpsample": 3, "fade.FadeHead": 1}  # the head is three of its six slots
    assert {name.removeprefix("fade.") for name in fade_nodes} == set(exported["functions"])


def test_inspect_prints_one_row_a_fact_and_whole_integers(tiny_onnx: Path, tmp_path: Path) -> None:
    finished = run("fade-inspect", tiny_onnx, cwd=tmp_path, environment={"COLUMNS": "30"})
    assert (finished.code, finished.err) == (0, "")
    rows = dict(re.findall(r"^│ (\S+) +│ (.*?) *│$", finished.out, re.MULTILINE))
    assert rows["classes"] == "4: sky, sea, sand, rock"
    assert rows["parameters"] == "294472"
    assert rows["bytes"] == str(tiny_onnx.stat().st_size)
    assert re.fullmatch(r"\d{10} at 512x512", rows["macs"])
    assert len(rows["sha256"]) == 64
    assert re.fullmatch(rf"PASSED  {re.escape(str(tiny_onnx))}  {SECONDS}", last_line(finished.out))


def test_inspect_counts_the_macs_of_the_asked_size(tiny_checkpoint: Path, tmp_path: Path) -> None:
    finished = run("fade-inspect", tiny_checkpoint, "--shape", "1x3x256x512", "--json", cwd=tmp_path)
    macs = only_document(finished)["macs"]
    whole = fade_deploy.inspect(tiny_checkpoint)["macs"]["count"]
    assert (macs["height"], macs["width"]) == (256, 512)
    assert 0.4 < macs["count"] / whole < 0.55  # half the pixels, but for attention, which is more than linear


@pytest.mark.parametrize(
    "metadata",
    ["[]", "not JSON", "3", '{"classes": 3, "macs": "many", "kind": "checkpoint", "sha256": "0", "x": null}'],
)
def test_inspect_survives_what_a_file_says_of_itself(metadata: str, tiny_onnx: Path, tmp_path: Path) -> None:
    path = with_facts(tiny_onnx, tmp_path / "odd.onnx", metadata)
    finished = run("fade-inspect", path, cwd=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    document = fade_deploy.inspect(path)
    assert document["kind"] == "onnx"
    assert len(document["sha256"]) == 64  # measured, not claimed
    if not metadata.startswith("{"):
        assert "note: no fade-deploy metadata: this file was not written by fade-export" in finished.out


def test_names_are_printed_as_they_are(tiny_onnx: Path, tmp_path: Path) -> None:
    path = with_classes(tiny_onnx, tmp_path / "names.onnx", [":car:", "[red]sea", "ciel étoilé", "空"])
    finished = run("fade-inspect", path, cwd=tmp_path, environment={"PYTHONIOENCODING": "utf-8"})
    assert "4: :car:, [red]sea, ciel étoilé, 空" in finished.out


@pytest.mark.parametrize("arguments", [[], ["--json"]], ids=["text", "json"])
def test_names_that_the_terminal_can_not_show_are_no_failure(
    arguments: list[str], tiny_onnx: Path, tmp_path: Path
) -> None:
    path = with_classes(tiny_onnx, tmp_path / "names.onnx", ["é", "空", "🚗", "d"])
    finished = run("fade-inspect", path, *arguments, cwd=tmp_path, environment={"PYTHONIOENCODING": "ascii"})
    assert finished.code == 0
    if arguments:
        assert only_document(finished)["classes"] == ["é", "空", "🚗", "d"]
    else:
        assert r"4: \xe9, \u7a7a, \U0001f697, d" in finished.out


# --- fade-predict ----------------------------------------------------------------------------------------------------


def test_predict_writes_the_labels_of_the_predictor(tiny_onnx: Path, picture: Path, tmp_path: Path) -> None:
    finished = run("fade-predict", tiny_onnx, picture, "-o", "mask.png", cwd=tmp_path)
    assert (finished.code, finished.err) == (0, "")
    assert re.fullmatch(rf"PASSED  mask\.png  60x40, \d+\.\d\d s predicting  {SECONDS}", last_line(finished.out))
    labels = fade_deploy.Predictor(tiny_onnx).predict(np.asarray(Image.open(picture)))
    assert len(np.unique(labels)) > 1  # else this would show little
    with Image.open(tmp_path / "mask.png") as mask:
        assert (mask.mode, mask.size) == ("P", (60, 40))
        np.testing.assert_array_equal(np.asarray(mask), labels)
    shares = dict(re.findall(r"^│ (\w+) +│ ([\d.]+)% +│$", finished.out, re.MULTILINE))
    for name, share in shares.items():
        assert float(share) == pytest.approx(100 * (labels == TINY_CLASSES.index(name)).mean(), abs=0.051)
    assert set(contents(tmp_path)) == {"mask.png"}


def test_predict_does_what_the_api_does(tiny_onnx: Path, picture: Path, tmp_path: Path) -> None:
    ours = fade_deploy.predict(tiny_onnx, picture, tmp_path / "api.png", overlay=True, threads=1)
    finished = run("fade-predict", tiny_onnx, picture, "--overlay", "--threads", "1", "--json", cwd=tmp_path)
    assert finished.code == 0
    assert last_line(finished.err).startswith("PASSED  coffee.overlay.png  ")
    assert (tmp_path / "coffee.overlay.png").read_bytes() == (tmp_path / "api.png").read_bytes()
    document = only_document(finished)
    assert document.pop("seconds") > 0
    assert document == {
        "status": "passed",
        "output": "coffee.overlay.png",
        "height": 40,
        "width": 60,
        "shares": ours.shares,
        "notes": [],
    }
    assert sum(ours.shares.values()) == pytest.approx(1)
    assert list(ours.shares.values()) == sorted(ours.shares.values(), reverse=True)


def test_predict_replaces_with_force(tiny_onnx: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "coffee.labels.png").write_bytes(b"old")
    finished = run("fade-predict", tiny_onnx, picture, "--force", cwd=tmp_path)
    assert finished.code == 0
    assert (tmp_path / "coffee.labels.png").read_bytes().startswith(b"\x89PNG")


def test_relative_paths_are_taken_from_the_current_folder(tiny_onnx: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    shutil.copy(tiny_onnx, tmp_path / "model.onnx")
    shutil.copy(picture, tmp_path / "deep" / "photo.png")
    arguments = (os.path.join("..", "model.onnx"), "photo.png")  # noqa: PTH118 (as it is typed)
    finished = run("fade-predict", *arguments, cwd=tmp_path / "deep")
    assert finished.code == 0
    assert (tmp_path / "deep" / "photo.labels.png").is_file()
