"""Modules of a file and the tensors that leave them, on a graph small enough to draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest

from fade_deploy.graph.passes import MODULE_KEY, REPLACES_KEY
from fade_deploy.graph.taps import module_scopes, module_weights, with_outputs


def node(op: str, inputs: list[ir.Value | None], name: str, module: str, **attributes: int) -> ir.Node:
    made = ir.node(op, inputs, attributes or None)
    made.outputs[0].name = name
    if module:
        made.metadata_props[MODULE_KEY] = module
    return made


@pytest.fixture
def model() -> ir.Model:
    """``out = exp(abs(x * w)) + float(half(abs(x * w)))``, in the modules a.first, a, and b."""
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=[2])
    weight = ir.Value(name="w", const_value=ir.tensor(np.array([2, 3], np.float32), name="w"))
    scaled = node("Mul", [x, weight], "scaled", "a.first")
    made = node("Abs", [scaled.outputs[0]], "made", "a")
    low = node("Cast", [made.outputs[0]], "low", "a", to=ir.DataType.FLOAT16.value)
    wide = node("Cast", [low.outputs[0]], "wide", "", to=ir.DataType.FLOAT.value)
    grown = node("Exp", [made.outputs[0]], "grown", "b")
    grown.metadata_props[REPLACES_KEY] = "user.one, user.two"
    out = node("Add", [grown.outputs[0], wide.outputs[0]], "out", "")
    out.outputs[0].shape, out.outputs[0].type = ir.Shape([2]), ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph(
        [x], out.outputs, nodes=[scaled, made, low, wide, grown, out], initializers=[weight],
        opset_imports={"": 18}, name="g",
    )  # fmt: skip
    return ir.Model(graph, ir_version=10)


def test_every_module_is_there_with_what_leaves_it(model: ir.Model) -> None:
    scopes = {scope.module: scope for scope in module_scopes(model)}
    assert list(scopes) == ["a.first", "a", "b"]  # in the order in which they are done
    assert scopes["a.first"].values == ("scaled",)
    assert scopes["b"].values == ("grown",)
    assert scopes["b"].replaces == ("user.one", "user.two")
    assert scopes["a"].replaces == ()


def test_a_cast_for_a_reader_belongs_to_the_reader(model: ir.Model) -> None:
    scope = next(scope for scope in module_scopes(model) if scope.module == "a")
    assert scope.values == ("made",)  # and not "low"


def test_taps_give_the_inner_tensors(model: ir.Model, tmp_path: Path) -> None:
    (tmp_path / "tapped.onnx").write_bytes(with_outputs(model, ["made", "grown", "out"]))
    session = onnxruntime.InferenceSession(str(tmp_path / "tapped.onnx"), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["out", "made", "grown"]
    _, made, grown = session.run(None, {"x": np.array([-1, 0], np.float32)})
    assert made.tolist() == [2, 0]
    np.testing.assert_allclose(grown, np.exp([2, 0]), rtol=1e-6)
    assert [value.name for value in model.graph.outputs] == ["out"]  # the model itself is as it was


def test_weights_come_with_their_module(model: ir.Model) -> None:
    (weight,) = module_weights(model)
    assert (weight.module, weight.values.tolist()) == ("a.first", [2, 3])
