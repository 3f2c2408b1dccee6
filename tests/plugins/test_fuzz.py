"""A thousand seeded runs of nodes of any size and attributes: right where they are legal, else an error."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto

from fade_deploy import contract
from fade_deploy.tolerances import tolerance
from tests.cases import OperatorCase
from tests.ops.test_reassembly import TORCH
from tests.plugins.one_node import bare_node_model, session

SEEDS = range(24)
NODES_PER_SEED = 8
RUNS_PER_NODE = 6


def random_case(
    generator: np.random.Generator, operator: contract.Operator, attributes: dict[str, int]
) -> OperatorCase:
    lanes = attributes.get("groups", attributes.get("terms", 1))
    return OperatorCase(
        operator,
        batch=int(generator.integers(1, 4)),
        channels=lanes * int(generator.choice([1, 2, 3, 7, 8, 9, 16, 17, 33])),
        height=int(generator.choice([1, 2, 3, 5, 8, 11])),
        width=int(generator.choice([1, 2, 3, 7, 8, 9, 16, 17, 31, 40])),
        kernel_size=attributes["kernel_size"],
        scale=attributes["scale"],
        lanes=lanes,
    )


def random_base(generator: np.random.Generator, inputs: dict[str, np.ndarray], channels: int) -> None:
    """Broadcast along any axes."""
    n, _, h, w = inputs["kernel_logits"].shape
    shape = [size if generator.random() < 0.5 else 1 for size in (n, channels, h, w)]
    inputs["base"] = generator.standard_normal(shape).astype(inputs["base"].dtype)


def broken(generator: np.random.Generator, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """One input with another shape."""
    name = str(generator.choice(list(inputs)))
    shape = list(inputs[name].shape)
    axis = int(generator.integers(len(shape)))
    match generator.integers(4):
        case 0:
            shape[axis] = int(generator.choice([0, 1, 2, 5, 24, 25, 26, 64]))
        case 1:
            shape[axis] += int(generator.choice([-1, 1]))
        case 2:
            shape.insert(axis, int(generator.integers(3)))
        case 3:
            del shape[axis]
    return inputs | {name: np.zeros([max(size, 0) for size in shape], inputs[name].dtype)}


@pytest.mark.parametrize("seed", SEEDS)
def test_any_node_is_right_or_refused(native, seed):
    generator = np.random.default_rng(seed)
    refused = 0
    for _ in range(NODES_PER_SEED):
        operator = contract.OPERATORS[generator.integers(len(contract.OPERATORS))]
        attributes = {
            "kernel_size": int(generator.choice(contract.KERNEL_SIZES)),
            "scale": int(generator.choice(contract.SCALES)),
        } | {name: int(generator.integers(1, 5)) for name, _ in operator.attributes[2:]}
        half = bool(generator.integers(2))
        dtype = np.float16 if half else np.float32
        model = bare_node_model(
            operator,
            attributes,
            dtype=TensorProto.FLOAT16 if half else TensorProto.FLOAT,
            shapes=[None] * len(operator.inputs),
        )
        one = session(model, native, threads=int(generator.integers(1, 3)))
        bound = tolerance("OPERATOR_FP16" if half else "OPERATOR_FP32")
        for run in range(RUNS_PER_NODE):
            case = random_case(generator, operator, attributes)
            inputs = {name: value.astype(dtype) for name, value in case.inputs().items()}
            if operator is contract.ACCUMULATE:
                random_base(generator, inputs, case.channels // case.lanes)
            if run % 2:
                inputs = broken(generator, inputs)
            exact = {name: torch.from_numpy(value.astype(np.float64)) for name, value in inputs.items()}
            try:
                expected = TORCH[operator.name](**exact, **attributes)
            except (ValueError, RuntimeError, IndexError):
                with pytest.raises(Exception, match=f"{operator.name}|Invalid rank|INVALID_ARGUMENT"):
                    one.run(None, inputs)
                refused += 1
                continue
            (given,) = one.run(None, inputs)
            np.testing.assert_allclose(given, expected.numpy(), atol=bound.atol, rtol=bound.rtol, err_msg=str(case))
    assert refused > NODES_PER_SEED  # the breaking breaks
