"""Matting against the demo's steps, written out in numpy; neither torch nor onnx in the predictor itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fade_deploy.errors import InputError
from fade_deploy.serve.matting_predictor import MattingPredictor
from fade_deploy.serve.predictor import Predictor
from fade_deploy.tolerances import tolerance
from tests.serve.matting_file import demo, matting_file, scene
from tests.serve.test_predictor import network_file

# multiples of 16 already, odd, smaller than the padding, thin, one pixel
SIZES = [(16, 16), (32, 48), (33, 50), (15, 17), (7, 9), (2, 2), (1, 1), (1, 40), (40, 1), (17, 16)]


def assert_truncated(alpha: np.ndarray, exact: np.ndarray) -> None:
    """Levels are those below the exact values; only an exact value beside a whole level may fall on either side."""
    assert alpha.dtype == np.uint8
    assert alpha.shape == exact.shape
    slack = 255 * tolerance("OPERATOR_FP32").atol
    assert (alpha <= exact + slack).all()
    assert (alpha > exact - 1 - slack).all()


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_prediction_follows_the_steps_of_the_demo(tmp_path: Path, height: int, width: int) -> None:
    picture, trimap = scene(height, width)
    exact = demo(picture, trimap)
    if height * width > 100:  # else this would show little
        unknown = (trimap != 0) & (trimap != 255)
        assert 0.5 < ((exact > 0) & (exact < 255))[unknown].mean() < 1
    assert_truncated(MattingPredictor(matting_file(tmp_path)).predict(picture, trimap), exact)


@pytest.mark.parametrize("embed_preprocess", [False, True])
@pytest.mark.parametrize("head", ["alpha", "raw"])
def test_every_kind_of_file_gives_the_same_alpha(tmp_path: Path, head: str, embed_preprocess: bool) -> None:
    picture, trimap = scene(37, 53)
    predictor = MattingPredictor(str(matting_file(tmp_path, head=head, embed_preprocess=embed_preprocess)), threads=1)
    assert predictor.metadata["head"] == head
    assert_truncated(predictor.predict(picture, trimap), demo(picture, trimap))


@pytest.mark.parametrize("embed_preprocess", [False, True])
@pytest.mark.parametrize(
    ("shape", "padded"),
    [((1, 48, 64), (48, 64)), ((1, 96, 112), (96, 112)), (("batch", 80, "width"), (80, 64))],
    ids=["next", "larger", "height alone"],
)
def test_a_static_file_gets_the_picture_padded_to_its_shape(
    tmp_path: Path, embed_preprocess: bool, shape: tuple[int | str, ...], padded: tuple[int, int]
) -> None:
    picture, trimap = scene(37, 53)
    path = matting_file(tmp_path, shape=shape, embed_preprocess=embed_preprocess)
    assert_truncated(MattingPredictor(path).predict(picture, trimap), demo(picture, trimap, padded))


def test_a_picture_that_fills_a_static_file_needs_no_padding(tmp_path: Path) -> None:
    picture, trimap = scene(48, 64)
    alpha = MattingPredictor(matting_file(tmp_path, shape=(1, 48, 64))).predict(picture, trimap)
    assert_truncated(alpha, demo(picture, trimap))


@pytest.mark.parametrize(("height", "width"), [(49, 60), (40, 65)])
def test_a_picture_larger_than_a_static_file_is_refused(tmp_path: Path, height: int, width: int) -> None:
    predictor = MattingPredictor(matting_file(tmp_path, shape=(1, 48, 64)))
    told = (
        rf"^the picture has {width}x{height} pixels, .*matting\.onnx takes at most 64x48 .*: scale .* without --shape$"
    )
    with pytest.raises(InputError, match=told):
        predictor.predict(*scene(height, width))


@pytest.mark.parametrize(
    ("raw", "level"), [(-0.5, 0), (0.0, 0), (0.4999, 127), (0.50197, 128), (0.9999, 254), (1.0, 255), (1.5, 255)]
)
@pytest.mark.parametrize("head", ["alpha", "raw"])
def test_the_network_is_clipped_and_truncated_and_decides_the_unknown_alone(
    tmp_path: Path, head: str, raw: float, level: int
) -> None:
    trimap = np.arange(256, dtype=np.uint8).reshape(4, 64)
    alpha = MattingPredictor(matting_file(tmp_path, head=head, constant=raw)).predict(
        np.zeros((4, 64, 3), np.uint8), trimap
    )
    np.testing.assert_array_equal(alpha.ravel(), [0] + [level] * 254 + [255])


def test_a_trimap_that_knows_everything_is_the_alpha(tmp_path: Path) -> None:
    picture, trimap = scene(20, 30)
    trimap = np.where(trimap < 128, 0, 255).astype(np.uint8)
    np.testing.assert_array_equal(MattingPredictor(matting_file(tmp_path)).predict(picture, trimap), trimap)


def test_a_trimap_that_knows_nothing_leaves_all_to_the_network(tmp_path: Path) -> None:
    picture, _ = scene(20, 30)
    trimap = np.full((20, 30), 128, np.uint8)
    alpha = MattingPredictor(matting_file(tmp_path)).predict(picture, trimap)
    assert_truncated(alpha, demo(picture, trimap))
    assert len(np.unique(alpha)) > 50


def test_what_is_given_is_left_as_it_is(tmp_path: Path) -> None:
    picture, trimap = scene(20, 30)
    before = picture.copy(), trimap.copy()
    MattingPredictor(matting_file(tmp_path)).predict(picture, trimap)
    np.testing.assert_array_equal(picture, before[0])
    np.testing.assert_array_equal(trimap, before[1])


@pytest.mark.parametrize(
    ("picture", "trimap", "told"),
    [
        (
            np.zeros((4, 5)),
            np.zeros((4, 5), np.uint8),
            r"picture is float64 \[4, 5\], expected uint8 \[height, width, 3",
        ),
        (np.zeros((0, 5, 3), np.uint8), np.zeros((0, 5), np.uint8), r"picture is uint8 \[0, 5, 3\], expected uint8"),
        (
            np.zeros((4, 5, 3), np.uint8),
            np.zeros((4, 5)),
            r"trimap is float64 \[4, 5\], expected uint8 \[height, width\]",
        ),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5, 3), np.uint8), r"trimap is uint8 \[4, 5, 3\], expected uint8"),
        (
            np.zeros((4, 5, 3), np.uint8),
            np.zeros((5, 4), np.uint8),
            "trimap has 4x5 pixels, expected 5x4 as the picture",
        ),
    ],
    ids=["floats", "empty", "floats in the trimap", "colours in the trimap", "another size"],
)
def test_other_arrays_are_refused(tmp_path: Path, picture: np.ndarray, trimap: np.ndarray, told: str) -> None:
    with pytest.raises(InputError, match=told):
        MattingPredictor(matting_file(tmp_path)).predict(picture, trimap)


def test_each_predictor_names_the_other_one_for_its_files(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"is a matting model, Predictor takes a seg.*: load it with MattingPredictor$"
    ):
        Predictor(matting_file(tmp_path))
    with pytest.raises(
        InputError, match=r"is a segmentation model, MattingPredictor takes .*: load it with Predictor$"
    ):
        MattingPredictor(network_file(tmp_path))


def test_a_file_without_a_trimap_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has the inputs image, expected image, trimap: export it again"):
        MattingPredictor(matting_file(tmp_path, with_trimap=False))


def test_a_file_for_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes batches of 2 pictures, expected 1 or any"):
        MattingPredictor(matting_file(tmp_path, shape=(2, 64, 64)))


def test_matting_imports_neither_torch_nor_onnx(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from fade_deploy.serve.matting_pictures import alpha_picture, cutout_picture, read_background\n"
        "from fade_deploy.serve.matting_predictor import MattingPredictor\n"
        "picture, trimap = np.zeros((40, 50, 3), np.uint8), np.full((40, 50), 128, np.uint8)\n"
        f"alpha = MattingPredictor({str(matting_file(tmp_path))!r}).predict(picture, trimap)\n"
        "alpha_picture(alpha), cutout_picture(picture, alpha, read_background('white', 40, 50))\n"
        "print(sorted({'torch', 'onnx', 'onnxscript', 'polygraphy'} & sys.modules.keys()))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "[]", "")


def test_a_pillow_image_is_told_apart_from_an_array(tmp_path: Path) -> None:
    picture, trimap = scene(16, 16)
    predictor = MattingPredictor(matting_file(tmp_path))
    with pytest.raises(InputError, match=r"the picture is of type Image, expected a numpy array"):
        predictor.predict(Image.fromarray(picture), trimap)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"the trimap is of type Image, expected uint8"):
        predictor.predict(picture, Image.fromarray(trimap))  # type: ignore[arg-type]
