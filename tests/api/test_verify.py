"""A verification finds what was planted, and nothing where nothing was."""

from __future__ import annotations

import errno
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fade_deploy.api.verify.options import Backend, VerifyOptions
from fade_deploy.api.verify.verify import verify
from fade_deploy.errors import InputError, OutputError
from fade_deploy.recipe import Shape, load_recipe
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary
from fade_deploy.verification.verification import Verification
from tests.api.conftest import StandIn
from tests.api.planted_faults import with_one_size, with_weights
from tests.serve.matting_file import matting_file

SMALL = VerifyOptions(shapes=(Shape(1, 32, 32), Shape(2, 64, 96)))


@pytest.fixture(scope="module")
def agreeing(tiny_checkpoint: Path, tiny_onnx: Path) -> Verification:
    return verify([tiny_onnx, tiny_checkpoint], SMALL)


# --- who is compared with whom ---------------------------------------------------------------------------------------


def test_the_checkpoint_is_the_reference_wherever_it_stands(agreeing: Verification, tiny_checkpoint: Path) -> None:
    assert agreeing.reference.file == str(tiny_checkpoint)
    assert agreeing.reference.runtime.startswith("PyTorch ")
    assert agreeing.reference.tolerance == ""
    ways = ["tiny.onnx cpu", *(["tiny.onnx cpu native"] if NativeLibrary.ONNXRUNTIME_CPU.installed else [])]
    assert [run.name for run in agreeing.runs] == ways
    assert {run.tolerance for run in agreeing.runs} == {"ORT_CPU_FP32"}


def test_every_run_is_compared_on_every_input_with_every_number(agreeing: Verification) -> None:
    assert agreeing.passed
    pairs = [(found.input, found.run) for found in agreeing.comparisons]
    assert pairs == [(used.name, run.name) for used in agreeing.inputs for run in agreeing.runs]
    for found in agreeing.comparisons:
        assert found.measures is not None
        assert 0 < found.measures.max_error < 1e-4
        assert found.measures.cosine > 0.999999
        assert found.measures.psnr > 80
        assert found.agreement is not None
        assert found.agreement.labels_compared == found.agreement.labels_agreeing != 0
    assert (agreeing.command, agreeing.reduced) == ("", None)


def test_without_a_checkpoint_the_first_file_is_the_reference(tiny_onnx: Path, changed_onnx: Path) -> None:
    result = verify([tiny_onnx, changed_onnx], VerifyOptions(shapes=(Shape(1, 32, 32),), library=NONE))
    assert result.reference.name == "tiny.onnx cpu"
    assert [run.name for run in result.runs] == ["changed.onnx cpu"]
    assert not result.passed


def test_the_reference_evaluator_runs_the_same_file(tiny_onnx: Path) -> None:
    options = VerifyOptions(
        on=(Backend.CPU, Backend.REFERENCE), shapes=(Shape(1, 32, 32),), library=NONE, tolerance="ORT_CPU_FP32"
    )
    result = verify([tiny_onnx], options)
    assert [run.name for run in result.runs] == ["tiny.onnx reference"]
    assert result.passed
    strict = VerifyOptions(on=options.on, shapes=options.shapes, library=NONE, tolerance="0")
    assert "--on cpu,reference" in verify([tiny_onnx], strict).command  # the reference's backend, too


def test_openvino_runs_the_same_file(tiny_onnx: Path) -> None:
    pytest.importorskip("openvino", reason="openvino is not installed")
    options = VerifyOptions(on=(Backend.CPU, Backend.OPENVINO), shapes=(Shape(1, 32, 32),), library=NONE)
    assert verify([tiny_onnx], options).passed


def test_an_engine_is_a_run_of_its_own_within_its_profile(tiny_onnx: Path, engine: StandIn) -> None:
    result = verify([tiny_onnx, engine.path], VerifyOptions(library=NONE))
    assert result.passed
    assert [(run.name, run.runtime) for run in result.runs] == [("tiny.engine engine", "tensorrt 11.4")]
    shapes = {str(used.shape) for used in result.inputs}
    assert {"1x64x64", "2x64x96", "2x96x96"} <= shapes  # the edges of the profile
    with pytest.raises(InputError, match="expected 1x64x64 to 2x96x96, height and width multiples of 32"):
        verify([tiny_onnx, engine.path], SMALL)


def test_an_engine_gets_its_plugin_and_no_library_of_onnx_runtime(tiny_onnx: Path, engine: StandIn) -> None:
    shapes = (Shape(1, 64, 64),)
    verify([tiny_onnx, engine.path], VerifyOptions(shapes=shapes, library=NONE))
    verify([tiny_onnx, engine.path], VerifyOptions(shapes=shapes, library=NONE, plugin="mine.so"))
    assert engine.plugins == [AUTOMATIC, "mine.so"]


