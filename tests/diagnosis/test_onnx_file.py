"""What stands in a file, as the package onnx wrote it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from fade_deploy.diagnosis.onnx_file import read_onnx, without_functions
from fade_deploy.diagnosis.proof_model import proof_model
from fade_deploy.errors import InputError


def saved(folder: Path, model: onnx.ModelProto | bytes, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return path


def graph_model(
    nodes: list[onnx.NodeProto],
    *,
    opset: int = 18,
    initializers: dict[str, np.ndarray] | None = None,
    functions: tuple[onnx.FunctionProto, ...] = (),
    dtype: int = TensorProto.FLOAT,
) -> onnx.ModelProto:
    """A model with an input ``x`` of unknown shape; its output is that of the last node."""
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", dtype, None)],
        [helper.make_tensor_value_info(nodes[-1].output[0], dtype, None)],
        initializer=[numpy_helper.from_array(array, name) for name, array in (initializers or {}).items()],
    )
    opsets = [helper.make_opsetid("", opset), *(helper.make_opsetid(function.domain, 1) for function in functions)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=functions)


def test_versions_nodes_and_attributes_are_read(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["y"], name="first", group=4, auto_pad="VALID"),
        helper.make_node("Softmax", ["y"], ["z"], axis=-1),
    ]
    model = graph_model(nodes, opset=21, initializers={"w": np.zeros((4, 1, 1, 1), np.float32)})
    file = read_onnx(saved(tmp_path, model))
    assert (file.ir_version, dict(file.opsets)) == (9, {"": 21})
    first, second = file.nodes
    assert (first.name, first.operator, first.domain) == ("first", "Conv", "")
    assert (first.inputs, first.outputs) == (("x", "w"), ("y",))
    assert dict(first.attributes) == {"group": 4}
    assert dict(second.attributes) == {"axis": -1}


def test_every_node_of_a_real_export_is_read(tiny_onnx: Path) -> None:
    model, file = onnx.load(str(tiny_onnx)), read_onnx(tiny_onnx)
    assert [(node.domain, node.operator, node.name, list(node.inputs), list(node.outputs)) for node in file.nodes] == [
        (node.domain, node.op_type, node.name, list(node.input), list(node.output)) for node in model.graph.node
    ]
    bodies = [[node.operator for node in scope.nodes] for scope in file.scopes[1:]]
    assert bodies == [[node.op_type for node in function.node] for function in model.functions]
    assert dict(file.opsets) == {entry.domain: entry.version for entry in model.opset_import}


def test_graphs_inside_nodes_are_scopes_of_their_own(tmp_path: Path) -> None:
    inner = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["inner"])], "then", [], [helper.make_tensor_value_info("inner", 1, None)]
    )
    nodes = [
        helper.make_node("Constant", [], ["condition"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("If", ["condition"], ["y"], then_branch=inner, else_branch=inner),
    ]
    file = read_onnx(saved(tmp_path, graph_model(nodes)))
    assert [[node.operator for node in scope.nodes] for scope in file.scopes] == [
        ["Constant", "If"],
        ["Relu"],
        ["Relu"],
    ]


@pytest.mark.parametrize(
    ("dtype", "given"), [(np.float16, "float16"), (np.float32, "float32"), (np.float64, "float64")]
)
def test_a_dtype_is_known_from_the_weight(tmp_path: Path, dtype: type, given: str) -> None:
    node = helper.make_node("Conv", ["unknown", "w"], ["y"])
    model = graph_model(
        [helper.make_node("NonZero", ["x"], ["unknown"]), node], initializers={"w": np.zeros((1, 1, 1, 1), dtype)}
    )
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.BOOL
    file = read_onnx(saved(tmp_path, model))
    assert file.scopes[0].dtype_of(file.nodes[1]) == given


def test_a_dtype_goes_on_from_node_to_node_and_ends_at_a_cast(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Cast", ["a"], ["b"], to=TensorProto.FLOAT16),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Cast", ["c"], ["whole"], to=TensorProto.INT64),
        helper.make_node("CastLike", ["c", "of_a_dtype_that_is_not_known"], ["like"]),
        helper.make_node("Sqrt", ["c"], ["d"]),
    ]
    file = read_onnx(saved(tmp_path, graph_model(nodes)))
    assert [file.scopes[0].dtypes[name] for name in "xabc"] == ["float32", "float32", "float16", "float16"]
    assert not {"whole", "like"} & file.scopes[0].dtypes.keys()
    # The graph's output says float32, and what a file states is believed.
    assert file.scopes[0].dtypes["d"] == "float32"


def test_functions_of_one_domain_are_cut_out_and_nothing_else(tmp_path: Path) -> None:
    other = helper.make_function("other", "F", ["a"], ["b"], [helper.make_node("Relu", ["a"], ["b"])], [])
    other.opset_import.append(helper.make_opsetid("", 18))
    model = onnx.load_model_from_string(proof_model(body=True))
    model.functions.append(other)
    left = onnx.load_model_from_string(without_functions(saved(tmp_path, model), "fade"))
    assert [function.name for function in left.functions] == ["F"]
    del model.functions[0]
    assert left == model


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty, expected an .onnx file"),
        (b"PK\x03\x04 a zip file", "is not ONNX or is truncated"),
        (proof_model(body=True)[:-9], "is not ONNX or is truncated"),
        (b"\x08\x09", "is not ONNX or is truncated (it has no graph or no version)"),
        (b"\x08\x09\x38\x01", "is not ONNX or is truncated"),  # a number where the graph should be
    ],
)
def test_what_is_no_onnx_file_is_one_line(tmp_path: Path, content: bytes, expected: str) -> None:
    with pytest.raises(InputError) as raised:
        read_onnx(saved(tmp_path, content))
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"can't be read \(No such file or directory\), expected an .onnx file"):
        read_onnx(tmp_path / "nowhere.onnx")


def test_graphs_without_an_end_of_depth_are_refused(tmp_path: Path) -> None:
    from fade_deploy.diagnosis.wire_format import message

    graph = message((2, "innermost"))
    for _ in range(2000):
        graph = message((1, message((5, message((6, graph))))))
    with pytest.raises(InputError, match="is not ONNX or is truncated"):
        read_onnx(saved(tmp_path, message((1, 9), (7, graph))))
