"""Exports in float16 and bfloat16: typed as the plan says, verified like any other file, described, and predicting."""

from __future__ import annotations

import json
import shlex
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from fade_deploy.api.export import verified_file
from fade_deploy.api.export.export import export
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.api.export.verified_file import ExportResult
from fade_deploy.api.inspect import inspect
from fade_deploy.contract import METADATA_KEY, Head
from fade_deploy.errors import ExportError, RecipeError
from fade_deploy.graph.node_types import element_types
from fade_deploy.graph.passes import MODULE_KEY
from fade_deploy.precision import Precision, default_plan
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.native_libraries import NativeLibrary
from fade_deploy.serve.matting_predictor import MattingPredictor
from fade_deploy.serve.predictor import Predictor
from fade_deploy.tolerances import tolerance
from tests.command_line import contents, run
from tests.graph.test_precision import LOW, no_cast_chains

SAMPLES = Path(__file__).parents[2] / "samples"
SHIPPED = {
    "shapes": SAMPLES / "01_train_shapes" / "shapes_fade.pth",
    "matting": SAMPLES / "02_train_matting" / "matting_fade.pth",
}
QUICK = ExportOptions(shape=Shape(1, 64, 96), precision=Precision.FP16)
NATIVE = ["native operators"] if NativeLibrary.ONNXRUNTIME_CPU.installed else []


def candidates(precision: Precision, standard_ops: bool = False) -> set[str]:
    emulated = f"{precision.type_name} emulated in float32"
    if precision is Precision.BF16:
        return {emulated}
    return {"standard operators", *([] if standard_ops else NATIVE), emulated}


def options_for(precision: Precision, **changes: Any) -> ExportOptions:
    return replace(QUICK, precision=precision, opset=precision.lowest_opset, **changes)


@pytest.fixture(scope="module", params=LOW)
def exported(
    request: pytest.FixtureRequest, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Precision, ExportResult]:
    folder = tmp_path_factory.mktemp("typed")
    options = options_for(request.param, shape=None, full_verification=False)
    return request.param, export(tiny_checkpoint, folder / "tiny.onnx", options)


def test_a_low_file_agrees_within_its_own_bound_in_every_way_that_it_runs(exported):
    precision, result = exported
    assert result.passed
    assert {agreement.candidate for agreement in result.agreements} == candidates(precision)
    bound = tolerance("ORT_CPU_FP32", precision)
    assert result.document["agreement"]["tolerance"]["atol"] == bound.atol
    for agreement in result.agreements:
        assert agreement.labels_agreeing == agreement.labels_compared
        # Further from PyTorch than a float32 file ever is: it was not a float32 file that was compared.
        assert tolerance("ORT_CPU_FP32").atol < agreement.max_error < bound.atol


def test_weights_have_the_type_of_the_modules_that_read_them(exported):
    precision, result = exported
    model = ir.load(result.path)
    kinds: dict[str, set[str]] = defaultdict(set)
    for value in model.graph.initializers.values():
        if value.const_value.dtype in (ir.DataType.FLOAT, *LOW.values()):
            for node, _ in value.uses():
                kinds[node.op_type].add(value.const_value.dtype.name)
    low = LOW[precision].name
    assert kinds["Conv"] == kinds["MatMul"] == kinds["FadeHead"] == {low}
    assert kinds["LayerNormalization"] == {"FLOAT"}


def test_what_the_plan_keeps_is_float32_in_the_file_and_casts_stand_at_boundaries_only(exported):
    precision, result = exported
    model = ir.load(result.path)
    no_cast_chains(model)
    types = element_types(model.graph)
    plan = default_plan(precision)
    for node in model.graph:
        if node.op_type in ("LayerNormalization", "Softmax"):
            assert types[node.outputs[0]] is ir.DataType.FLOAT
        elif node.op_type in ("Conv", "MatMul", "FadeUpsample", "FadeHead", "Erf"):
            assert types[node.outputs[0]] is LOW[plan.precision_of([node.metadata_props[MODULE_KEY]], node.op_type)]
    assert [value.dtype for value in (*model.graph.inputs, *model.graph.outputs)] == [ir.DataType.FLOAT] * 2
    onnx.checker.check_model(onnx.load(result.path), full_check=True)


