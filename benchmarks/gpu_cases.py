"""Calls of the CUDA kernels to check: tensors between guard bytes, with every stride that the contract allows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from fade_deploy import contract
from tests.cases import OPERATOR_CASES, OperatorCase

__all__ = ["Base", "Call", "Guarded", "calls", "made_inputs", "output_shape"]

_GUARD = 64  # elements on each side: keeps the alignment of what lies between
_SENTINEL = 77.0


class Base(StrEnum):
    """How the base of FadeAccumulate, or the skip of FadeUpsampleAdd, lies in memory."""

    DENSE = "dense"
    CHANNEL = "channel"  # one number for each channel, the others broadcast
    SCALAR = "scalar"
    ROW = "row"  # of the batch and the width
    PADDED = "padded"  # dense, in rows that are longer


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call of a kernel; ``shift`` is how many elements every tensor lies behind an aligned address."""

    case: OperatorCase
    dtype: torch.dtype
    shift: int = 0
    base: Base = Base.DENSE

    def __str__(self) -> str:
        name = str(self.dtype).removeprefix("torch.")
        return f"{self.case} {name} shift {self.shift} base {self.base}"


class Guarded:
    """A tensor of its own memory, with guards on both sides.

    Args:
        values: What it holds; any float dtype.
        dtype: What it is stored as.
        device: Where.
        shift: Elements behind an aligned address.
        pitch: Elements that each row is longer; they are guards too.
    """

    def __init__(self, values: Tensor, dtype: torch.dtype, device: str, *, shift: int = 0, pitch: int = 0) -> None:
        *outer, width = values.shape
        rows = values.numel() // max(width, 1)
        count = rows * (width + pitch)
        self._memory = torch.full((count + shift + 2 * _GUARD,), _SENTINEL, dtype=dtype, device=device)
        lines = self._memory[_GUARD + shift : _GUARD + shift + count].view(*outer, width + pitch)
        self.tensor = lines[..., :width]
        self.tensor.copy_(values)
        self._inside = torch.zeros_like(self._memory, dtype=torch.bool)
        inside = self._inside[_GUARD + shift : _GUARD + shift + count].view(*outer, width + pitch)
        inside[..., :width] = True
        self._before = self.tensor.clone()

    @property
    def intact(self) -> bool:
        """Whether the guards hold what they held."""
        return bool((self._memory[~self._inside] == _SENTINEL).all())

    @property
    def unchanged(self) -> bool:
        """Whether all of the memory does."""
        return self.intact and torch.equal(self.tensor, self._before)


def calls(count: int, seed: int = 0) -> Iterator[Call]:
    """Every case of the operators' table in every dtype, and ``count`` random ones."""
    dtypes = (torch.float32, torch.float16, torch.bfloat16)
    for case in OPERATOR_CASES:
        if case.operator is not contract.HEAD:
            yield from (Call(case=case, dtype=dtype, base=Base.CHANNEL) for dtype in dtypes)
    chosen = random.Random(seed)
    operators = [operator for operator in contract.OPERATORS if operator is not contract.HEAD]
    for _ in range(count):
        tuned = chosen.random() < 0.6
        operator = chosen.choice(operators)
        lanes = chosen.choice((1, 2, 3, 4)) if operator in (contract.REASSEMBLE, contract.ACCUMULATE) else 1
        case = OperatorCase(
            operator,
            batch=chosen.randint(1, 3),
            channels=lanes * chosen.choice((1, 2, 7, 8, 15, 16, 17, 33, 64, 100)),
            height=chosen.choice((1, 2, 5, 8, 13, 16, 31)),
            width=chosen.choice((1, 3, 4, 8, 15, 16, 20, 22, 32, 40, 64, 65)),
            kernel_size=5 if tuned else chosen.choice(contract.KERNEL_SIZES),
            scale=2 if tuned else chosen.choice(contract.SCALES),
            lanes=lanes,
        )
        base = chosen.choice(list(Base))
        yield Call(case=case, dtype=chosen.choice(dtypes), shift=chosen.choice((0, 0, 1, 2, 8)), base=base)


def output_shape(case: OperatorCase) -> tuple[int, int, int, int]:
    """[N, C, sH, sW]."""
    lanes = case.lanes if case.operator is contract.ACCUMULATE else 1
    return case.batch, case.channels // lanes, case.height * case.scale, case.width * case.scale


def made_inputs(call: Call, device: str) -> Mapping[str, Guarded]:
    """The inputs of a call by name, in the contract's order, seeded by its case."""
    inputs = {}
    for name, array in call.case.inputs().items():
        values, pitch = torch.from_numpy(array), 0
        if name == "base" or (name == "skip" and call.base is Base.PADDED):
            values = _base(call)
            pitch = 3 if call.base is Base.PADDED else 0
        inputs[name] = Guarded(values, call.dtype, device, shift=call.shift, pitch=pitch)
    return inputs


def _base(call: Call) -> Tensor:
    batch, channels, height, width = output_shape(call.case)
    shape = {
        Base.DENSE: (batch, channels, height, width),
        Base.PADDED: (batch, channels, height, width),
        Base.CHANNEL: (1, channels, 1, 1),
        Base.SCALAR: (1, 1, 1, 1),
        Base.ROW: (batch, 1, 1, width),
    }[call.base]
    generator = torch.Generator().manual_seed(call.case.channels * 1009 + call.case.width)
    return torch.randn(shape, generator=generator, dtype=torch.float64)