@pytest.mark.parametrize(
    ("metadata", "says"),
    [({"task": "module"}, "is of a user's own module"), ({}, "the manifest of tiny.engine does not describe its")],
)
def test_an_engine_of_another_model_is_one_line(
    metadata: Any, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fade_deploy.runtimes import engine

    loaded = SimpleNamespace(manifest={"metadata": metadata}, runner=None)
    monkeypatch.setattr(engine, "load_engine", lambda path, *, plugin: loaded)
    with pytest.raises(InputError, match=says):
        verify(["tiny.engine", tmp_path / "x.pth"])


def test_a_file_without_our_operators_is_not_run_with_a_library(tmp_path: Path) -> None:
    """Whatever its metadata says, which a model without FADE has, too."""
    files = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        files.append(matting_file(tmp_path / name, operators="fade 1"))
    library = tmp_path / "library.so"
    library.touch()
    with pytest.raises(InputError, match=r"has no fade operator, so --library .* does nothing"):
        verify(files, VerifyOptions(library=str(library)))
    result = verify(files, VerifyOptions(shapes=(Shape(1, 16, 32),)))
    assert [run.name for run in result.runs] == [f"{files[1]} cpu"]


# --- on what ---------------------------------------------------------------------------------------------------------


def test_the_recipes_shapes_are_covered_where_none_are_asked_for(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    from fade_deploy.api.verify.batches import Batches
    from fade_deploy.api.verify.subjects import opened

    options = VerifyOptions(library=NONE)
    batches = Batches(opened([str(tiny_onnx), str(tiny_checkpoint)], options).interface, options)
    assert batches.interface.shapes == load_recipe("segformer").full


def test_a_seed_gives_the_same_inputs_every_time(tiny_onnx: Path, changed_onnx: Path) -> None:
    options = VerifyOptions(shapes=(Shape(1, 32, 64),), seed=3, library=NONE)
    one, other = (verify([tiny_onnx, changed_onnx], options) for _ in range(2))
    assert one.as_dict() == other.as_dict()
    assert one.inputs[0].source == "seed 3"
    another = verify([tiny_onnx, changed_onnx], VerifyOptions(shapes=(Shape(1, 32, 64),), seed=4, library=NONE))
    assert another.comparisons[0].measures != one.comparisons[0].measures


def test_pictures_are_kept_with_what_each_run_made_of_them(agreeing: Verification) -> None:
    kept = agreeing.inputs[1].kept
    assert kept is not None
    assert (kept.picture.shape, kept.picture.dtype) == ((64, 96, 3), np.uint8)
    assert list(kept.results) == [agreeing.reference.name, *(run.name for run in agreeing.runs)]
    for labels in kept.results.values():
        assert (labels.shape, labels.dtype) == ((16, 24), np.uint16)
    assert kept.errors[agreeing.runs[0].name].max() < 1e-4


# --- what is found ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "change", "reason"),
    [
        ("decode_head.classes.bias", lambda values: values * math.nan, "NaN"),
        ("decode_head.classes.bias", lambda values: np.float32([1e9, 0, 0, 0]), "says one thing everywhere"),
    ],
)
def test_nan_and_collapse_are_named(
    tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path, name: str, change: Any, reason: str
) -> None:
    broken = with_weights(tiny_onnx, tmp_path / "broken.onnx", {name: change})
    result = verify([tiny_checkpoint, broken], VerifyOptions(shapes=(Shape(1, 64, 64),), library=NONE))
    assert not result.passed
    assert reason in result.comparisons[0].reason
    json.dumps(result.as_dict(), allow_nan=False)


def test_a_run_that_fails_is_a_result(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    dead = with_one_size(tiny_onnx, tmp_path / "dead.onnx")
    options = VerifyOptions(shapes=(Shape(1, 32, 32), Shape(1, 64, 96)), library=NONE)
    result = verify([tiny_checkpoint, dead], options)
    assert [found.passed for found in result.comparisons] == [True, False]
    assert result.comparisons[1].reason.startswith("can't run it: ")
    assert result.comparisons[1].agreement is None
    assert result.worst is result.comparisons[1]
    assert result.reduced is not None
    assert str(result.reduced.shape) in ("1x32x64", "1x64x32")


def test_another_checkpoint_is_noted(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    import torch

    container = torch.load(tiny_checkpoint, weights_only=True)
    container["state_dict"]["decode_head.linear_pred.bias"][0] += 0.25
    torch.save(container, tmp_path / "other.pth")
    result = verify([tmp_path / "other.pth", tiny_onnx], VerifyOptions(shapes=(Shape(1, 32, 32),), library=NONE))
    assert not result.passed
    assert "is not the checkpoint that the file was exported from" in result.notes[0]


def test_outputs_are_saved_for_polygraphy(tiny_onnx: Path, changed_onnx: Path, tmp_path: Path) -> None:
    from polygraphy.comparator import RunResults

    folder = tmp_path / "new" / "saved"
    options = VerifyOptions(shapes=(Shape(1, 32, 32),), library=NONE, save_outputs=folder)
    verify([tiny_onnx, changed_onnx], options)
    saved = RunResults.load(str(folder / "01_1x32x32_outputs.json"))
    assert list(saved.keys()) == ["tiny.onnx cpu", "changed.onnx cpu"]
    assert saved["tiny.onnx cpu"][0]["logits"].shape == (1, 4, 8, 8)
    assert (folder / "01_1x32x32_inputs.json").is_file()
    with pytest.raises(OutputError, match="is not empty"):
        verify([tiny_onnx, changed_onnx], options)


def test_a_full_disk_is_one_line(
    tiny_onnx: Path, changed_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fade_deploy.verification import running

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(running, "save_outputs", full)
    options = VerifyOptions(shapes=(Shape(1, 32, 32),), library=NONE, save_outputs=tmp_path / "saved")
    with pytest.raises(OutputError, match="saved can't be written: No space left on device; free some space"):
        verify([tiny_onnx, changed_onnx], options)


def test_a_number_is_a_tolerance(tiny_onnx: Path, changed_onnx: Path) -> None:
    loose = VerifyOptions(shapes=(Shape(1, 32, 32),), library=NONE, tolerance="100")
    result = verify([tiny_onnx, changed_onnx], loose)
    assert result.bounds["changed.onnx cpu"].atol == 100
    assert result.comparisons[0].agreement is not None
    assert result.comparisons[0].agreement.labels_compared == 0  # nothing is decided by 100
