"""A user's own module: exported with our operators, compared at sizes it was not traced with, refused in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.api.export import module
from fade_deploy.api.export.module import export_module
from fade_deploy.api.inspect import inspect
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
    shapes = dict.fromkeys(a.shape for a in result.agreements)
    assert list(shapes) == [f"{n}x3x{h}x{w}, 1" for n, h, w in ((1, 8, 12), (1, 4, 6), (2, 10, 14))]
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


def test_a_size_that_nobody_named_is_shown_as_unknown(exported: Path) -> None:
    assert inspect(exported)["outputs"][0].endswith("[?, 4, ?, ?]")


def test_the_manifest_says_what_it_is(exported: Path) -> None:
    manifest = json.loads(exported.with_suffix(".json").read_text())
    assert (manifest["model"], manifest["task"], manifest["passed"]) == ("Doubler", "module", True)


def test_a_static_file_is_compared_at_its_own_shape(tmp_path: Path) -> None:
    result = export_module(nn.Conv2d(3, 2, 1).eval(), {"x": torch.randn(1, 3, 4, 4)}, tmp_path / "a.onnx")
    assert result.passed
    assert {a.shape for a in result.agreements} == {"1x3x4x4"}


def test_disagreement_is_a_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "tolerance", lambda _: Tolerance(atol=-1, why="nothing is below zero"))
    result = export_module(nn.Conv2d(3, 2, 1).eval(), {"x": torch.randn(1, 3, 4, 4)}, tmp_path / "a.onnx")
    assert not result.passed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.unverified.json", "a.unverified.onnx"]


class _Calls(nn.Module):
    """What a function does, as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *tensors: Tensor) -> Any:
        return self.function(*tensors)


def calling(function: Callable[..., Any]) -> nn.Module:
    return _Calls(function).eval()


SIZES = {"x": {2: "my height", -1: "my-width"}}


