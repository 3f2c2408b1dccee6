"""Planted faults are found, named by module and explained; what precision broke is mended by the written plan."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from fade_deploy.api.verify.bisect import Parting, bisect
from fade_deploy.api.verify.mending import Mending
from fade_deploy.api.verify.options import Backend, VerifyOptions
from fade_deploy.contract import METADATA_KEY
from fade_deploy.errors import InputError, OutputError
from fade_deploy.graph.precision import typed
from fade_deploy.precision import Precision, PrecisionPlan, Rule, load_plan
from fade_deploy.recipe import Shape
from tests.api.planted_faults import with_one_size, with_weights

SMALL = VerifyOptions(shapes=(Shape(1, 32, 64),))


def one_changed(values: Any) -> Any:
    values.flat[5] += 2
    return values


def stored_as(source: Path, module: str, size: int) -> str:
    """The name under which a node of a module reads its weight of that many values."""
    model = onnx.load(source)
    sizes = {weight.name: int(np.prod(weight.dims)) for weight in model.graph.initializer}
    for node in model.graph.node:
        if any(entry.key == "fade.module" and entry.value == module for entry in node.metadata_props):
            for name in node.input:
                if sizes.get(name) == size:
                    return str(name)
    raise AssertionError(f"{module} reads no weight of {size} values")


def test_a_file_that_agrees_has_no_parting(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    found = bisect([tiny_onnx, tiny_checkpoint], SMALL)
    assert found.passed
    assert (found.first, found.weights, found.keep, found.plan) == (None, (), (), "")
    modules = [boundary.module for boundary in found.boundaries]
    for expected in ("backbone.patch_embed1", "backbone.block3.0.attn", "backbone.norm4", "decode_head"):
        assert expected in modules
    assert len(modules) > 60
    assert all(boundary.relative_error < 1e-4 for boundary in found.boundaries)
    assert any(boundary.max_error > 0 for boundary in found.boundaries)  # two implementations, not one twice


def test_one_changed_weight_is_found_and_named(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    name = "backbone.block2.0.attn.sr.weight"
    changed = with_weights(tiny_onnx, tmp_path / "changed.onnx", {name: one_changed})
    found = bisect([tiny_checkpoint, changed], SMALL)
    assert not found.passed
    assert found.first is not None
    assert (found.first.module, found.first.replaces) == ("backbone.block2.0.attn.sr", ())
    (weight,) = found.weights
    assert (weight.name, weight.changed) == (name, 1)
    assert weight.max_difference == pytest.approx(2)
    before = found.boundaries[: found.boundaries.index(found.first)]
    assert before
    assert all(boundary.passed for boundary in before)
    json.dumps(found.as_dict(), allow_nan=False)


def test_a_weight_that_the_exporter_stored_another_way_is_named_too(
    tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    changes = {
        stored_as(tiny_onnx, "backbone.block3.0.attn.kv", 40 * 80): one_changed,  # transposed, under no name of ours
    }
    changed = with_weights(tiny_onnx, tmp_path / "changed.onnx", changes)
    found = bisect([changed, tiny_checkpoint], SMALL)
    assert found.first is not None
    assert found.first.module == "backbone.block3.0.attn.kv"
    assert [weight.name for weight in found.weights] == ["backbone.block3.0.attn.kv.weight"]


def test_a_fused_step_is_told_with_the_modules_that_it_stands_for(
    tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    changed = with_weights(tiny_onnx, tmp_path / "changed.onnx", {"decode_head.chains.0.start.weight": one_changed})
    found = bisect([changed, tiny_checkpoint], SMALL)
    assert found.first is not None
    assert found.first.module == "decode_head.chains.0.start"
    assert {"decode_head.linear_c4", "decode_head.linear_fuse"} <= set(found.first.replaces)


def test_shapes_are_tried_from_the_smallest_up(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    changed = with_weights(tiny_onnx, tmp_path / "c.onnx", {"decode_head.classes.bias": one_changed_bias})
    found = bisect([changed, tiny_checkpoint], VerifyOptions(shapes=(Shape(1, 64, 64), Shape(1, 32, 32)), seed=1))
    assert (found.shape, found.source) == ("1x32x32", "seed 1")
    assert found.first is not None
    assert found.first.module == "decode_head"


def one_changed_bias(values: Any) -> Any:
    values[1] += 0.5
    return values


# --- precision -------------------------------------------------------------------------------------------------------

LOUD = "backbone.patch_embed2"


@pytest.fixture(scope="module")
def loud(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The tiny model with activations of 1e6 before one LayerNorm, which is the same function; and a file of it in
    which that norm alone, and one harmless one, are float16.
    """
    folder = tmp_path_factory.mktemp("loud")
    container = torch.load(tiny_checkpoint, weights_only=True)
    for kind in ("weight", "bias"):
        container["state_dict"][f"{LOUD}.proj.{kind}"] *= 1e6
    checkpoint = folder / "loud.pth"
    torch.save(container, checkpoint)
    louder = {f"{LOUD}.proj.{kind}": lambda values: values * np.float32(1e6) for kind in ("weight", "bias")}
    model = ir.load(with_weights(tiny_onnx, folder / "float32.onnx", louder))
    plan = PrecisionPlan(
        name="by hand",
        precision=Precision.FP32,
        rules=tuple(
            Rule(modules=(f"{module}.norm",), precision=Precision.FP16, reason="planted")
            for module in (LOUD, "backbone.patch_embed3")
        ),
    )
    typing = typed(model, plan)
    facts = {**json.loads(model.metadata_props[METADATA_KEY]), "precision": typing.as_dict()}
    model.metadata_props[METADATA_KEY] = json.dumps(facts)
    file = folder / "loud.onnx"
    ir.save(model, file)
    (folder / "loud.json").write_text(json.dumps({"precision_plan": plan.as_dict()}))
    return file, checkpoint


