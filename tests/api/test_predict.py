"""What a prediction writes, and what it tells of a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fade_deploy.api.predict import _shares, predict
from fade_deploy.errors import InputError
from fade_deploy.serve import deployed_file
from fade_deploy.serve.matting_predictor import MattingPredictor
from tests.serve.matting_file import matting_file, scene
from tests.serve.test_predictor import network_file


def test_shares_add_up_to_one_when_two_classes_have_one_name() -> None:
    labels = np.array([[0, 1, 1, 2]], np.uint8)
    shares = _shares(labels, ["grass", "grass", "sky"])
    assert shares == {"grass": 0.75, "sky": 0.25}


def test_shares_come_largest_first_and_leave_out_what_is_not_there() -> None:
    labels = np.array([[2, 2, 0]], np.uint8)
    assert list(_shares(labels, ["a", "b", "c"]).items()) == [("c", pytest.approx(2 / 3)), ("a", pytest.approx(1 / 3))]


@pytest.fixture
def cat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``cat.png`` of 30x20 pixels and ``trimap.png`` in the current folder, which is empty otherwise."""
    monkeypatch.chdir(tmp_path)
    picture, trimap = scene(20, 30)
    Image.fromarray(picture).save("cat.png")
    Image.fromarray(trimap).save("trimap.png")
    return tmp_path


@pytest.fixture
def matting(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return matting_file(tmp_path_factory.mktemp("model"))


def test_the_alpha_of_the_predictor_is_written(cat: Path, matting: Path) -> None:
    result = predict(matting, "cat.png", trimap="trimap.png")
    expected = MattingPredictor(matting).predict(*scene(20, 30))
    assert (result.output, result.height, result.width) == (Path("cat.alpha.png"), 20, 30)
    with Image.open(cat / "cat.alpha.png") as alpha:
        assert (alpha.mode, alpha.size) == ("L", (30, 20))
        np.testing.assert_array_equal(np.asarray(alpha), expected)
    unknown = ~np.isin(scene(20, 30)[1], (0, 255))
    assert result.shares == pytest.approx({"foreground": (expected / 255).mean(), "unknown": unknown.mean()})
    assert result.seconds > 0


def test_a_background_makes_it_a_cutout(cat: Path, matting: Path) -> None:
    result = predict(matting, "cat.png", trimap="trimap.png", background="#102030")
    assert result.output == Path("cat.cutout.png")
    picture, trimap = scene(20, 30)
    share = MattingPredictor(matting).predict(picture, trimap)[..., None] / 255
    with Image.open("cat.cutout.png") as cutout:
        assert cutout.mode == "RGB"
        np.testing.assert_array_equal(np.asarray(cutout), np.rint(share * picture + (1 - share) * [16, 32, 48]))
    # The same colour as a picture, of another size.
    Image.new("RGB", (7, 5), "#102030").save("night.png")
    predict(matting, "cat.png", "again.png", trimap="trimap.png", background=Path("night.png"))
    assert (cat / "again.png").read_bytes() == (cat / "cat.cutout.png").read_bytes()


def test_only_the_unknown_counts_as_unknown(cat: Path, matting: Path) -> None:
    Image.fromarray(np.tile(np.array([0, 255], np.uint8), (20, 15))).save("known.png")
    assert predict(matting, "cat.png", trimap="known.png").shares == {"foreground": 0.5, "unknown": 0}
    Image.new("L", (30, 20), 77).save("unknown.png")
    assert predict(matting, "cat.png", trimap="unknown.png", force=True).shares["unknown"] == 1


def test_a_file_of_either_task_is_loaded_once(
    cat: Path, matting: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = []
    load = deployed_file.session_from_onnx

    def counted(path: Path, *, threads: int, provider: str, library: str) -> object:
        loaded.append((path, threads, provider, library))
        return load(path, threads=threads, provider=provider, library=library)

    monkeypatch.setattr(deployed_file, "session_from_onnx", counted)
    segmentation = network_file(tmp_path_factory.mktemp("segmentation"))
    predict(segmentation, "cat.png", threads=1)
    predict(matting, "cat.png", trimap="trimap.png", threads=2, library="none")
    assert loaded == [(segmentation, 1, "cpu", "auto"), (matting, 2, "cpu", "none")]
    assert {path.name for path in cat.glob("cat.*")} == {"cat.png", "cat.labels.png", "cat.alpha.png"}


def test_a_labelled_picture_does_not_hide_that_a_trimap_is_missing(cat: Path, matting: Path) -> None:
    (cat / "cat.labels.png").touch()
    with pytest.raises(InputError, match="give one with --trimap"):
        predict(matting, "cat.png")
