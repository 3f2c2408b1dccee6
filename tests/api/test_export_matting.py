"""A matting checkpoint: what the file holds and computes, and a picture through it as the reference's demo would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import nn

from fade_deploy.api.export.export import export
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.api.inspect import inspect
from fade_deploy.contract import METADATA_KEY, Head
from fade_deploy.errors import ExportError
from fade_deploy.models.a2u_matting import A2UMatting, A2UMattingConfig
from fade_deploy.recipe import Shape
from fade_deploy.serve.matting_predictor import MattingPredictor
from fade_deploy.tolerances import tolerance

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # REFERENCE 3.4: of a picture in 0..1
BOUND = tolerance("ORT_CPU_FP32_MATTE").atol


def network() -> A2UMatting:
    """Small, with norm weights of both signs, and an output that leaves 0..1 on both sides."""
    torch.manual_seed(0)
    config = A2UMattingConfig(
        widths=(8, 8, 12, 16), blocks=(1, 1, 1), last_width=8, upsampler="fade", kernel_size=5, compressed=8
    )
    model = A2UMatting(config)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias, 0, 0.3)
    nn.init.normal_(model.pred[1].weight, 0, 3)
    return model.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the public trainval.py leaves it."""
    path = tmp_path_factory.mktemp("matting") / "model_best.pth"
    weights = {f"module.{key}": value for key, value in network().state_dict().items()}
    record = {"epoch": 30, "train_loss": np.float64(0.1), "val_loss": [np.float64(0.2)], "measure": np.float64(31.1)}
    torch.save({"state_dict": weights, "optimizer": {"state": {}}, **record}, path)
    return path


@pytest.fixture(scope="module")
def alpha_file(checkpoint: Path) -> Path:
    result = export(checkpoint, checkpoint.parent / "alpha.onnx", ExportOptions(full_verification=False))
    assert result.passed
    shapes = dict.fromkeys(agreement.shape for agreement in result.agreements)
    assert list(shapes) == ["1x16x16", "1x320x320", "2x192x256"]
    assert all(agreement.labels_compared is None for agreement in result.agreements)
    return result.path


def inputs(batch: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """uint8 picture [N, H, W, 3] and trimap [N, H, W, 1] in {0, 128, 255}."""
    generator = np.random.default_rng(height * width)
    picture = generator.integers(0, 256, (batch, height, width, 3), np.uint8)
    return picture, generator.choice(np.array([0, 128, 255], np.uint8), (batch, height, width, 1))


def raw_alpha(picture: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """The network's own output in float64, [N, 1, H, W]."""
    x = np.concatenate([(picture / 255 - np.array(MEAN)) / np.array(STD), trimap / 255], 3).transpose(0, 3, 1, 2)
    with torch.no_grad():
        return network().double()(torch.from_numpy(np.ascontiguousarray(x))).numpy()


def merged(raw: np.ndarray, trimap: np.ndarray) -> np.ndarray:
    """Clipped, and the trimap where that is known."""
    known = trimap.transpose(0, 3, 1, 2)
    return np.where(known == 128, raw.clip(0, 1), known / 255)


def as_floats(picture: np.ndarray, trimap: np.ndarray) -> dict[str, np.ndarray]:
    image = ((picture / 255 - np.array(MEAN)) / np.array(STD)).transpose(0, 3, 1, 2).astype(np.float32)
    return {"image": image, "trimap": (trimap / 255).transpose(0, 3, 1, 2).astype(np.float32)}


def run(path: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (alpha,) = session.run(["alpha"], feed)
    return alpha


def test_the_inner_network_reaches_beyond_both_ends() -> None:
    raw = raw_alpha(*inputs(1, 48, 32))
    assert raw.min() < -0.1 < 1.1 < raw.max()  # else nothing below tests the clipping


def test_the_interface(alpha_file: Path) -> None:
    model = onnx.load(alpha_file)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "image": ["batch", 3, "height", "width"],
        "trimap": ["batch", 1, "height", "width"],
        "alpha": ["batch", 1, "height", "width"],
    }
    assert [node.op_type for node in model.graph.node if node.domain == "fade"] == ["FadeUpsampleAdd"] * 4
    facts = json.loads({entry.key: entry.value for entry in model.metadata_props}[METADATA_KEY])
    assert (facts["task"], facts["head"], facts["upsampler"], facts["size_multiple"]) == (
        "matting",
        "alpha",
        "fade",
        16,
    )
    assert "classes" not in facts


@pytest.mark.parametrize("shape", [(1, 16, 16), (2, 48, 32), (3, 32, 80)])
def test_alpha_is_clipped_and_fixed_to_the_trimap(alpha_file: Path, shape: tuple[int, int, int]) -> None:
    picture, trimap = inputs(*shape)
    given = run(alpha_file, as_floats(picture, trimap))
    np.testing.assert_allclose(given, merged(raw_alpha(picture, trimap), trimap), atol=BOUND, rtol=0)
    known = trimap.transpose(0, 3, 1, 2) != 128
    np.testing.assert_array_equal(given[known], trimap.transpose(0, 3, 1, 2)[known] / np.float32(255))


def test_raw_embedded_and_static(checkpoint: Path, tmp_path: Path) -> None:
    options = ExportOptions(head=Head.RAW, embed_preprocess=True, shape=Shape(2, 32, 48), standard_ops=True)
    result = export(checkpoint, tmp_path / "raw.onnx", options)
    assert result.passed
    assert result.document["reproduce"].endswith("--head raw --shape 2x32x48 --embed-preprocess --standard-ops")
    picture, trimap = inputs(2, 32, 48)
    expected = raw_alpha(picture, trimap)
    given = run(result.path, {"image": picture, "trimap": trimap})
    np.testing.assert_allclose(given, expected, atol=BOUND, rtol=BOUND)
    assert {node.domain for node in onnx.load(result.path).graph.node} == {""}


def test_a_picture_goes_through_the_file_as_through_the_demo(alpha_file: Path) -> None:
    picture, trimap = (array[0] for array in inputs(1, 41, 55))
    given = MattingPredictor(alpha_file).predict(picture, trimap[..., 0])
    padding = ((0, 48 - 41), (0, 64 - 55), (0, 0))
    padded, padded_trimap = (np.pad(array, padding, mode="reflect") for array in (picture, trimap))
    alpha = raw_alpha(padded[None], padded_trimap[None])[0, 0, :41, :55].clip(0, 1) * 255
    expected = np.where(trimap[..., 0] == 128, alpha, trimap[..., 0])
    decided = np.abs(expected - np.rint(expected)) > 255 * BOUND  # elsewhere rounding may cross a level
    unknown = trimap[..., 0] == 128
    assert decided[unknown].any()
    np.testing.assert_array_equal(given[~unknown], trimap[..., 0][~unknown])
    np.testing.assert_array_equal(given[decided], expected[decided].astype(np.uint8))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"head": Head.LABELS}, "A2U matting has no head 'labels', expected one of alpha, raw: give one with --head"),
        ({"shape": Shape(1, 40, 64)}, "each side is a multiple of 16; the nearest larger size is 48x64"),
    ],
)
def test_what_does_not_fit_is_refused(checkpoint: Path, tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ExportError, match=says):
        export(checkpoint, tmp_path / "no.onnx", ExportOptions(**options))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_is_told(checkpoint: Path) -> None:
    document = inspect(checkpoint)
    assert (document["model"], document["task"], document["recipe"]) == ("A2U matting", "matting", "a2u_matting")
    assert document["parameters"] == sum(parameter.numel() for parameter in network().parameters())
    assert "classes" not in document
