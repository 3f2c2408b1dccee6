"""Case tables shared by the tests of every front-end of an operator."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from fade_deploy import contract


@dataclass(frozen=True)
class OperatorCase:
    """One operator at one shape; ``lanes`` is groups of FadeReassemble and terms of FadeAccumulate.

    ``channels`` is C of the output, times the terms; for FadeHead it is E.
    """

    operator: contract.Operator
    batch: int
    channels: int
    height: int
    width: int
    kernel_size: int = 5
    scale: int = 2
    lanes: int = 1

    def __str__(self) -> str:
        shape = f"{self.batch}x{self.channels}x{self.height}x{self.width}"
        return f"{self.operator.node_name(**self.attributes)}-{shape}"

    @property
    def attributes(self) -> dict[str, int]:
        values = {"kernel_size": self.kernel_size, "scale": self.scale, "groups": self.lanes, "terms": self.lanes}
        return {name: values[name] for name, _ in self.operator.attributes}

    def inputs(self) -> dict[str, np.ndarray]:
        """float64 inputs by name, seeded by the case."""
        generator = np.random.default_rng(zlib.crc32(str(self).encode()))
        n, c, h, w, k, s, lanes = (
            self.batch, self.channels, self.height, self.width, self.kernel_size, self.scale, self.lanes,
        )  # fmt: skip
        shapes = {
            "features": (n, c, h, w),
            "kernels": (n, lanes * k * k, s * h, s * w),
            "decoder": (n, c, h, w),
            "kernel_logits": (n, lanes * k * k, s * h, s * w),
            "encoder": (n, c, s * h, s * w),
            "gate_logits": (n, 1, h, w),
            "base": (1, c // lanes, 1, 1),
            "decoder_weight": (n, lanes, h, w),
            "encoder_logits": (n, k * k, s * h, s * w),
            "decoder_logits": (n, k * k, h, w),
            "skip": (n, c, s * h, s * w),
        }
        if self.operator is contract.HEAD:
            shapes |= self._head_shapes()
        values = {name: generator.standard_normal(shapes[name]) for name, _ in self.operator.inputs}
        for name in {"encoder_weight", "class_weight"} & values.keys():
            values[name] /= shapes[name][1] ** 0.5  # so that the products are of order 1, as everything else
        return values

    def _head_shapes(self) -> dict[str, tuple[int, ...]]:
        """Two decoder features have more channels than E; M and C are odd."""
        n, e, h, w, k, s = self.batch, self.channels, self.height, self.width, self.kernel_size, self.scale
        encoder, classes = 3, 5
        return {
            "first": (n, e + 2, h, w),
            "second": (n, e + 1, h, w),
            "third": (n, e, h, w),
            "encoder_logits": (n, 3 * k * k, s * h, s * w),
            "decoder_logits": (n, 3 * k * k, h, w),
            "gate_logits": (n, 3, h, w),
            "encoder": (n, encoder, s * h, s * w),
            "encoder_weight": (e, 4 * encoder + 3),
            "encoder_bias": (e,),
            "class_weight": (classes, e),
            "class_bias": (classes,),
        }


_SHAPES = (
    {"batch": 1, "channels": 1, "height": 1, "width": 1},
    {"batch": 2, "channels": 6, "height": 3, "width": 5},  # below one tile, odd, non-square
    {"batch": 1, "channels": 19, "height": 4, "width": 8},  # whole tiles
    {"batch": 1, "channels": 3, "height": 9, "width": 5},  # tiles that hang over both edges
    {
        "batch": 2,
        "channels": 2,
        "height": 13,
        "width": 17,
    },  # more tiles than the bodies' parts, and no multiple of them
)
_OTHER_ATTRIBUTES = (
    {"kernel_size": 3, "scale": 1},
    {"kernel_size": 1, "scale": 2},
    {"kernel_size": 7, "scale": 2},
    {"kernel_size": 5, "scale": 4},
)
_ODD = {"batch": 2, "channels": 6, "height": 3, "width": 5}

OPERATOR_CASES = tuple(OperatorCase(operator, **shape) for operator in contract.OPERATORS for shape in _SHAPES) + tuple(
    OperatorCase(operator, **_ODD, **attributes, lanes=lanes)
    for operator in contract.OPERATORS
    for attributes in (*_OTHER_ATTRIBUTES, {})
    for lanes in ((1, 3) if operator in (contract.REASSEMBLE, contract.ACCUMULATE) else (1,))
    if attributes or lanes > 1
)
