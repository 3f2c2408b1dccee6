"""What is timed computes what it should, into memory that stays, and Polygraphy's extra time is taken apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper

from fade_deploy.provider import Provider
from fade_deploy.timing.bound_run import BoundEngine, BoundModule, BoundSession
from fade_deploy.timing.polygraphy_times import PolygraphyTimes, polygraphy_times


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> onnxruntime.InferenceSession:
    """``out = a + b`` of any shape."""
    a, b, out = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in ("a", "b", "out"))
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["out"])], "sum", [a, b], [out])
    path = tmp_path_factory.mktemp("sum") / "sum.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def summands() -> dict[str, Any]:
    return {"a": np.arange(4, dtype=np.float32), "b": np.full(4, 0.5, np.float32)}


def test_a_session_reads_and_writes_memory_that_is_there(session: onnxruntime.InferenceSession) -> None:
    inputs = summands()
    bound = BoundSession(session, inputs, "out", Provider.CPU)
    bound.run()
    first = bound._output.data_ptr()
    assert bound.output().tolist() == [0.5, 1.5, 2.5, 3.5]
    inputs["a"][:] = 10  # the binding sees the caller's memory: nothing was copied
    bound.run()
    assert bound.output().tolist() == [10.5] * 4
    assert bound._output.data_ptr() == first


def test_an_output_is_a_copy(session: onnxruntime.InferenceSession) -> None:
    inputs = summands()
    bound = BoundSession(session, inputs, "out", Provider.CPU)
    bound.run()
    before = bound.output()
    inputs["a"][:] = 7
    bound.run()
    assert before.tolist() == [0.5, 1.5, 2.5, 3.5]


def test_a_module_runs_without_gradients() -> None:
    seen = []

    def module(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        seen.append(torch.is_inference_mode_enabled())
        return a + b

    bound = BoundModule(module, summands())
    bound.run()
    assert seen == [True]
    assert bound.output().tolist() == [0.5, 1.5, 2.5, 3.5]


def test_an_engine_keeps_inputs_and_outputs_on_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """With stand-ins for the runner and its device memory: no GPU has run this."""

    class DeviceArray:
        def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
            self.array = np.empty(shape, dtype)

        def copy_from(self, host: Any) -> DeviceArray:
            self.array[...] = host
            return self

    calls = []

    class Runner:
        def infer(self, feed: dict[str, DeviceArray], check_inputs: bool, copy_outputs_to_host: bool = True) -> Any:
            calls.append(copy_outputs_to_host)
            return {"out": feed["a"].array + feed["b"].array}

    monkeypatch.setattr("polygraphy.cuda.DeviceArray", DeviceArray)
    bound = BoundEngine(Runner(), summands(), "out")
    bound.run()
    assert bound.output().tolist() == [0.5, 1.5, 2.5, 3.5]
    assert calls == [False, True]


def test_polygraphy_is_timed_in_the_same_rounds(session: onnxruntime.InferenceSession) -> None:
    inputs = summands()
    bound = BoundSession(session, inputs, "out", Provider.CPU)
    bound.run()
    found = polygraphy_times(session, bound, inputs, name="sum", shape="4", seconds=0.05, fewest=3, most=20)
    counts = {len(times) for times in (found.bound, found.plain, found.polygraphy, found.copy)}
    assert len(counts) == 1
    assert 3 <= counts.pop() <= 20
    assert min(found.bound) > 0
    assert found.as_dict()["explanation"] == found.explanation


def times(**milliseconds: float) -> PolygraphyTimes:
    samples = {name: tuple(one * scale / 1000 for scale in (1, 1, 1.01)) for name, one in milliseconds.items()}
    return PolygraphyTimes(name="a", shape="s", **samples)


def test_a_difference_is_taken_apart() -> None:
    explanation = times(bound=10, plain=12, polygraphy=15, copy=1.5).explanation
    assert explanation == (
        "15.00 ms, bound 10.00 ms: +5.00 ms within a round; +2.00 of it for running without binding "
        "(copying as much alone takes 1.50), +3.00 for Polygraphy's own work"
    )


def test_a_difference_within_the_noise_is_called_that() -> None:
    found = PolygraphyTimes(
        name="a", shape="s", bound=(1.0, 2.0, 3.0), plain=(1.0, 2.0, 3.0), polygraphy=(2.0, 2.0, 2.0), copy=(0.1,) * 3
    )
    assert found.explanation == "2000.00 ms, bound 2000.00 ms: +0.00 ms within a round, which is noise"
