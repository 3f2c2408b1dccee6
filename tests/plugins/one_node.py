"""Models of one ``fade`` node, and sessions of them with and without the library."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from fade_deploy import contract
from fade_deploy.graph.function_bodies import PLUGIN_ATTRIBUTES
from fade_deploy.runtimes import native_libraries

DTYPES = {np.dtype(np.float32): TensorProto.FLOAT, np.dtype(np.float16): TensorProto.FLOAT16}


def bare_node_model(
    operator: contract.Operator,
    attributes: Mapping[str, int],
    *,
    dtype: int = TensorProto.FLOAT,
    shapes: Sequence[Sequence[int | str | None] | None] | None = None,
    name: str | None = None,
    node_attributes: Mapping[str, int | str | float] | None = None,
    dtypes: Mapping[str, int] | None = None,
) -> onnx.ModelProto:
    """One node without its body: nothing but the library can run it. Legal unless the arguments say otherwise.

    Args:
        operator: Which.
        attributes: What the name of the node stands for.
        dtype: Of all inputs.
        shapes: Of the inputs: numbers, names, None for a dimension or a shape that isn't known; all names if left out.
        name: Of the node.
        node_attributes: What the node says in the place of ``attributes``.
        dtypes: Of single inputs.
    """
    if shapes is None:
        shapes = [[f"{key}_{axis}" for axis in range(shape.count(",") + 1)] for key, shape in operator.inputs]
    inputs = [
        helper.make_tensor_value_info(key, (dtypes or {}).get(key, dtype), shape)
        for (key, _), shape in zip(operator.inputs, shapes, strict=True)
    ]
    stated = {**attributes, **PLUGIN_ATTRIBUTES} if node_attributes is None else dict(node_attributes)
    node_type = name or operator.node_name(**attributes)
    node = helper.make_node(node_type, [key for key, _ in operator.inputs], ["y"], domain=contract.DOMAIN, **stated)
    # What follows is planned with what the library says of the output's shape.
    after = helper.make_node("Identity", ["y"], ["output"])
    graph = helper.make_graph([node, after], "one_node", inputs, [helper.make_tensor_value_info("output", dtype, None)])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(contract.DOMAIN, contract.VERSION)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def session(model: onnx.ModelProto, library: Path | None, *, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if library is not None:
        native_libraries.register(options, library)
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