def test_a_network_that_needs_more_than_a_few_pixels_exports_without_multiples(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 7), *(nn.MaxPool2d(2) for _ in range(4))).eval()
    result = export_module(network, {"x": torch.randn(1, 1, 48, 48)}, tmp_path / "a.onnx", dynamic_axes=SIZES)
    assert result.passed
    # Larger by odd numbers that differ, so that neither parity nor a square is taken for granted.
    assert list(dict.fromkeys(a.shape for a in result.agreements)) == ["1x1x48x48", "1x1x24x24", "1x1x49x51"]
    session = onnxruntime.InferenceSession(result.path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == [1, 1, "my height", "my-width"]


def test_the_users_tensors_are_neither_changed_nor_compared_changed(tmp_path: Path) -> None:
    x = torch.randn(1, 3, 4, 4, requires_grad=True)
    before = x.detach().clone()
    steps = nn.Sequential(nn.ReLU(inplace=True), calling(lambda a: a.add_(1)), nn.Conv2d(3, 2, 1)).eval()
    assert export_module(steps, {"x": x}, tmp_path / "a.onnx").passed
    assert torch.equal(x, before)
    assert x.requires_grad


def test_integers_booleans_and_an_output_called_class_scores_are_compared_with_themselves(tmp_path: Path) -> None:
    def answers(x: Tensor) -> tuple[Tensor, ...]:
        return x.argmax(1), x > 0, x.softmax(1)

    names = ("labels", "positive", "class_scores")
    result = export_module(calling(answers), {"x": torch.randn(1, 3, 4, 4)}, tmp_path / "a.onnx", outputs=names)
    assert result.passed
    assert [a.max_error for a in result.agreements[:2]] == [0.0, 0.0]
    assert all(a.max_error is not None and a.labels_compared is None for a in result.agreements)


def test_an_integer_that_is_off_by_one_disagrees(tmp_path: Path) -> None:
    def odd_one(x: Tensor) -> Tensor:
        return x.to(torch.int64) + (1 if torch.compiler.is_exporting() else 0)

    result = export_module(calling(odd_one), {"x": torch.ones(1, 2)}, tmp_path / "a.onnx")
    assert (result.passed, result.agreements[0].max_error) == (False, 1.0)


def test_what_the_exporter_says_of_a_branch_on_values_is_one_line(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    branch = calling(lambda x: x if x.sum() > 0 else -x)
    with pytest.raises(
        ExportError, match=r"_Calls can't be exported: .*data-dependent.*; .*rewrite that part"
    ) as raised:
        export_module(branch, {"x": torch.randn(1, 3, 4, 4)}, tmp_path / "a.onnx")
    assert "\n" not in str(raised.value)
    assert "swap_upsamplers" not in str(raised.value)
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_runs_at_one_size_only_is_told_in_one_line(tmp_path: Path) -> None:
    ones = torch.ones(1, 1, 6, 1)
    branch = calling(lambda x: x + ones if x.shape[2] == 6 else x)
    with pytest.raises(ExportError, match=r"ONNX Runtime \S+ can't run the file at 1x3x3x3, which PyTorch") as raised:
        export_module(branch, {"x": torch.randn(1, 3, 6, 6)}, tmp_path / "a.onnx", dynamic_axes=SIZES)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())


def test_dtypes_without_a_kernel_in_onnx_runtime_are_told_in_one_line(tmp_path: Path) -> None:
    example = {"x": torch.randn(1, 3, 4, 4, dtype=torch.float64)}
    with pytest.raises(ExportError, match=r"ONNX Runtime \S+ can't load the file: .*Conv.*; expected oper") as raised:
        export_module(nn.Conv2d(3, 2, 1).double().eval(), example, tmp_path / "a.onnx")
    assert "\n" not in str(raised.value)


class _CudaOnly(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        raise RuntimeError("carafe_forward is not compiled for this device\nsecond line")


class _Layer(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return _CudaOnly.apply(x)


def partly_training() -> nn.Module:
    module = nn.Sequential(nn.Sequential(nn.ReLU(), nn.Dropout())).eval()
    module[0][1].train()
    return module


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"module": nn.Sequential(nn.ReLU(), nn.Sequential(_Layer())).eval()}, ExportError,
         r"'1\.0' \(_Layer\) raises at 1x3x4x4: RuntimeError: carafe_forward is not compiled.*swap_upsamplers"),
        ({"module": calling(lambda x: {}["key"])}, ExportError, "_Calls raises at 1x3x4x4: KeyError: 'key'; .* CPU"),
        ({"module": nn.Bilinear(4, 4, 2).eval()}, ExportError, "TypeError: .*missing.*takes the inputs by position"),
        ({"module": nn.GroupNorm(3, 3).eval(), "dynamic_axes": {"x": {2: "h", 3: "w"}},
          "inputs": {"x": torch.randn(1, 3, 2, 3)}}, ExportError, "GroupNorm raises at 1x3x1x1: .*: state .*multiples"),
        ({"module": calling(lambda x: {4: x}[x.shape[2]]), "dynamic_axes": {"x": {2: "h"}}}, ExportError,
         "raises at 1x3x2x4: KeyError: 2; expected a module that runs at every size"),
        ({"module": nn.ReLU()}, InputError, r"ReLU is in training mode.*eval\(\)"),
        ({"module": partly_training()}, InputError, r"'0\.1' \(Dropout\) is in training mode"),
        ({"module": torch.relu}, InputError, "the module is of type builtin.*, expected a torch.nn.Module"),
        ({"module": nn.ReLU}, InputError, "the module is the class ReLU, expected a torch.nn.Module instance"),
        ({"module": torch.jit.ScriptModule().eval()}, InputError, "is TorchScript, expected a plain"),
        ({"module": nn.Sequential(nn.Conv2d(3, 2, 1, device="meta")).eval()}, InputError,
         r"weight '0\.weight' is on meta, expected the CPU: load"),
        ({"inputs": (torch.ones(1),)}, InputError, "inputs is of type tuple, expected names"),
        ({"inputs": {}}, InputError, "inputs is empty"),
        ({"inputs": {"x": (torch.ones(1), torch.ones(1))}}, InputError, "input 'x' is of type tuple, expected a"),
        ({"inputs": {"": torch.ones(1)}}, InputError, "an input is named '', expected printable text"),
        ({"inputs": {"x": torch.ones(1, dtype=torch.bfloat16)}}, InputError, "input 'x' is torch.bfloat16, expected"),
        ({"inputs": {"x": torch.ones(1, dtype=torch.complex64)}}, InputError, "input 'x' is torch.complex64"),
        ({"inputs": {"x": torch.ones(2, 2).to_sparse()}}, InputError, "input 'x' is torch.sparse_coo"),
        ({"inputs": {"x": torch.ones(1, device="meta")}}, InputError, "input 'x' is on meta, expected the CPU"),
        ({"inputs": {"x": torch.ones(1, 0, 4)}}, InputError, "input 'x' has the shape 1x0x4, which holds no values"),
        ({"outputs": "output"}, InputError, r"outputs is 'output', expected a sequence of names: .*\('output',\)"),
        ({"outputs": None}, InputError, "outputs is of type NoneType, expected a sequence"),
        ({"outputs": ("a", "b")}, InputError, r"ReLU returns 1 tensors, outputs names 2 \(a, b\)"),
        ({"outputs": ("x",)}, InputError, "output 'x' bears the name of another one or of an input"),
        ({"outputs": ("a", "a"), "module": calling(lambda x: (x, x))}, InputError, "output 'a' bears the name"),
        ({"outputs": ("\0class_scores",)}, InputError, r"an output is named '\\x00class_scores', expected printable"),
        ({"module": calling(lambda x: (x, x))}, InputError, r"returns 2 tensors, outputs names 1 \(output\)"),
        ({"module": calling(lambda x: None)}, ExportError, "_Calls returns NoneType, expected a tensor or a tuple"),
        ({"module": calling(lambda x: {"a": x})}, ExportError, "_Calls returns dict, expected .* wrap it"),
        ({"module": calling(lambda x: (x, [x]))}, ExportError, "_Calls returns a tuple with list, expected"),
        ({"module": calling(lambda x: x.bfloat16())}, ExportError, "output 'output' of _Calls .* is torch.bfloat16"),
        ({"module": calling(lambda x: x[:0])}, ExportError, "output 'output' of _Calls at 1x3x4x4 .* holds no values"),
        ({"output": "a.txt"}, ExportError, r"does not end in .onnx.*-o \(in Python, output\)"),
        ({"output": {"x": 1}}, InputError, "output is of type dict, expected a path"),
        ({"opset": 3}, ExportError, r"opset 3 is not supported: .*\(in Python, opset=18 to 23\)"),
        ({"output": "nowhere/a.onnx"}, OutputError, "nowhere"),
        ({"dynamic_axes": ["x"]}, InputError, "dynamic_axes is of type list, expected names"),
        ({"dynamic_axes": {"x": [2, 3]}}, InputError, "dynamic_axes of 'x' is of type list, expected names by axis"),
        ({"dynamic_axes": {"x": {"2": "h"}}}, InputError, "has the axis '2', expected integers"),
        ({"dynamic_axes": {"x": {2: 4}}}, InputError, "a dimension of 'x' is named 4, expected printable text"),
        ({"dynamic_axes": {"x": {3: "w", -1: "v"}}}, InputError, "names axis 3 twice"),
        ({"dynamic_axes": {"y": {0: "batch"}}}, InputError, "names the input 'y', expected one of x"),
        ({"dynamic_axes": {"x": {7: "batch"}}}, InputError, "has 4 axes, dynamic_axes names axis 7"),
        ({"dynamic_axes": {"x": {-5: "batch"}}}, InputError, "has 4 axes, dynamic_axes names axis -5"),
        ({"dynamic_axes": {"x": {0: "n", 2: "n"}}}, InputError, "'n' is 1 and 4 in the example, expected one size"),
        ({"multiples": {"height": 2}}, InputError, "names the dimension 'height'"),
        ({"multiples": [2]}, InputError, "multiples is of type list"),
        ({"dynamic_axes": {"x": {2: "h"}}, "multiples": {"h": 0}}, InputError, "multiples has 0 for 'h', expected"),
        ({"dynamic_axes": {"x": {2: "h"}}, "multiples": {"h": -2}}, InputError, "multiples has -2 for 'h', expected"),
        ({"dynamic_axes": {"x": {2: "h"}}, "multiples": {"h": 3}}, InputError, "'h' is 4 .* expected a multiple of 3"),
    ],
)  # fmt: skip
def test_what_can_not_be_done_is_told_in_one_line_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict, error: type[FadeDeployError], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {"module": nn.ReLU().eval(), "inputs": {"x": torch.randn(1, 3, 4, 4)}, "output": "a.onnx", **changes}
    monkeypatch.setattr(module, "onnx_from_model", None)  # refused before the long part
    with pytest.raises(error, match=says) as raised:
        export_module(**options)
    assert "\n" not in str(raised.value)
    assert not list(tmp_path.iterdir())
