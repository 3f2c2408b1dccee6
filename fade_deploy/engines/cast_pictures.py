"""Pictures in bytes, as TensorRT takes them: its uint8 tensors can be cast and nothing else."""

from __future__ import annotations

import onnx_ir as ir

__all__ = ["cast_pictures"]


def cast_pictures(model: ir.Model) -> None:
    """Cast uint8 inputs to float32 before they are transposed instead of after: the same values in the same places.

    Args:
        model: Changed in place; the cast that follows the transposition stays and changes nothing or narrows.
    """
    for value in model.graph.inputs:
        if value.dtype is not ir.DataType.UINT8:
            continue
        transposed = [node for node, _ in value.uses() if node.op_type == "Transpose"]
        if not transposed:
            continue
        cast = ir.node("Cast", [value], {"to": ir.DataType.FLOAT.value}, name=f"{value.name}_as_float")
        cast.outputs[0].name = f"{value.name}_as_float"
        cast.metadata_props.update(transposed[0].metadata_props)
        for node in transposed:
            node.replace_input_with(0, cast.outputs[0])
            node.outputs[0].type = None
        model.graph.insert_before(transposed[0], cast)
