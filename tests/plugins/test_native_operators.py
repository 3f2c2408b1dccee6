"""The library's operators: against numpy loops, against the bodies in the same file, on any sizes and threads."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto

from fade_deploy import contract
from fade_deploy.runtimes.native_libraries import NativeLibrary
from fade_deploy.tolerances import tolerance
from tests.cases import OPERATOR_CASES, OperatorCase
from tests.graph.test_function_bodies import one_node_model
from tests.ops.test_reassembly import ORACLE
from tests.plugins.one_node import bare_node_model, session

# Wide enough for full vectors and their remainders, and for more than one piece per thread.
WIDE = {"batch": 2, "channels": 19, "height": 9, "width": 21}
NODE_TYPES = [
    (operator, {"kernel_size": k, "scale": s} | ({third[0][0]: lanes} if third else {}))
    for operator in contract.OPERATORS
    for third in [operator.attributes[2:]]
    for k in contract.KERNEL_SIZES
    for s in contract.SCALES
    for lanes in ((1, 2, 3, 4) if third else (1,))
]


def single(case: OperatorCase, dtype=np.float32) -> dict[str, np.ndarray]:
    return {name: value.astype(dtype) for name, value in case.inputs().items()}


def oracle(case: OperatorCase, inputs: dict[str, np.ndarray]) -> np.ndarray:
    return ORACLE[case.operator.name](**{k: v.astype(np.float64) for k, v in inputs.items()}, **case.attributes)


@pytest.mark.parametrize("case", OPERATOR_CASES, ids=str)
def test_kernel_agrees_with_numpy_loops(native, case):
    inputs = single(case)
    (given,) = session(bare_node_model(case.operator, case.attributes), native).run(None, inputs)
    assert given.dtype == np.float32
    np.testing.assert_allclose(given, oracle(case, inputs), atol=tolerance("OPERATOR_FP32").atol, rtol=0)


@pytest.mark.parametrize("case", OPERATOR_CASES, ids=str)
def test_half_precision_is_stored_in_half_and_computed_in_single(native, case):
    inputs = single(case, np.float16)
    model = bare_node_model(case.operator, case.attributes, dtype=TensorProto.FLOAT16)
    (given,) = session(model, native).run(None, inputs)
    bound = tolerance("OPERATOR_FP16")  # which a sum in half precision does not keep
    assert given.dtype == np.float16
    np.testing.assert_allclose(given, oracle(case, inputs), atol=bound.atol, rtol=bound.rtol)


@pytest.mark.parametrize("dtype", [ir.DataType.FLOAT, ir.DataType.FLOAT16], ids=str)
@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_the_same_file_runs_with_the_library_and_without(native, operator, dtype):
    case = OperatorCase(operator, **WIDE)
    inputs = single(case, dtype.numpy())
    model = one_node_model(case, dtype=dtype)
    (with_library,) = session(model, native).run(None, inputs)
    (without,) = session(model, None).run(None, inputs)
    # A node of that name in a file of its own has no body: equal bytes say that the kernel ran here too.
    bare = bare_node_model(operator, case.attributes, dtype=dtype.value)
    np.testing.assert_array_equal(with_library, session(bare, native).run(None, inputs)[0])
    bound = tolerance("OPERATOR_FP32" if dtype == ir.DataType.FLOAT else "OPERATOR_FP16_BODY")
    np.testing.assert_allclose(with_library, without, atol=bound.atol, rtol=bound.rtol)


@pytest.mark.parametrize("names", ["named", "unnamed", "unknown rank"])
@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_one_session_runs_every_size(native, operator, names):
    shapes = {
        "named": None,
        "unnamed": [[None] * (shape.count(",") + 1) for _, shape in operator.inputs],
        "unknown rank": [None] * len(operator.inputs),
    }[names]
    sizes = [
        OperatorCase(operator, batch=n, channels=3, height=h, width=w) for n, h, w in ((1, 4, 5), (3, 7, 2), (2, 1, 1))
    ]
    one = session(bare_node_model(operator, sizes[0].attributes, shapes=shapes), native)
    for case in (*sizes, sizes[0]):
        inputs = single(case)
        (given,) = one.run(None, inputs)
        np.testing.assert_allclose(given, oracle(case, inputs), atol=tolerance("OPERATOR_FP32").atol, rtol=0)


@pytest.mark.parametrize("empty", [{"batch": 0}, {"height": 0}, {"width": 0}], ids=str)
@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_an_empty_image_gives_an_empty_output(native, operator, empty):
    case = replace(OperatorCase(operator, batch=2, channels=3, height=4, width=5), **empty)
    inputs = single(case)
    (given,) = session(bare_node_model(operator, case.attributes), native).run(None, inputs)
    assert given.shape == oracle(case, inputs).shape
    assert given.size == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_threads_change_no_bit(native, operator, dtype):
    case = OperatorCase(operator, **WIDE)
    model = one_node_model(case, dtype=ir.DataType.from_numpy(np.dtype(dtype)))
    inputs = single(case, dtype)
    alone = session(model, native, threads=1).run(None, inputs)[0]
    for threads in (2, 3):
        np.testing.assert_array_equal(session(model, native, threads=threads).run(None, inputs)[0], alone)


@pytest.mark.parametrize("operator", contract.OPERATORS, ids=lambda operator: operator.name)
def test_sessions_and_threads_at_once_don_t_disturb_each_other(native, operator):
    sizes = [
        OperatorCase(operator, batch=n, channels=c, height=h, width=w)
        for n, c, h, w in ((2, 19, 9, 21), (1, 3, 4, 5), (1, 40, 17, 33), (3, 7, 2, 16))
    ]
    model = bare_node_model(operator, sizes[0].attributes)
    sessions = [session(model, native, threads=threads) for threads in (1, 2)]
    inputs = [single(case) for case in sizes]
    alone = [sessions[0].run(None, one)[0] for one in inputs]
    # Every session meets every size several times, neighbours in the queue another size and another session.
    calls = [(turn % 2, (turn // 2 + turn) % len(sizes)) for turn in range(64)]
    assert len(set(calls)) == 2 * len(sizes)
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda call: sessions[call[0]].run(None, inputs[call[1]])[0], calls))
    for (which, size), given in zip(calls, results, strict=True):
        np.testing.assert_array_equal(given, alone[size], err_msg=f"session {which}, {sizes[size]}")


@pytest.mark.parametrize(("operator", "attributes"), NODE_TYPES, ids=str)
def test_every_name_up_to_four_lanes_is_registered(native, operator, attributes):
    session(bare_node_model(operator, attributes), native)  # without a body, an unknown name is an error


def test_more_lanes_run_from_the_body(native):
    case = OperatorCase(contract.REASSEMBLE, batch=1, channels=10, height=4, width=5, lanes=5)
    with pytest.raises(Exception, match="FadeReassemble_k5_s2_g5"):
        session(bare_node_model(case.operator, case.attributes), native)
    inputs = single(case)
    (given,) = session(one_node_model(case), native).run(None, inputs)
    np.testing.assert_allclose(given, oracle(case, inputs), atol=tolerance("OPERATOR_FP32").atol, rtol=0)


def test_extreme_and_undefined_logits_stay_in_their_pixels(native):
    case = OperatorCase(contract.UPSAMPLE, batch=1, channels=9, height=6, width=7)
    inputs = single(case)
    inputs["kernel_logits"] *= 1e4
    inputs["gate_logits"] *= 1e4
    inputs["kernel_logits"][0, 3, 5, 6] = np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        expected = oracle(case, inputs)
    (given,) = session(bare_node_model(case.operator, case.attributes), native).run(None, inputs)
    assert np.isnan(given[0, :, 5, 6]).all()
    assert np.isnan(given).sum() == case.channels
    np.testing.assert_allclose(given, expected, atol=tolerance("OPERATOR_FP32").atol, rtol=0)


@pytest.mark.parametrize("logit", [np.finfo(np.float32).min, np.finfo(np.float32).max], ids=["lowest", "largest"])
@pytest.mark.parametrize(
    "operator",
    [contract.UPSAMPLE, contract.ACCUMULATE, contract.UPSAMPLE_ADD, contract.HEAD],
    ids=lambda operator: operator.name,
)
def test_equal_logits_weigh_every_tap_alike_however_large(native, operator, logit):
    case = OperatorCase(operator, batch=1, channels=9, height=6, width=7)
    inputs = single(case)
    inputs["kernel_logits" if "kernel_logits" in inputs else "encoder_logits"][:] = logit
    (given,) = session(bare_node_model(case.operator, case.attributes), native).run(None, inputs)
    np.testing.assert_allclose(given, oracle(case, inputs), atol=tolerance("OPERATOR_FP32").atol, rtol=0)


def test_the_library_and_the_contract_are_one(native):
    import ctypes

    library = ctypes.CDLL(str(native))
    library.fade_onnxruntime_operators.restype = ctypes.c_char_p
    told = library.fade_onnxruntime_operators().decode().splitlines()
    assert told == [
        " ".join(
            [
                operator.name,
                *(f"{name}:{shape}" for name, shape in operator.inputs),
                f"-> {operator.output}",
                *(f"{name}={value}" for name, value in operator.attributes),
            ]
        )
        for operator in contract.OPERATORS
    ]
    assert library.fade_onnxruntime_version() == contract.VERSION
    assert native.name == NativeLibrary.ONNXRUNTIME_CPU
