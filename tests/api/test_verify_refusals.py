"""What can't be verified, or would mean nothing, is one line."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fade_deploy.api.verify.options import Backend, VerifyOptions, backends, shapes_of, stated_tolerance
from fade_deploy.api.verify.verify import verify
from fade_deploy.contract import Task
from fade_deploy.errors import FadeDeployError, InputError, RecipeError
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import NONE
from tests.serve.foreign_file import foreign_file
from tests.serve.matting_file import MEAN, matting_file

ROOT = Path(__file__).parents[2]


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
        (VerifyOptions(seed=1, images=ROOT / "export" / "pictures"), "--seed and --images exclude each other"),
        (VerifyOptions(ema=True), "--ema means nothing without a checkpoint: leave it out"),
        (VerifyOptions(plugin="x.so"), "--plugin means nothing without an engine: leave it out"),
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
    with pytest.raises(InputError, match="no file is given"):
        verify([])


def test_a_runtime_of_files_means_nothing_for_checkpoints() -> None:
    with pytest.raises(InputError, match=r"--on means nothing without an .onnx file"):
        verify(["one.pth", "other.pth"], VerifyOptions(on=(Backend.CUDA,)))


def test_checkpoints_of_two_tasks_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from fade_deploy.api.verify import checkpoint

    def read(path: Path, *_: Any) -> SimpleNamespace:
        return SimpleNamespace(path=path, model=SimpleNamespace(TASK=Task(path.stem)))

    monkeypatch.setattr(checkpoint, "deployed_checkpoint", read)
    with pytest.raises(InputError, match=r"matting.pth is a matting model, segmentation.pth a segmentation model"):
        verify(["matting.pth", "segmentation.pth"])


def test_files_that_take_other_inputs_are_refused(tmp_path: Path) -> None:
    files = []
    for name, mean in (("one", MEAN), ("other", (0.5, 0.5, 0.5))):
        (tmp_path / name).mkdir()
        files.append(matting_file(tmp_path / name, mean=[255 * value for value in mean]))
    with pytest.raises(InputError, match=r"one.matting.onnx has mean \[123.675.*other.matting.onnx has \[127.5"):
        verify(files, VerifyOptions(shapes=(Shape(1, 16, 16),), library=NONE))


def test_a_users_own_module_is_told_what_to_do_instead(tmp_path: Path) -> None:
    facts = {"task": "module", "model": "Own"}
    own = foreign_file(tmp_path / "own.onnx", "(float[n] x) => (float[n] y) { y = Identity(x) }", facts=facts)
    manifest = tmp_path / "own.json"
    manifest.write_text(json.dumps({"artefact": {"file": "own.onnx", "sha256": ""}, **facts}))
    for files in ([own, tmp_path / "x.pth"], [manifest]):
        with pytest.raises(InputError, match=r"is of a user's own module .* compare such files with polygraphy run"):
            verify(files)


def test_words_that_are_no_backend_shape_or_tolerance_are_refused() -> None:
    with pytest.raises(InputError, match="--on has 'gpu', expected a list of cpu, cuda"):
        backends("cpu,gpu")
    with pytest.raises(RecipeError, match="shape '1x2' is not"):
        shapes_of("1x32x32,1x2")
    assert stated_tolerance("") is None
    bound = stated_tolerance("1e-3")
    assert bound is not None
    assert (bound.atol, bound.rtol) == (1e-3, 0.0)
