"""``fade-predict`` with ``--provider`` and ``--library``, on a machine whose onnxruntime has the CPU alone."""

from __future__ import annotations

from pathlib import Path

import onnxruntime
import pytest
from PIL import Image

from fade_deploy.api.predict import predict
from fade_deploy.errors import InputError, MissingDependency
from fade_deploy.serve.matting_predictor import MattingPredictor
from fade_deploy.serve.predictor import Predictor
from tests.command_line import contents, run_here
from tests.serve.matting_file import matting_file, scene
from tests.serve.test_predictor import network_file

pytestmark = pytest.mark.skipif(
    "CUDAExecutionProvider" in onnxruntime.get_available_providers(),
    reason="says what an onnxruntime without CUDA does; this one has it",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: ``model.onnx`` for segmentation, a picture, and a library that is none."""
    monkeypatch.chdir(tmp_path)
    network_file(tmp_path).rename("model.onnx")
    Image.fromarray(scene(37, 50)[0]).save("cat.png")
    (tmp_path / "libfade_onnxruntime.so").write_text("not a library\n")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--provider", "cuda"], "expected CUDAExecutionProvider: pip uninstall -y onnxruntime, then pip install"),
        (["--provider", "tensorrt"], "expected TensorrtExecutionProvider: pip uninstall -y onnxruntime, then"),
        (["--provider", "gpu"], "'gpu' is not one of 'cpu', 'cuda', 'tensorrt'"),
        (["--library", "nowhere.so"], "--library nowhere.so is not there, expected the path of libfade_onnxruntime.so"),
        (["--library", "libfade_onnxruntime.so"], "libfade_onnxruntime.so can't be loaded by onnxruntime"),
        (["--library", "."], "--library . is not a file"),
    ],
)
def test_what_is_missing_is_one_clear_line(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    arguments: list[str],
    expected: str,
) -> None:
    before = contents(folder)
    finished = run_here("fade-predict", "model.onnx", "cat.png", *arguments, patch=monkeypatch, capture=capfd)
    assert (finished.code, finished.out) == (2, "")
    assert finished.err.startswith("FAILED  ")
    assert finished.err.count("\n") == 1
    assert expected in finished.err
    assert contents(folder) == before


def test_a_library_beside_the_model_or_here_is_never_looked_for(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    line = ("model.onnx", "cat.png")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))
    assert run_here("fade-predict", *line, patch=monkeypatch, capture=capfd).code == 0


def test_the_cpu_without_a_library_labels_as_by_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The file has no fade operator, so whatever library is installed changes nothing."""
    for more in (["-o", "a.png"], ["-o", "b.png", "--provider", "cpu", "--library", "none"]):
        assert run_here("fade-predict", "model.onnx", "cat.png", *more, patch=monkeypatch, capture=capfd).code == 0
    assert (folder / "a.png").read_bytes() == (folder / "b.png").read_bytes()


def test_the_api_takes_both(folder: Path) -> None:
    matting = matting_file(folder)
    for load in (
        lambda **how: Predictor("model.onnx", **how),
        lambda **how: MattingPredictor(matting, **how),
        lambda **how: predict("model.onnx", "cat.png", **how),
    ):
        with pytest.raises(MissingDependency, match="expected CUDAExecutionProvider"):
            load(provider="cuda")
        with pytest.raises(InputError, match=r"nowhere\.so is not there"):
            load(library="nowhere.so")
        load(provider="cpu", library="none")
