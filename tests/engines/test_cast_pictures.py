"""A picture in bytes is cast first, which TensorRT wants, and stays the same picture."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import onnxruntime

from fade_deploy.engines.cast_pictures import cast_pictures


def picture_model(dtype: ir.DataType) -> ir.Model:
    """A picture [N, H, W, 3] -> its channels first, in float32, doubled; the trimap beside it is cast at once."""
    picture = ir.val("image", dtype, ["n", "h", "w", 3])
    trimap = ir.val("trimap", dtype, ["n", "h", "w", 1])
    transposed = ir.node("Transpose", [picture], {"perm": [0, 3, 1, 2]}, name="transpose")
    cast = ir.node("Cast", transposed.outputs, {"to": ir.DataType.FLOAT.value}, name="cast")
    doubled = ir.node("Add", [cast.outputs[0], cast.outputs[0]], name="double")
    direct = ir.node("Cast", [trimap], {"to": ir.DataType.FLOAT.value}, name="direct")
    for name, node in (("doubled", doubled), ("direct", direct)):
        node.outputs[0].name, node.outputs[0].dtype = name, ir.DataType.FLOAT
    graph = ir.Graph(
        [picture, trimap],
        [doubled.outputs[0], direct.outputs[0]],
        nodes=[transposed, cast, doubled, direct],
        opset_imports={"": 18},
        name="model",
    )
    return ir.Model(graph, ir_version=10)


def run(model: ir.Model) -> list[np.ndarray]:
    data = ir.serde.serialize_model(model).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)
    return session.run(
        None,
        {
            "image": generator.integers(0, 256, (2, 4, 5, 3), np.uint8),
            "trimap": generator.integers(0, 256, (2, 4, 5, 1), np.uint8),
        },
    )


def test_the_cast_comes_first_and_nothing_else_changes():
    expected = run(picture_model(ir.DataType.UINT8))
    model = picture_model(ir.DataType.UINT8)
    cast_pictures(model)
    assert [node.op_type for node in model.graph] == ["Cast", "Transpose", "Cast", "Add", "Cast"]
    for given in model.graph.inputs:
        assert {node.op_type for node, _ in given.uses()} == {"Cast"}
    for found, wanted in zip(run(model), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


def test_inputs_in_float_are_left_alone():
    model = picture_model(ir.DataType.FLOAT)
    cast_pictures(model)
    assert [node.op_type for node in model.graph] == ["Transpose", "Cast", "Add", "Cast"]
