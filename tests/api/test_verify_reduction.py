"""Every command that a verification names shows the same again, down to the smallest size that fails."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path
from typing import Any

import pytest

from fade_deploy.api.verify.options import VerifyOptions, backends, shapes_of
from fade_deploy.api.verify.verify import verify
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import NONE
from fade_deploy.verification.verification import Verification
from tests.api.conftest import StandIn


@pytest.fixture(scope="module")
def disagreeing(tiny_checkpoint: Path, changed_onnx: Path) -> Verification:
    options = VerifyOptions(shapes=(Shape(1, 32, 32), Shape(2, 64, 96)), seed=7, library=NONE)
    return verify([tiny_checkpoint, changed_onnx], options)


def test_a_changed_weight_fails_with_its_reason(disagreeing: Verification) -> None:
    assert not disagreeing.passed
    assert disagreeing.worst is not None
    assert disagreeing.worst.reason.startswith("max error ")


def test_the_command_shows_the_same_error_again(disagreeing: Verification) -> None:
    assert disagreeing.worst is not None
    again = verified_by(disagreeing.command)
    assert [found.input for found in again.comparisons] == [disagreeing.worst.input]
    assert again.worst is not None
    assert again.worst.measures == disagreeing.worst.measures
    assert disagreeing.reduced is not None
    smallest = verified_by(disagreeing.reduced.command)
    assert not smallest.passed
    assert [used.shape for used in smallest.inputs] == [disagreeing.reduced.shape]


def verified_by(command: str) -> Verification:
    """Run a command line's options through the API."""
    program, *words = shlex.split(command)
    assert program == "fade-verify"
    files, options = [], {}
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            options[word] = next(rest)
        else:
            files.append(word)
    return verify(
        files,
        VerifyOptions(
            on=backends(options.get("--on", "cpu")),
            shapes=shapes_of(options.get("--shapes", "")),
            seed=int(options["--seed"]) if "--seed" in options else None,
            images=Path(options["--images"]) if "--images" in options else None,
            tolerance=options.get("--tolerance", ""),
            library=options.get("--library", "auto"),
        ),
    )


def test_the_command_leaves_out_what_was_for_another_file(
    tiny_checkpoint: Path, changed_onnx: Path, engine: StandIn
) -> None:
    options = VerifyOptions(shapes=(Shape(1, 64, 64),), library=NONE, plugin="mine.so")
    result = verify([tiny_checkpoint, changed_onnx, engine.path], options)
    assert [found.passed for found in result.comparisons] == [False, True]
    assert "--plugin" not in result.command
    strict = dataclasses.replace(options, tolerance="0")
    assert "--plugin mine.so" in verify([tiny_checkpoint, engine.path], strict).command


def test_a_fault_of_large_sizes_is_reduced_to_the_smallest(
    tiny_onnx: Path, tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fade_deploy.api.verify.runners import Candidate

    run = Candidate.run_on

    def wrong_from_96_on(self: Candidate, tensors: Any) -> Any:
        outputs = dict(run(self, tensors))
        if self.run.name == "tiny.onnx cpu" and tensors["image"].shape[3] >= 96:
            outputs["logits"] = outputs["logits"] + 1
        return outputs

    monkeypatch.setattr(Candidate, "run_on", wrong_from_96_on)
    result = verify([tiny_onnx, tiny_checkpoint], VerifyOptions(shapes=(Shape(2, 64, 160),), library=NONE))
    assert result.reduced is not None
    assert str(result.reduced.shape) == "1x32x96"
    assert "--shapes 1x32x96" in result.reduced.command


def test_a_runtime_that_keeps_something_between_sizes_is_told_so(
    tiny_onnx: Path, changed_onnx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As OpenVINO 2026.4.1 does: what a dynamic file gives depends on the sizes that it ran at before."""
    from polygraphy.backend.onnxrt import OnnxrtRunner

    from fade_deploy.api.verify import subjects as verify_subjects
    from fade_deploy.api.verify.runners import Candidate
    from fade_deploy.runtimes.ort import session_from_onnx

    run, candidates_of = Candidate.run_on, verify_subjects.candidates_of
    widths: dict[int, set[int]] = {}

    def forgetful(self: Candidate, tensors: Any) -> Any:
        outputs = dict(run(self, tensors))
        before = widths.setdefault(id(self.runner), set())
        if self.renewed is not None and before - {tensors["image"].shape[3]}:
            outputs["logits"] = outputs["logits"] + 1
        before.add(tensors["image"].shape[3])
        return outputs

    def again() -> Any:
        return OnnxrtRunner(session_from_onnx(tiny_onnx, library=NONE), name="again")

    def renewable(one: Any, *more: Any) -> list[Candidate]:
        found = candidates_of(one, *more)
        if one.path != changed_onnx:
            return found
        return [dataclasses.replace(each, runner=again(), renewed=again) for each in found]

    monkeypatch.setattr(Candidate, "run_on", forgetful)
    monkeypatch.setattr(verify_subjects, "candidates_of", renewable)
    shapes = (Shape(1, 32, 32), Shape(1, 32, 64), Shape(1, 32, 96))
    result = verify([tiny_onnx, changed_onnx], VerifyOptions(shapes=shapes, library=NONE))
    assert [found.passed for found in result.comparisons] == [True, False, False]
    assert result.reduced is None
    assert "--shapes 1x32x32,1x32x64" in result.command
    assert "alone, and wrong after other sizes" in result.notes[-1]