@pytest.mark.slow
def test_a_layer_norm_in_float16_is_found_named_and_mended(
    loud: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fade_deploy.api.verify.verify import verify

    file, checkpoint = loud
    plan_file = tmp_path / "mended.toml"
    found = bisect([file, checkpoint], SMALL, output=plan_file)
    assert not found.passed
    assert "NaN" in found.output.reason
    assert found.first is not None
    assert found.first.module == f"{LOUD}.norm"
    assert found.keep == (f"{LOUD}.norm",)  # and not the harmless one
    assert found.plan == str(plan_file)
    assert 3 < found.trials < 40
    rules = tomllib.loads(plan_file.read_text())["rule"]
    assert rules[-1]["modules"] == [f"{LOUD}.norm"]
    assert rules[-1]["precision"] == "fp32"

    # A file typed by that plan agrees.
    model = ir.load(file.with_name("float32.onnx"))
    typing = typed(model, load_plan(plan_file))
    facts = {**json.loads(model.metadata_props[METADATA_KEY]), "precision": typing.as_dict()}
    model.metadata_props[METADATA_KEY] = json.dumps(facts)
    ir.save(model, tmp_path / "mended.onnx")
    again = verify([checkpoint, tmp_path / "mended.onnx"], VerifyOptions(shapes=SMALL.shapes, library="none"))
    assert again.passed
    assert again.runs[0].precision == "fp16"


def bisected_with(mending: Mending, file: Path, checkpoint: Path, patch: pytest.MonkeyPatch) -> Parting:
    """Without the search for a plan, which takes long."""
    from fade_deploy.api.verify import mending as searching

    patch.setattr(searching, "mended", lambda *_: mending)
    return bisect([file, checkpoint], SMALL, output=file.with_name("plan.toml"))


def test_a_plan_that_is_not_at_fault_is_not_written(
    loud: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, checkpoint = loud
    for name in ("loud.onnx", "loud.json"):
        shutil.copy(file.with_name(name), tmp_path)
    same = Mending(keep=(), plan=PrecisionPlan(name="same", precision=Precision.FP32), trials=1)
    found = bisected_with(same, tmp_path / "loud.onnx", checkpoint, monkeypatch)
    assert (found.plan, found.keep, found.trials) == ("", (), 1)
    assert not (tmp_path / "plan.toml").exists()
    assert "typed by the same plan agrees, so the plan is not at fault" in found.notes[-1]


def test_a_file_without_its_manifest_is_taken_for_one_of_the_shipped_plan(
    loud: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, checkpoint = loud
    shutil.copy(file, tmp_path)
    found = bisected_with(Mending(keep=(), plan=None, trials=2), tmp_path / "loud.onnx", checkpoint, monkeypatch)
    assert "loud.json states no precision plan" in found.notes[-2]
    assert "not even float32 everywhere mends it" in found.notes[-1]


def test_a_plan_is_not_overwritten(loud: tuple[Path, Path], tmp_path: Path) -> None:
    target = tmp_path / "mine.toml"
    target.write_text("mine")
    with pytest.raises(OutputError, match="exists"):
        bisect(list(loud), SMALL, output=target)
    assert target.read_text() == "mine"


# --- what is refused -------------------------------------------------------------------------------------------------


def test_only_one_file_and_its_checkpoint_can_be_bisected(tiny_onnx: Path, tiny_checkpoint: Path) -> None:
    for files in ([tiny_onnx], [tiny_onnx, tiny_onnx], [tiny_onnx, tiny_checkpoint, tiny_checkpoint]):
        with pytest.raises(InputError, match="expected exactly these two"):
            bisect(files, SMALL)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (VerifyOptions(on=(Backend.OPENVINO,)), "--on means nothing with --bisect"),
        (VerifyOptions(max_miou_drop=0.1), "--max-miou-drop means nothing with --bisect"),
        (VerifyOptions(save_outputs=Path("x")), "--save-outputs means nothing with --bisect"),
        (VerifyOptions(library="x.so"), "--library means nothing with --bisect"),
    ],
)
def test_what_bisecting_does_not_use_is_refused(options: VerifyOptions, says: str) -> None:
    with pytest.raises(InputError, match=says):
        bisect(["a.onnx", "b.pth"], options)


def test_a_float32_file_has_no_plan_to_write(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="computes in float32, for which there is no plan to write"):
        bisect([tiny_onnx, tiny_checkpoint], SMALL, output=tmp_path / "plan.toml")


def test_a_file_that_does_not_run_is_one_line(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    dead = with_one_size(tiny_onnx, tmp_path / "dead.onnx")
    with pytest.raises(InputError, match=r"dead.onnx cpu can't run 1x32x64: .*; expected a size that it runs"):
        bisect([dead, tiny_checkpoint], SMALL)


def test_a_file_without_module_names_is_refused(tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny_onnx)
    for node in model.graph.node:
        del node.metadata_props[:]
    onnx.save(model, tmp_path / "nameless.onnx")
    with pytest.raises(InputError, match="names no modules on its nodes"):
        bisect([tmp_path / "nameless.onnx", tiny_checkpoint], SMALL)
