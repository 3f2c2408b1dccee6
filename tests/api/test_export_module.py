"""A user's own module: exported with our operators, compared at sizes it was not traced with, refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.api import export_module as module
from fade_deploy.api.export_module import export_module
from fade_deploy.errors import ExportError, FadeDeployError, InputError, OutputError
from fade_deploy.ops.registry import build_upsampler
from fade_deploy.tolerances import Tolerance


class Doubler(nn.Module):
    """Two inputs, two outputs, one of our operators in the middle."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.reduce = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.up = build_upsampler("fade", 4, compressed=8)

    def forward(self, image: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        reduced = self.reduce(image)
        upsampled = self.up(F.pad(image, [0, 0, 0, 0, 0, 1]), reduced)
        return upsampled * scale, reduced


AXES = {"image": {0: "batch", 2: "height", 3: "width"}}
EXAMPLE = {"image": torch.randn(1, 3, 8, 12), "scale": torch.full((1,), 0.5)}
OPTIONS = {
    "outputs": ("upsampled", "reduced"), "dynamic_axes": AXES, "multiples": {"height": 2, "width": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    result = export_module(Doubler().eval(), EXAMPLE, tmp_path_factory.mktemp("own") / "own.onnx", **OPTIONS)
    assert result.passed
    assert [a.shape for a in result.agreements] == [
        f"{n}x3x{h}x{w}, 1" for n, h, w in ((1, 8, 12), (1, 4, 6), (2, 10, 14)) for _ in range(2)
    ]
    assert {a.output for a in result.agreements} == {"upsampled", "reduced"}
    assert all(a.labels_compared is None for a in result.agreements)
    return result.path


def test_the_file_runs_at_any_size_and_keeps_the_names(exported: Path) -> None:
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    assert [(value.name, value.shape) for value in session.get_inputs()] == [
        ("image", ["batch", 3, "height", "width"]), ("scale", [1])
    ]  # fmt: skip
    image, scale = torch.randn(3, 3, 6, 20), torch.tensor([2.0])
    given = session.run(["upsampled", "reduced"], {"image": image.numpy(), "scale": scale.numpy()})
    with torch.no_grad():
        expected = Doubler().eval()(image, scale)
    for one, other in zip(given, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5)
    assert [node.op_type for node in onnx.load(exported).graph.node if node.domain == "fade"] == ["FadeUpsample"]


def test_the_manifest_says_what_it_is(exported: Path) -> None:
    manifest = json.loads(exported.with_suffix(".json").read_text())
    assert (manifest["model"], manifest["task"], manifest["passed"]) == ("Doubler", "module", True)


def test_a_static_file_is_compared_at_its_own_shape(tmp_path: Path) -> None:
    result = export_module(nn.Conv2d(3, 2, 1).eval(), {"x": torch.randn(1, 3, 4, 4)}, tmp_path / "a.onnx")
    assert result.passed
    assert [a.shape for a in result.agreements] == ["1x3x4x4"]


def test_disagreement_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "tolerance", lambda _: Tolerance(atol=-1, why="nothing is below zero"))
    result = export_module(nn.Conv2d(3, 2, 1).eval(), {"x": torch.randn(1, 3, 4, 4)}, tmp_path / "a.onnx")
    assert not result.passed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.unverified.json", "a.unverified.onnx"]


class _CudaOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        raise RuntimeError("carafe_forward is not compiled for this device\nsecond line")


class _Layer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _CudaOnly.apply(x)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"module": nn.Sequential(nn.ReLU(), nn.Sequential(_Layer())).eval()}, ExportError,
         r"'1\.0' \(_Layer\) can't be exported: carafe_forward is not compiled.*swap_upsamplers"),
        ({"module": nn.GroupNorm(3, 3).eval(), "dynamic_axes": {"x": {2: "h", 3: "w"}},
          "inputs": {"x": torch.randn(1, 3, 2, 3)}}, ExportError, "GroupNorm itself raises at 1x3x1x1: "),
        ({"module": nn.ReLU()}, InputError, r"ReLU is in training mode.*eval\(\)"),
        ({"output": "a.txt"}, ExportError, "does not end in .onnx"),
        ({"opset": 3}, ExportError, "opset 3 is not supported"),
        ({"output": "nowhere/a.onnx"}, OutputError, "nowhere"),
        ({"dynamic_axes": {"y": {0: "batch"}}}, InputError, "names the input 'y', expected one of x"),
        ({"dynamic_axes": {"x": {7: "batch"}}}, InputError, "has 4 axes, dynamic_axes names axis 7"),
        ({"dynamic_axes": {"x": {0: "n", 2: "n"}}}, InputError, "'n' is 1 and 4 in the example, expected one size"),
        ({"multiples": {"height": 2}}, InputError, "names the dimension 'height'"),
        ({"dynamic_axes": {"x": {2: "h"}}, "multiples": {"h": 3}}, InputError, "'h' is 4 .* expected a multiple of 3"),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_told_in_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, error: type[FadeDeployError], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"module": nn.ReLU().eval(), "inputs": {"x": torch.randn(1, 3, 4, 4)}, "output": "a.onnx", **changes}
    with pytest.raises(error, match=says) as raised:
        export_module(**options)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
