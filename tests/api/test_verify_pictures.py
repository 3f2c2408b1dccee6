"""A user's own pictures: sizes, truths and scores as fade-predict has them, and one line for what doesn't fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fade_deploy.api.verify.options import VerifyOptions
from fade_deploy.api.verify.verify import verify
from fade_deploy.errors import FadeDeployError
from fade_deploy.recipe import Shape
from fade_deploy.serve.pictures import read_picture
from fade_deploy.serve.predictor import Predictor
from fade_deploy.verification.matting_scores import Convention, matting_scores
from fade_deploy.verification.segmentation_scores import SegmentationScores
from tests.api.planted_faults import with_weights
from tests.serve.matting_file import demo, matting_file, scene

ROOT = Path(__file__).parents[2]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """One matting network, twice: the second has another number for a bias."""
    found = []
    for name, constant in (("one", None), ("other", 0.25)):
        (tmp_path / name).mkdir()
        found.append(matting_file(tmp_path / name, constant=constant))
    return found


@pytest.fixture
def pictures(tmp_path: Path) -> VerifyOptions:
    """Two pictures of odd sizes with trimaps and true alphas."""
    for folder in ("images", "trimaps", "alphas"):
        (tmp_path / folder).mkdir()
    for height, width in ((37, 50), (20, 18)):
        picture, trimap = scene(height, width)
        truth = np.where(trimap == 255, 255, np.where(trimap == 0, 0, 100)).astype(np.uint8)
        name = f"scene{width}.png"
        Image.fromarray(picture).save(tmp_path / "images" / name)
        Image.fromarray(trimap).save(tmp_path / "trimaps" / name)
        Image.fromarray(truth).save(tmp_path / "alphas" / name)
    return VerifyOptions(
        images=tmp_path / "images", trimaps=tmp_path / "trimaps", alphas=tmp_path / "alphas", library="none"
    )


def test_matting_scores_are_those_of_the_references_demo(files: list[Path], pictures: VerifyOptions) -> None:
    result = verify(files, pictures)
    assert [str(used.shape) for used in result.inputs] == ["1x32x32", "1x48x64"]  # scene18.png, scene50.png, padded
    reference, candidate = result.scores
    expected = []
    for height, width in ((20, 18), (37, 50)):
        picture, trimap = scene(height, width)
        levels = np.where((trimap == 0) | (trimap == 255), trimap, 128).astype(np.uint8)
        truth = np.where(trimap == 255, 255, np.where(trimap == 0, 0, 100)).astype(np.uint8)
        alpha = demo(picture, trimap) / 255
        expected.append(matting_scores(alpha, truth, levels, convention=Convention.MATLAB))
    assert reference.pictures == 2
    assert reference.scores["sad"] == pytest.approx(np.mean([scores.sad for scores in expected]), rel=1e-4)
    assert reference.scores["mse"] == pytest.approx(np.mean([scores.mse for scores in expected]), rel=1e-4)
    assert candidate.differences is not None
    assert candidate.differences["sad"] == pytest.approx(candidate.scores["sad"] - reference.scores["sad"])


def test_the_error_inside_the_unknown_band_is_measured(files: list[Path], pictures: VerifyOptions) -> None:
    result = verify(files, pictures)
    found = result.comparisons[0]
    assert found.band is not None
    assert 0 < found.band.mean_error <= found.band.max_error
    assert not found.passed
    picture = result.inputs[0].kept
    assert picture is not None
    assert picture.trimap is not None
    assert (picture.trimap == 128).sum() == found.band.pixels
    assert picture.results[result.reference.name].shape == (32, 32)
    # Known pixels are fixed to the trimap by both files.
    assert not picture.errors[found.run][picture.trimap != 128].any()


def test_without_a_checkpoint_or_picture_of_ones_own_the_recipes_do(files: list[Path]) -> None:
    result = verify(files, VerifyOptions(shapes=(Shape(2, 16, 32),), library="none"))
    assert result.inputs[0].source == "sample pictures"
    assert result.comparisons[0].band is not None
    assert "--images" not in result.command


def test_a_picture_can_be_taken_at_other_sizes(files: list[Path], pictures: VerifyOptions) -> None:
    options = VerifyOptions(
        images=pictures.images, trimaps=pictures.trimaps, shapes=(Shape(2, 16, 48),), library="none"
    )
    result = verify(files, options)
    assert [used.name for used in result.inputs] == ["2x16x48 scene18.png", "2x16x48 scene50.png"]
    assert f"--images {pictures.images}/scene" in result.command
    assert f"--trimaps {pictures.trimaps}" in result.command


def removed(options: VerifyOptions, name: str, folder: str) -> VerifyOptions:
    place = getattr(options, folder)
    assert place is not None
    (place / name).unlink()
    return options


def resized(options: VerifyOptions, folder: str, size: tuple[int, int]) -> VerifyOptions:
    path = getattr(options, folder) / "scene18.png"
    with Image.open(path) as picture:
        picture.resize(size).save(path)
    return options


def without(options: VerifyOptions, name: str) -> VerifyOptions:
    values: dict[str, Any] = {field: getattr(options, field) for field in ("images", "trimaps", "alphas", "library")}
    return VerifyOptions(**{**values, name: None})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda o: without(o, "trimaps"), "a matting model needs a trimap for each picture: give --trimaps"),
        (lambda o: without(o, "images"), "needs the pictures it belongs to"),
        (lambda o: removed(o, "scene50.png", "alphas"), "has no file for scene50.png, expected one named scene50.png"),
        (lambda o: resized(o, "trimaps", (9, 9)), "has 9x9 pixels, expected 18x20 as the picture has"),
        (lambda o: resized(o, "alphas", (9, 9)), "the alpha of"),
    ],
)
def test_what_does_not_fit_is_one_line(files: list[Path], pictures: VerifyOptions, change: Any, says: str) -> None:
    with pytest.raises(FadeDeployError) as raised:
        verify(files, change(pictures))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("save", "says"),
    [
        (lambda path: Image.new("RGB", (60, 40)).save(path), "of mode RGB, expected class numbers"),
        (lambda path: path.write_text("no picture"), "can't be read as a label picture"),
        (lambda path: Image.new("L", (60, 40), 4).save(path), "don't fit the model"),
        (lambda path: Image.new("L", (61, 40)).save(path), "has 61x40 pixels, expected 60x40"),
    ],
)
def test_labels_that_are_none_are_one_line(tiny_onnx: Path, tmp_path: Path, save: Any, says: str) -> None:
    copy = tmp_path / "copy.onnx"
    copy.write_bytes(tiny_onnx.read_bytes())
    (tmp_path / "labels").mkdir()
    Image.new("RGB", (60, 40)).save(tmp_path / "scene.png")
    save(tmp_path / "labels" / "scene.png")
    options = VerifyOptions(images=tmp_path / "scene.png", labels=tmp_path / "labels", library="none")
    with pytest.raises(FadeDeployError) as raised:
        verify([tiny_onnx, copy], options)
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)


def test_one_picture_is_no_partner_of_several(files: list[Path], pictures: VerifyOptions) -> None:
    assert pictures.trimaps is not None
    options = VerifyOptions(images=pictures.images, trimaps=pictures.trimaps / "scene18.png", library="none")
    with pytest.raises(FadeDeployError, match=r"scene18.png is one picture, --images has 2: give a folder"):
        verify(files, options)
    removed(options, "scene50.png", "images")
    assert [str(used.shape) for used in verify(files, options).inputs] == ["1x32x32"]


# --- segmentation ----------------------------------------------------------------------------------------------------


def photo(folder: Path, height: int, width: int) -> Path:
    """A picture, and labels that are right for nobody."""
    path = folder / f"photo{width}.png"
    with Image.open(ROOT / "export" / "pictures" / "coffee.jpg") as picture:
        picture.convert("RGB").resize((width, height)).save(path)
    truth = np.zeros((height, width), np.uint8)
    truth[:, width // 2 :] = 3
    truth[:2] = 255
    (folder / "labels").mkdir(exist_ok=True)
    Image.fromarray(truth).save(folder / "labels" / path.name)
    return path


def test_a_users_pictures_are_scored_at_their_own_size(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    for height, width in ((48, 80), (70, 50)):
        photo(tmp_path, height, width)
    options = VerifyOptions(images=tmp_path, labels=tmp_path / "labels", library="none", max_miou_drop=1.0)
    result = verify([tiny_checkpoint, tiny_onnx], options)
    assert result.passed
    assert [str(used.shape) for used in result.inputs] == ["1x736x512", "1x512x864"]
    reference, candidate = result.scores
    assert (reference.run, reference.pictures) == (result.reference.name, 2)
    assert set(reference.scores) == {"miou", "biou"}
    assert 0 < reference.scores["miou"] < 1
    assert candidate.differences == {"miou": 0.0, "biou": 0.0}


def test_segmentation_scores_are_those_of_fade_predict(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    picture = photo(tmp_path, 48, 80)
    options = VerifyOptions(images=picture, labels=tmp_path / "labels", library="none")
    result = verify([tiny_checkpoint, tiny_onnx], options)
    labels = Predictor(tiny_onnx, library="none").predict(read_picture(picture))
    truth = np.asarray(Image.open(tmp_path / "labels" / picture.name))
    expected = SegmentationScores(4)
    expected.add(labels.astype(np.int64), truth)
    assert result.scores[1].scores == {"miou": expected.mean_iou(), "biou": expected.boundary_iou()}


def test_a_gate_on_scores_fails_though_every_number_is_tolerated(tiny_onnx: Path, tmp_path: Path) -> None:
    picture = photo(tmp_path, 48, 80)
    truth = Predictor(tiny_onnx, library="none").predict(read_picture(picture))
    Image.fromarray(truth).save(tmp_path / "labels" / picture.name)  # so the reference is right everywhere
    shift = np.float32([0.05, 0, 0, 0])
    changes = {"decode_head.classes.bias": lambda values: values + shift}
    other = with_weights(tiny_onnx, tmp_path / "other.onnx", changes)
    options = VerifyOptions(
        images=picture, labels=tmp_path / "labels", library="none", tolerance="1000", max_miou_drop=0.0
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
