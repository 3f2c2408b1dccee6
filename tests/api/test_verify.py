"""A verification finds what was planted, and nothing where nothing was; every command that it names shows the same."""

from __future__ import annotations

import dataclasses
import json
import math
import shlex
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from PIL import Image

from fade_deploy.api.verify.options import Backend, VerifyOptions, backends, shapes_of, stated_tolerance
from fade_deploy.api.verify.verify import verify
from fade_deploy.errors import FadeDeployError, InputError, OutputError, RecipeError
from fade_deploy.recipe import Shape, load_recipe
from fade_deploy.runtimes.native_libraries import NONE, NativeLibrary
from fade_deploy.verification.verification import Verification

SMALL = VerifyOptions(shapes=(Shape(1, 32, 32), Shape(2, 64, 96)))
ROOT = Path(__file__).parents[2]


def with_weight(source: Path, target: Path, name: str, change: Callable[[Any], Any]) -> Path:
    """A copy of a file in which one weight is another."""
    model = onnx.load(source)
    found = next(weight for weight in model.graph.initializer if weight.name == name)
    values = numpy_helper.to_array(found)
    found.CopyFrom(numpy_helper.from_array(np.asarray(change(values.copy()), values.dtype), name))
    onnx.save(model, target)
    return target


def one_more(values: Any) -> Any:
    values.flat[3] += 1
    return values


@pytest.fixture(scope="module")
def changed_onnx(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_onnx`` with one weight of a backbone stage changed."""
    target = tmp_path_factory.mktemp("changed") / "changed.onnx"
    return with_weight(tiny_onnx, target, "backbone.block2.0.attn.sr.weight", one_more)


@pytest.fixture(scope="module")
def agreeing(tiny_checkpoint: Path, tiny_onnx: Path) -> Verification:
    return verify([tiny_onnx, tiny_checkpoint], SMALL)


@pytest.fixture(scope="module")
def disagreeing(tiny_checkpoint: Path, changed_onnx: Path) -> Verification:
    return verify([tiny_checkpoint, changed_onnx], VerifyOptions(shapes=SMALL.shapes, seed=7, library=NONE))


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


def test_an_engine_is_a_run_of_its_own_within_its_profile(
    tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ONNX Runtime in TensorRT's place, which needs a GPU: what is asked of an engine, not what it computes."""
    from polygraphy.backend.onnxrt import OnnxrtRunner

    from fade_deploy.runtimes import engine
    from fade_deploy.runtimes.ort import session_from_onnx

    path = tmp_path / "tiny.engine"
    path.write_bytes(b"engine")
    (properties,) = onnx.load(tiny_onnx).metadata_props
    manifest = {
        "tensorrt": {"flavour": "tensorrt", "version": "11.4"},
        "profile": {"min": "1x64x64", "opt": "2x64x96", "max": "2x96x96"},
        "metadata": json.loads(properties.value),
    }
    runner = OnnxrtRunner(session_from_onnx(tiny_onnx, library=NONE))
    loaded = SimpleNamespace(manifest=manifest, runner=runner)
    monkeypatch.setattr(engine, "load_engine", lambda path, *, plugin: loaded)
    result = verify([tiny_onnx, path], VerifyOptions(library=NONE))
    assert result.passed
    assert [(run.name, run.runtime) for run in result.runs] == [("tiny.engine engine", "tensorrt 11.4")]
    shapes = {str(used.shape) for used in result.inputs}
    assert {"1x64x64", "2x64x96", "2x96x96"} <= shapes  # the edges of the profile
    with pytest.raises(InputError, match="expected 1x64x64 to 2x96x96, height and width multiples of 32"):
        verify([tiny_onnx, path], SMALL)


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


def scene(folder: Path, height: int, width: int, *, labels: bool) -> None:
    """A picture, and labels that are right for nobody."""
    with Image.open(ROOT / "export" / "pictures" / "coffee.jpg") as photo:
        photo.convert("RGB").resize((width, height)).save(folder / f"scene{width}.png")
    if labels:
        truth = np.zeros((height, width), np.uint8)
        truth[:, width // 2 :] = 3
        truth[:2] = 255
        (folder / "labels").mkdir(exist_ok=True)
        Image.fromarray(truth).save(folder / "labels" / f"scene{width}.png")


def recipe_of_small_pictures(folder: Path) -> str:
    """The default one resizes every picture to 512 pixels, which takes long."""
    path = folder / "small.toml"
    path.write_text('extends = "segformer"\n[predict]\nshort_side = 64\nlong_side = 256\n')
    return str(path)


def test_a_users_pictures_are_scored_at_their_own_size(
    tiny_onnx: Path, tiny_checkpoint: Path, changed_onnx: Path, tmp_path: Path
) -> None:
    for height, width in ((48, 80), (70, 50)):
        scene(tmp_path, height, width, labels=True)
    options = VerifyOptions(images=tmp_path, labels=tmp_path / "labels", library=NONE, max_miou_drop=1.0)
    result = verify([tiny_checkpoint, tiny_onnx], options)
    assert result.passed
    assert [str(used.shape) for used in result.inputs] == ["1x736x512", "1x512x864"]
    reference, candidate = result.scores
    assert (reference.run, reference.pictures) == (result.reference.name, 2)
    assert set(reference.scores) == {"miou", "biou"}
    assert 0 < reference.scores["miou"] < 1
    assert candidate.differences == {"miou": 0.0, "biou": 0.0}


def test_scores_are_those_of_fade_predict(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    from fade_deploy.serve.pictures import read_picture
    from fade_deploy.serve.predictor import Predictor
    from fade_deploy.verification.segmentation_scores import SegmentationScores

    scene(tmp_path, 48, 80, labels=True)
    options = VerifyOptions(images=tmp_path / "scene80.png", labels=tmp_path / "labels", library=NONE)
    result = verify([tiny_checkpoint, tiny_onnx], options)
    labels = Predictor(tiny_onnx, library=NONE).predict(read_picture(tmp_path / "scene80.png"))
    truth = np.asarray(Image.open(tmp_path / "labels" / "scene80.png"))
    expected = SegmentationScores(4)
    expected.add(labels.astype(np.int64), truth)
    assert result.scores[1].scores == {"miou": expected.mean_iou(), "biou": expected.boundary_iou()}


def test_a_gate_on_scores_fails_though_every_number_is_tolerated(tiny_onnx: Path, tmp_path: Path) -> None:
    from fade_deploy.serve.pictures import read_picture
    from fade_deploy.serve.predictor import Predictor

    scene(tmp_path, 48, 80, labels=True)
    truth = Predictor(tiny_onnx, library=NONE).predict(read_picture(tmp_path / "scene80.png"))
    Image.fromarray(truth).save(tmp_path / "labels" / "scene80.png")  # so the reference is right everywhere
    shift = np.float32([0.05, 0, 0, 0])
    other = with_weight(tiny_onnx, tmp_path / "other.onnx", "decode_head.classes.bias", lambda values: values + shift)
    options = VerifyOptions(
        images=tmp_path / "scene80.png",
        labels=tmp_path / "labels",
        library=NONE,
        tolerance="1000",
        max_miou_drop=0.0,
    )
    result = verify([tiny_onnx, other], options)
    assert all(found.passed for found in result.comparisons)
    reference, candidate = result.scores
    assert reference.scores["miou"] == 1
    assert candidate.differences is not None
    assert -1 < candidate.differences["miou"] < 0
    assert not candidate.passed
    assert not result.passed
    for flag in (f"--labels {options.labels}", f"--images {options.images}", "--max-miou-drop 0.0"):
        assert flag in result.command


# --- what is found ---------------------------------------------------------------------------------------------------


def test_a_changed_weight_fails_with_its_reason(disagreeing: Verification) -> None:
    assert not disagreeing.passed
    assert disagreeing.worst is not None
    assert disagreeing.worst.reason.startswith("max error ")


def test_the_command_shows_the_same_error_again(
    disagreeing: Verification, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    broken = with_weight(tiny_onnx, tmp_path / "broken.onnx", name, change)
    result = verify([tiny_checkpoint, broken], VerifyOptions(shapes=(Shape(1, 64, 64),), library=NONE))
    assert not result.passed
    assert reason in result.comparisons[0].reason
    json.dumps(result.as_dict(), allow_nan=False)


def test_a_run_that_fails_is_a_result(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_onnx)  # which now fits one size only
    (last,) = [node for node in model.graph.node if "logits" in node.output]
    last.output[0] = "free_logits"
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 4, 8, 8]), "fixed"))
    model.graph.node.append(onnx.helper.make_node("Reshape", ["free_logits", "fixed"], ["logits"]))
    onnx.save(model, tmp_path / "dead.onnx")
    options = VerifyOptions(shapes=(Shape(1, 32, 32), Shape(1, 64, 96)), library=NONE)
    result = verify([tiny_checkpoint, tmp_path / "dead.onnx"], options)
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