def test_the_manifest_holds_the_plan_and_the_file_a_summary(exported):
    precision, result = exported
    document = result.document
    assert document["precision_plan"] == default_plan(precision).as_dict()
    (entry,) = onnx.load(result.path).metadata_props
    assert entry.key == METADATA_KEY
    summary = json.loads(entry.value)["precision"]
    assert summary == document["precision"]
    assert {key: summary[key] for key in ("default", "io", "plan")} == {
        "default": precision,
        "io": "fp32",
        "plan": "default",
    }
    graph = onnx.load(result.path).graph
    assert summary["casts"] == sum(node.op_type == "Cast" for node in graph.node)
    assert summary["nodes"]["fp32"] == sum(node.op_type in ("LayerNormalization", "Softmax") for node in graph.node)
    described = inspect(result.path)
    assert described["precision"] == summary
    by_type = described["weight_types"]
    assert by_type[precision.type_name] == summary["weights"][precision]
    assert by_type["float"] == summary["weights"]["fp32"]
    assert sum(by_type.values()) == described["weights"]


@pytest.mark.slow
def test_the_stated_command_gives_the_same_bytes(exported, tiny_checkpoint, tmp_path):
    _, result = exported
    shutil.copy(tiny_checkpoint, tmp_path)
    finished = run(*shlex.split(result.document["reproduce"]), cwd=tmp_path)
    assert finished.code == 0, finished.err
    there = contents(tmp_path)
    assert there["tiny.onnx"] == result.path.read_bytes()
    assert there["tiny.json"] == result.manifest.read_bytes()
    assert f"(precision plan '{result.document['precision']['plan']}')" in finished.out


def test_a_float32_file_says_nothing_of_precision(tiny_export):
    assert not {"precision", "precision_plan"} & tiny_export.document.keys()
    assert "--precision" not in tiny_export.document["reproduce"]
    assert inspect(tiny_export.path)["weight_types"].keys() == {"float", "int64"}


# --- other forms of a file -------------------------------------------------------------------------------------------


STANDARD = {"standard_ops": True}
EMBEDDED = {"head": Head.LABELS, "embed_preprocess": True}
UNFUSED = {"head": Head.PROBS, "fuse": False, "opset": 23}


@pytest.mark.parametrize(
    ("precision", "changes"),
    [
        pytest.param(Precision.FP16, STANDARD, id="fp16-standard"),
        pytest.param(Precision.FP16, EMBEDDED, id="fp16-labels-uint8"),
        pytest.param(Precision.BF16, UNFUSED, id="bf16-probs-unfused-opset23"),
        pytest.param(Precision.FP16, UNFUSED, id="fp16-probs-unfused-opset23", marks=pytest.mark.slow),
        pytest.param(Precision.BF16, STANDARD, id="bf16-standard", marks=pytest.mark.slow),
        pytest.param(Precision.BF16, EMBEDDED, id="bf16-labels-uint8", marks=pytest.mark.slow),
    ],
)
def test_every_form_of_a_segmentation_file_can_be_low(precision, changes, tiny_checkpoint, tmp_path):
    options = replace(options_for(precision), **changes)
    result = export(tiny_checkpoint, tmp_path / "form.onnx", options)
    assert result.passed
    standard = changes.get("standard_ops", False)
    assert {agreement.candidate for agreement in result.agreements} == candidates(precision, standard)
    model = ir.load(result.path)
    assert bool(model.functions) is not standard
    no_cast_chains(model)
    types = element_types(model.graph)
    if changes.get("embed_preprocess"):  # normalised in float32, then cast
        for node in model.graph:
            if MODULE_KEY not in node.metadata_props and node.op_type in ("Sub", "Div"):
                assert types[node.outputs[0]] in (ir.DataType.FLOAT, ir.DataType.INT64)
        assert model.graph.inputs[0].dtype is ir.DataType.UINT8
        assert model.graph.outputs[0].dtype is ir.DataType.INT64
    if changes.get("head") is Head.LABELS:  # classes are compared as float32
        best = next(node for node in model.graph if node.op_type == "ArgMax")
        assert types[best.inputs[0]] is ir.DataType.FLOAT


@pytest.mark.slow
@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize("model", SHIPPED)
def test_shipped_checkpoints_are_verified_low(model, precision, tmp_path):
    result = export(SHIPPED[model], tmp_path / f"{model}.onnx", options_for(precision))
    assert result.passed
    assert {agreement.candidate for agreement in result.agreements} == candidates(precision)


# --- plans of users --------------------------------------------------------------------------------------------------

PLAN = """
precision = "fp16"
[[rule]]
modules = ["decode_head.linear_pred"]
precision = "fp32"
reason = "a module that the fused head replaces"
"""


