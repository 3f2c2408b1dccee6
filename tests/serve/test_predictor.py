"""Prediction against the reference's steps, written out with torch; no torch in the predictor itself."""

from __future__ import annotations

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from fade_deploy.errors import InputError
from fade_deploy.serve.predictor import Predictor, labels_from_scores

MEAN = [123.675, 116.28, 103.53]
STD = [58.395, 57.12, 57.375]
SHORT_SIDE, LONG_SIDE = 96, 256  # small, so that tests are quick; in a file they are data
CLASSES = 7


def kernel(classes: int) -> np.ndarray:
    """Of the network of these tests, one convolution: 4x4 pixels, stride 4, so logits come out at a quarter."""
    return np.random.default_rng(classes).standard_normal((classes, 3, 4, 4)).astype(np.float32)


def network_file(
    folder: Path,
    *,
    head: str = "logits",
    classes: int = CLASSES,
    embed_preprocess: bool = False,
    shape: tuple[Any, Any, Any] = ("batch", "height", "width"),
    **changes: Any,
) -> Path:
    batch, height, width = shape
    constants = {
        "kernel": kernel(classes),
        "mean": np.array(MEAN, np.float32).reshape(1, 3, 1, 1),
        "std": np.array(STD, np.float32).reshape(1, 3, 1, 1),
        "scales": np.array([1, 1, 4, 4], np.float32),
    }
    nodes = []
    if embed_preprocess:
        nodes += [
            helper.make_node("Transpose", ["image"], ["planes"], perm=[0, 3, 1, 2]),
            helper.make_node("Cast", ["planes"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("Sub", ["floats", "mean"], ["centred"]),
            helper.make_node("Div", ["centred", "std"], ["normal"]),
        ]
    convolved = "logits" if head == "logits" else "low"
    normal = "normal" if embed_preprocess else "image"
    nodes.append(helper.make_node("Conv", [normal, "kernel"], [convolved], strides=[4, 4], kernel_shape=[4, 4]))
    if head != "logits":
        nodes.append(helper.make_node("Resize", ["low", "", "scales"], ["high"], mode="linear"))
    if head == "labels":
        nodes.append(helper.make_node("ArgMax", ["high"], ["labels"], axis=1, keepdims=0))
    if head == "probs":
        nodes.append(helper.make_node("Softmax", ["high"], ["probs"], axis=1))
    image = (
        (TensorProto.UINT8, [batch, height, width, 3])
        if embed_preprocess
        else (TensorProto.FLOAT, [batch, 3, height, width])
    )
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", *image)],
        [helper.make_tensor_value_info(head, TensorProto.INT64 if head == "labels" else TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    metadata = {
        "task": "segmentation",
        "head": head,
        "embed_preprocess": embed_preprocess,
        "classes": [f"class {number}" for number in range(classes)],
        "palette": [],
        "mean": MEAN,
        "std": STD,
        "size_multiple": 32,
        "short_side": SHORT_SIDE,
        "long_side": LONG_SIDE,
    }
    helper.set_model_props(model, {"fade_deploy": json.dumps(metadata | changes)})
    path = folder / "tiny.onnx"
    onnx.save(model, path)
    return path


def photo(height: int, width: int) -> np.ndarray:
    """Structure at all scales, as in a photo: noise alone is flattened by downscaling."""
    rng = np.random.default_rng(height * width)
    coarse = torch.from_numpy(rng.random((1, 3, 5, 6)) * 255)
    smooth = F.interpolate(coarse, (height, width), mode="bicubic")[0].permute(1, 2, 0).numpy()
    return np.clip(smooth + rng.normal(0, 12, smooth.shape), 0, 255).astype(np.uint8)


def resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size, mode="bilinear", align_corners=False)


def expected_scores(picture: np.ndarray, *, head: str = "logits", static: tuple[int, int] | None = None) -> Tensor:
    """The reference's steps in float64, one after the other; [classes, H, W] of the original size."""
    height, width = picture.shape[:2]
    image = torch.from_numpy(picture).permute(2, 0, 1)[None].double()
    if static is not None:
        image = resized(image, static).add(0.5).floor()
    else:
        scale = min(LONG_SIDE / max(height, width), SHORT_SIDE / min(height, width))
        image = resized(image, (int(height * scale + 0.5), int(width * scale + 0.5))).add(0.5).floor()
        aligned = [int(np.ceil(side / 32)) * 32 for side in image.shape[2:]]
        image = resized(image, (aligned[0], aligned[1])).add(0.5).floor()
    normal = (image - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)
    logits = F.conv2d(normal, torch.from_numpy(kernel(CLASSES)).double(), stride=4)
    scores = resized(logits, (image.shape[2], image.shape[3]))
    if head == "probs":
        scores = scores.softmax(1)
    return resized(scores, (height, width))[0]


def assert_labels_follow(scores: Tensor, labels: np.ndarray, *, one_level: float) -> None:
    """Labels are the argmax but where two correct roundings of a resized photo may differ: near ties, and few."""
    best = scores.argmax(0).numpy()
    differ = labels != best
    top = scores.topk(2, dim=0).values
    margin = (top[0] - top[1]).numpy()
    assert differ.mean() < 1e-3
    assert margin[differ].max(initial=0) <= one_level


# How far one 8-bit level in every input pixel moves the difference of two logits.
ONE_LEVEL = 2 * float(np.abs(kernel(CLASSES)).sum(axis=(1, 2, 3)).max()) / min(STD)
# landscape, portrait, aligned already, wide enough for long_side, tiny, one pixel, one row, odd
PICTURES = [(120, 173), (210, 131), (96, 128), (60, 400), (7, 9), (1, 1), (301, 97), (97, 96)]


@pytest.mark.parametrize(("height", "width"), PICTURES)
def test_prediction_follows_the_steps_of_the_reference(tmp_path: Path, height: int, width: int) -> None:
    picture = photo(height, width)
    labels = Predictor(network_file(tmp_path)).predict(picture)
    assert labels.shape == (height, width)
    assert labels.dtype == np.uint8
    assert_labels_follow(expected_scores(picture), labels, one_level=ONE_LEVEL)


def test_embedded_preprocessing_gives_the_same_labels(tmp_path: Path) -> None:
    picture = photo(120, 173)
    outside = Predictor(network_file(tmp_path)).predict(picture)
    inside = Predictor(network_file(tmp_path, embed_preprocess=True)).predict(picture)
    assert (outside != inside).mean() < 1e-3  # the same sums, rounded elsewhere: near ties only


@pytest.mark.parametrize("embed_preprocess", [False, True])
def test_a_static_file_gets_the_picture_at_its_own_size(tmp_path: Path, embed_preprocess: bool) -> None:
    picture = photo(150, 111)
    path = network_file(tmp_path, shape=(1, 124, 156), embed_preprocess=embed_preprocess)
    labels = Predictor(path).predict(picture)
    assert_labels_follow(expected_scores(picture, static=(124, 156)), labels, one_level=ONE_LEVEL)


def test_probabilities_are_resized_once_and_compared(tmp_path: Path) -> None:
    picture = photo(120, 173)
    labels = Predictor(network_file(tmp_path, head="probs")).predict(picture)
    assert_labels_follow(
        expected_scores(picture, head="probs"), labels, one_level=ONE_LEVEL / 4
    )  # softmax' slope <= 1/4


def test_labels_of_the_file_are_taken_by_the_nearest(tmp_path: Path) -> None:
    picture = photo(96, 128)  # enters the network as it is
    predictor = Predictor(network_file(tmp_path, head="labels"))
    whole = predictor.predict(picture)
    assert_labels_follow(expected_scores(picture), whole, one_level=ONE_LEVEL)
    doubled = predictor.predict(np.repeat(np.repeat(picture, 2, axis=0), 2, axis=1))
    np.testing.assert_array_equal(doubled, np.repeat(np.repeat(whole, 2, axis=0), 2, axis=1))


@pytest.mark.parametrize(("classes", "dtype"), [(256, np.uint8), (257, np.uint16)])
@pytest.mark.parametrize("head", ["logits", "labels"])
def test_more_than_256_classes_take_16_bits(tmp_path: Path, head: str, classes: int, dtype: type) -> None:
    assert Predictor(network_file(tmp_path, head=head, classes=classes)).predict(photo(40, 50)).dtype == dtype


@pytest.mark.parametrize(("height", "width"), [(1, 5000), (5000, 1)])
def test_a_hair_keeps_one_pixel_of_width(tmp_path: Path, height: int, width: int) -> None:
    assert Predictor(network_file(tmp_path)).predict(photo(height, width)).shape == (height, width)


@pytest.mark.parametrize(
    "picture",
    [np.zeros((4, 5)), np.zeros((4, 5, 3)), np.zeros((4, 5, 4), np.uint8), np.zeros((0, 5, 3), np.uint8)],
    ids=["grey", "floats", "alpha", "empty"],
)
def test_another_array_is_refused(tmp_path: Path, picture: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected uint8 \[height, width, 3\] in RGB"):
        Predictor(network_file(tmp_path)).predict(picture)


def test_a_file_for_batches_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="takes batches of 2 pictures, expected 1 or any"):
        Predictor(network_file(tmp_path, shape=(2, 64, 64)))


def test_the_predictor_knows_classes_and_palette(tmp_path: Path) -> None:
    predictor = Predictor(str(network_file(tmp_path, classes=2, palette=[[1, 2, 3], [4, 5, 6]])), threads=1)
    assert predictor.classes == ("class 0", "class 1")
    assert predictor.palette == [[1, 2, 3], [4, 5, 6]]
    assert predictor.metadata["short_side"] == SHORT_SIDE


@pytest.mark.parametrize(
    "sizes", [((64, 96), (61, 83)), ((64, 96), (301, 205)), ((64, 96), (5, 9)), ((16, 24), (50, 60))]
)
def test_strips_give_what_the_whole_gives(sizes: tuple[tuple[int, int], ...]) -> None:
    scores = np.random.default_rng(1).standard_normal((19, 16, 24)).astype(np.float32)
    whole = labels_from_scores(scores, *sizes, strip_rows=sizes[-1][0])
    for rows in (1, 3, 16, 64):
        np.testing.assert_array_equal(labels_from_scores(scores, *sizes, strip_rows=rows), whole)


def test_two_resizes_are_not_one() -> None:
    scores = np.random.default_rng(2).standard_normal((19, 16, 24)).astype(np.float32)
    twice = resized(resized(torch.from_numpy(scores)[None].double(), (64, 96)), (61, 83)).argmax(1)[0].numpy()
    assert (labels_from_scores(scores, (64, 96), (61, 83)) != twice).mean() < 1e-3
    assert (labels_from_scores(scores, (61, 83)) != twice).mean() > 1e-2


def test_a_large_photo_never_holds_all_classes() -> None:
    scores = np.random.default_rng(3).standard_normal((150, 128, 176)).astype(np.float32)
    tracemalloc.start()
    try:
        labels = labels_from_scores(scores, (512, 704), (1500, 2000))  # whole: 1.8 GB
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert labels.shape == (1500, 2000)
    assert peak < 50e6


def test_prediction_imports_neither_torch_nor_onnx(tmp_path: Path) -> None:
    script = (
        "import sys\n"
        "import numpy as np\n"
        "from fade_deploy.serve.pictures import label_picture, overlay_picture, palette_for, png_bytes\n"
        "from fade_deploy.serve.predictor import Predictor\n"
        "picture = np.zeros((40, 50, 3), np.uint8)\n"
        f"labels = Predictor({str(network_file(tmp_path))!r}).predict(picture)\n"
        "png_bytes(overlay_picture(picture, labels, palette_for(7)))\n"
        "print(sorted({'torch', 'onnx', 'onnxscript', 'polygraphy'} & sys.modules.keys()))\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.strip(), run.stderr) == (0, "[]", "")
