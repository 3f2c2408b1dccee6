"""Nodes and weights of a graph that was written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fade_deploy.errors import InputError
from fade_deploy.graph import passes
from fade_deploy.report import graph_summary
from fade_deploy.report.content import Cell, Note, Table
from fade_deploy.report.graph_summary import ModuleSummary, graph_section, summarised


def node(kind: str, inputs: list[str], output: str, *, domain: str = "", **notes: str) -> onnx.NodeProto:
    made = helper.make_node(kind, inputs, [output], domain=domain)
    for key, value in notes.items():
        made.metadata_props.add(key=f"fade.{key}", value=value)
    return made


@pytest.fixture
def file(tmp_path: Path) -> Path:
    nodes = [
        node("MatMul", ["x", "w"], "a", module="head.linear.inner"),
        node("MatMul", ["a", "w"], "b", module="head.linear", replaces="head.old.0, head.old.1"),
        node("Add", ["b", "v"], "c", module="head"),
        node("FadeHead", ["c"], "y", domain="fade"),
    ]
    weights = [numpy_helper.from_array(np.zeros(shape, np.float32), name) for name, shape in (("w", (3, 3)), ("v", 3))]
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3, 3]) for name in "xy"]
    graph = helper.make_graph(nodes, "graph", values[:1], values[1:], weights)
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph), path)
    return path


def test_nodes_are_counted_by_operator_and_module_and_weights_where_they_are_first_used(file: Path) -> None:
    summary = summarised(file)
    assert summary.operators == {"MatMul": 2, "Add": 1, "fade.FadeHead": 1}
    assert summary.size == file.stat().st_size
    assert summary.modules == (
        ModuleSummary(name="head.linear", nodes=2, weights=9, replaces=("head.old.0", "head.old.1")),
        ModuleSummary(name="head", nodes=1, weights=3, replaces=()),
        ModuleSummary(name="", nodes=1, weights=0, replaces=()),
    )


def test_two_files_stand_side_by_side(file: Path, tmp_path: Path) -> None:
    model = onnx.load(file)
    del model.graph.node[3]
    other = tmp_path / "other.onnx"
    onnx.save(model, other)
    operators, *modules = graph_section([str(file), str(other), "model.pth"]).blocks
    assert isinstance(operators, Table)
    rows = {row[0]: [cell.text if isinstance(cell, Cell) else cell for cell in row[1:]] for row in operators.rows}
    assert rows == {"all": ["4", "3"], "MatMul": ["2", "2"], "Add": ["1", "1"], "fade.FadeHead": ["1", "-"]}
    assert len(modules) == 2


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    assert graph_section(["model.pth", "model.engine"]).blocks == (
        Note("Left out: none of the files is an ONNX graph."),
    )
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\xff\xff\xff")
    with pytest.raises(InputError, match=r"broken\.onnx is not a readable ONNX file"):
        summarised(broken)
    (note,) = graph_section([str(broken)]).blocks
    assert isinstance(note, Note)
    assert "broken.onnx is not a readable ONNX file" in note.text


def test_the_names_of_the_notes_are_those_that_the_exporter_writes() -> None:
    assert (graph_summary._MODULE, graph_summary._REPLACES) == (passes.MODULE_KEY, passes.REPLACES_KEY)