def test_a_users_plan_decides_and_is_named_without_its_folder(tiny_checkpoint, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(PLAN)
    options = replace(QUICK, precision=None, precision_plan=str(path))
    result = export(tiny_checkpoint, tmp_path / "tiny.onnx", options)
    assert result.passed
    assert result.document["precision_plan"]["rules"][0]["modules"] == ["decode_head.linear_pred"]
    assert "--precision-plan mine.toml" in result.document["reproduce"]
    assert str(tmp_path) not in result.document["reproduce"]
    model = ir.load(result.path)
    types = element_types(model.graph)
    for node in model.graph:
        if node.op_type in ("FadeHead", "LayerNormalization"):
            kept = node.op_type == "FadeHead"
            assert types[node.outputs[0]] is (ir.DataType.FLOAT if kept else ir.DataType.FLOAT16)


def test_what_a_plan_asks_for_in_vain_leaves_no_file(tiny_checkpoint, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(PLAN.replace("linear_pred", "linear_perd"))
    with pytest.raises(RecipeError, match=r"'decode_head\.linear_perd' matches no module.*decode_head\.linear_pred"):
        export(tiny_checkpoint, tmp_path / "tiny.onnx", replace(QUICK, precision=None, precision_plan=str(path)))
    assert set(contents(tmp_path)) == {"mine.toml"}


def test_bfloat16_before_opset_22_is_refused_and_the_command_chooses_it(tiny_checkpoint, tmp_path):
    with pytest.raises(ExportError, match=r"bf16 needs opset 22 or newer.*given 18: give --opset 22"):
        export(tiny_checkpoint, tmp_path / "tiny.onnx", replace(QUICK, precision=Precision.BF16))
    with pytest.raises(ExportError, match="inputs and outputs in bf16"):
        export(tiny_checkpoint, tmp_path / "tiny.onnx", replace(QUICK, io_precision=Precision.BF16))
    assert not contents(tmp_path)
    arguments = ("--precision", "bf16", "--shape", "1x32x32", "-o", "chosen.onnx")
    finished = run("fade-export", tiny_checkpoint, *arguments, cwd=tmp_path)
    assert finished.code == 0, finished.err
    assert "opset 22" in finished.out
    shown = run("fade-inspect", "chosen.onnx", cwd=tmp_path)
    assert "bfloat16" in shown.out
    assert "plan default" in shown.out


def test_a_low_file_that_disagrees_gets_no_name(tiny_checkpoint, tmp_path, monkeypatch):
    real = verified_file.emulate_low_types

    def damaged(model: ir.Model) -> None:
        real(model)
        bias = next(value for name, value in model.graph.initializers.items() if name.endswith("classes.bias"))
        bias.const_value = ir.tensor(bias.const_value.numpy() + np.float32(1))

    monkeypatch.setattr(verified_file, "emulate_low_types", damaged)
    result = export(tiny_checkpoint, tmp_path / "tiny.onnx", options_for(Precision.BF16))
    assert not result.passed
    assert set(contents(tmp_path)) == {"tiny.unverified.onnx", "tiny.unverified.json"}


# --- prediction ------------------------------------------------------------------------------------------------------


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.slow
@pytest.mark.parametrize("io", [Precision.FP32, Precision.FP16])
def test_a_float16_file_predicts_what_the_float32_one_does(io, tiny_checkpoint, tiny_onnx, tmp_path):
    options = replace(QUICK, shape=None, full_verification=False, io_precision=io)
    result = export(tiny_checkpoint, tmp_path / "half.onnx", options)
    assert result.passed
    kind = "float16" if io is Precision.FP16 else "float"
    assert inspect(result.path)["inputs"] == [f"image {kind} [batch, 3, height, width]"]
    image = picture(64, 96)
    labels, expected = (Predictor(path).predict(image) for path in (result.path, tiny_onnx))
    assert labels.dtype == expected.dtype
    assert (labels == expected).mean() > 0.98  # noise on random weights: classes are close to each other


@pytest.mark.slow
def test_a_matting_file_of_float16_inputs_predicts_alpha(tmp_path):
    image, levels = picture(64, 96), np.full((64, 96), 128, np.uint8)
    levels[:20], levels[40:] = 0, 255
    found = []
    for precision in (Precision.FP32, Precision.FP16):
        options = ExportOptions(
            shape=Shape(1, 64, 96), precision=precision, io_precision=precision, opset=18, full_verification=False
        )
        result = export(SHIPPED["matting"], tmp_path / f"{precision}.onnx", options)
        assert result.passed
        found.append(MattingPredictor(result.path).predict(image, levels).astype(int))
    assert np.abs(found[0] - found[1]).max() <= 2  # levels of 255
    assert (found[1][:20] == 0).all()
    assert (found[1][40:] == 255).all()