def test_a_number_is_a_tolerance(tiny_onnx: Path, changed_onnx: Path) -> None:
    loose = VerifyOptions(shapes=(Shape(1, 32, 32),), library=NONE, tolerance="100")
    result = verify([tiny_onnx, changed_onnx], loose)
    assert result.bounds["changed.onnx cpu"].atol == 100
    assert result.comparisons[0].agreement is not None
    assert result.comparisons[0].agreement.labels_compared == 0  # nothing is decided by 100


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (VerifyOptions(shapes=(Shape(1, 33, 32),)), "--shapes has 1x33x32, which the files don't take"),
        (VerifyOptions(labels=Path("x")), "--labels x needs the pictures it belongs to"),
        (VerifyOptions(trimaps=Path("x")), "--trimaps is for matting, the files are for segmentation"),
        (VerifyOptions(max_miou_drop=0.1), "--max-miou-drop needs the true labels"),
        (VerifyOptions(images=Path("nowhere")), "--images nowhere is not there"),
        (VerifyOptions(images=ROOT / "docs", labels=ROOT / "export"), "holds no pictures"),
        (VerifyOptions(tolerance="-1"), "--tolerance is -1, expected a number of 0 or more"),
        (VerifyOptions(tolerance="ORT"), "tolerance 'ORT' is unknown"),
        (VerifyOptions(recipe="a2u_matting"), "is for matting, the files are for segmentation"),
    ],
)
def test_options_that_mean_nothing_are_refused(tiny_onnx: Path, changed_onnx: Path, options: Any, says: str) -> None:
    with pytest.raises(FadeDeployError) as raised:
        verify([tiny_onnx, changed_onnx], options)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_file_on_one_runtime_is_nothing_to_compare(tiny_onnx: Path) -> None:
    with pytest.raises(InputError, match="alone has nothing to be compared with"):
        verify([tiny_onnx], VerifyOptions(library=NONE))
    with pytest.raises(InputError, match="is given twice"):
        verify([tiny_onnx, tiny_onnx])


def test_words_that_are_no_backend_shape_or_tolerance_are_refused() -> None:
    with pytest.raises(InputError, match="--on has 'gpu', expected a list of cpu, cuda"):
        backends("cpu,gpu")
    with pytest.raises(RecipeError, match="shape '1x2' is not"):
        shapes_of("1x32x32,1x2")
    assert stated_tolerance("") is None
    bound = stated_tolerance("1e-3")
    assert bound is not None
    assert (bound.atol, bound.rtol) == (1e-3, 0.0)
