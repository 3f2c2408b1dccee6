"""Writing the body of one ONNX function: a recorder of nodes, with the few idioms that dynamic shapes need."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

__all__ = ["BodyWriter"]

_NEAREST = {"mode": "nearest", "nearest_mode": "floor", "coordinate_transformation_mode": "asymmetric"}


class BodyWriter:
    """Records nodes: ``b("Add", x, y)`` is the sum. Sizes and indices are int64 constants.

    Args:
        float32_softmax: What is between :meth:`widened` and :meth:`narrowed` is computed in float32, for inputs of a
            lower type; otherwise both do nothing.
    """

    def __init__(self, *, float32_softmax: bool = False) -> None:
        self.tape = ir.tape.Tape()
        self.float32_softmax = float32_softmax

    def __call__(self, op_type: str, *inputs: ir.Value | None, **attributes: int | str | Sequence[int]) -> ir.Value:
        """The (first) output of a node of the default domain."""
        return self.tape.op(op_type, inputs, attributes)

    def ints(self, values: Sequence[int] | np.ndarray) -> ir.Value:
        """An int64 constant."""
        return self.tape.op("Constant", [], {"value": ir.tensor(np.asarray(values, dtype=np.int64))})

    def size(self, value: ir.Value, axis: int) -> ir.Value:
        """One dimension of a value, [1]."""
        return self("Shape", value, start=axis, end=axis + 1)

    def times(self, value: ir.Value, factor: int) -> ir.Value:
        """A size multiplied by a number."""
        return value if factor == 1 else self("Mul", value, self.ints([factor]))

    def ceil_div(self, value: ir.Value, divisor: int) -> ir.Value:
        """A size divided by a number, rounded up."""
        return self("Div", self("Add", value, self.ints([divisor - 1])), self.ints([divisor]))

    def reshape(self, value: ir.Value, *shape: int | ir.Value) -> ir.Value:
        """Reshape to numbers and [1]-shaped sizes; neighbouring numbers share one constant."""
        return self("Reshape", value, self.shape(*shape))

    def shape(self, *entries: int | ir.Value) -> ir.Value:
        """Numbers and [1]-shaped sizes as one int64 vector; neighbouring numbers share one constant."""
        parts: list[ir.Value] = []
        numbers: list[int] = []
        for entry in (*entries, None):
            if isinstance(entry, int):
                numbers.append(entry)
                continue
            if numbers:
                parts.append(self.ints(numbers))
                numbers = []
            if entry is not None:
                parts.append(entry)
        return parts[0] if len(parts) == 1 else self("Concat", *parts, axis=0)

    def range(self, end: ir.Value) -> ir.Value:
        """0, 1, ... up to a size."""
        zero, one = (self.tape.op("Constant", [], {"value": ir.tensor(np.int64(v))}) for v in (0, 1))
        return self("Range", zero, self("Squeeze", end, self.ints([0])), one)

    def first(self, value: ir.Value, end: ir.Value, axis: int) -> ir.Value:
        """The first entries of a value along one axis."""
        return self("Slice", value, self.ints([0]), end, self.ints([axis]))

    def number_like(self, number: float, like: ir.Value) -> ir.Value:
        """A number as a [1] of another value's dtype."""
        constant = self.tape.op("Constant", [], {"value": ir.tensor(np.array([number], np.float32))})
        return self("CastLike", constant, like)

    def widened(self, value: ir.Value) -> ir.Value:
        """A value in float32."""
        return self("Cast", value, to=ir.DataType.FLOAT.value) if self.float32_softmax else value

    def narrowed(self, value: ir.Value, like: ir.Value) -> ir.Value:
        """A value of :meth:`widened` in another value's dtype."""
        return self("CastLike", value, like) if self.float32_softmax else value

    def repeat_to(self, low: ir.Value, size: ir.Value) -> ir.Value:
        """[N, T, H, W] -> [N, T, s*H, s*W], the last two given as ``size``: each pixel becomes an s x s block."""
        shape = self("Concat", self("Shape", low, start=0, end=2), size, axis=0)
        return self("Resize", low, None, None, shape, **_NEAREST)
