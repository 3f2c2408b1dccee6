"""The numbers of a benchmark, from samples that can be checked by hand; and the machine that it names."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from typing import Any

import pytest

from fade_deploy.recipe import Shape
from fade_deploy.timing.accuracy import Accuracy
from fade_deploy.timing.against import Against, earlier_times
from fade_deploy.timing.benchmark import Benchmark, Candidate, CaseTimes, Memory, Placement
from fade_deploy.timing.machine import is_busy, load_average, this_machine, versions

CASE = CaseTimes(
    shape=Shape(4, 64, 96),
    seconds=(0.03, 0.01, 0.02, 0.04),
    ratios=(1.5, 0.5, 1.0),
    memory=Memory(load_mib=10.0, run_mib=2.5, gpu_mib=None),
    accuracy=Accuracy(max_error=math.nan, label_agreement=0.5),
)
CANDIDATE = Candidate(
    name="a.onnx cpu",
    file="a.onnx",
    runtime="ONNX Runtime",
    precision="fp32",
    sha256="00",
    file_bytes=123,
    load_seconds=(0.3, 0.1, 0.2),
    placement=Placement(nodes={"CPUExecutionProvider": 7}, native=1),
    cases=(CASE,),
)
BENCHMARK = Benchmark(
    candidates=(CANDIDATE,),
    baseline="a.onnx cpu",
    reference="a.onnx cpu",
    shapes=(CASE.shape,),
    threads=1,
    budget=1.0,
    machine=this_machine(),
    load=0.0,
    versions=versions(),
    date="2026-01-01 00:00 UTC",
)


def test_a_case_sums_its_runs_up() -> None:
    assert CASE.milliseconds(50) == pytest.approx(25)
    assert CASE.milliseconds(90) == pytest.approx(37)
    assert CASE.pictures_per_second == pytest.approx(4 / 0.025)
    assert [CASE.ratio(percent) for percent in (25, 50, 75)] == [0.75, 1.0, 1.25]
    assert CANDIDATE.load == 0.2


def test_a_document_is_json_and_keeps_every_run() -> None:
    document = json.loads(json.dumps(BENCHMARK.as_dict(), allow_nan=False))
    assert earlier_times(document) == {("a.onnx cpu", "4x64x96"): list(CASE.seconds)}
    (case,) = document["candidates"][0]["cases"]
    assert case["ms"] == {"p50": 25.0, "p90": 37.0, "p99": 39.7}
    assert case["accuracy"] == {"max_error": "nan", "label_agreement": 0.5, "reason": ""}
    assert document["candidates"][0]["placement"] == {"nodes": {"CPUExecutionProvider": 7}, "native": 1}


def with_accuracy(name: str, **known: Any) -> Candidate:
    accuracy = Accuracy(**{"max_error": 0.0, "label_agreement": None, **known})
    return replace(CANDIDATE, name=name, cases=(replace(CASE, accuracy=accuracy),) * 2)


def test_outputs_that_speed_says_nothing_of_are_told_once() -> None:
    candidates = (with_accuracy("a.onnx cpu"), with_accuracy("b.pth"), with_accuracy("c.onnx", max_error=math.nan))
    labels = with_accuracy("d.onnx", max_error=None, reason="returns labels, the reference logits")
    assert replace(BENCHMARK, candidates=candidates[:2]).doubts == ()
    assert replace(BENCHMARK, candidates=(*candidates, labels)).doubts == (
        "the output of c.onnx or of a.onnx cpu has values that are not finite",
        "d.onnx is not compared with a.onnx cpu: returns labels, the reference logits",
    )
    assert BENCHMARK.doubts == ("the output of a.onnx cpu has values that are not finite",)


def test_only_what_got_slower_fails() -> None:
    assert BENCHMARK.passed
    assert replace(BENCHMARK, against=Against(file="", date="", margin=0, changes=(), notes=())).passed


def test_the_machine_is_this_one() -> None:
    machine = this_machine()
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.cpu
    assert machine.memory_gib > 0
    assert machine.differences(json.loads(json.dumps(machine.as_dict()))) == []
    assert machine.differences({**machine.as_dict(), "cores": -1}) == [f"cores: -1, here {machine.cores}"]
    assert {"python", "numpy"} <= set(versions())
    assert list(versions(["numpy", "not_installed_anywhere"])) == ["python", "numpy"]
    assert load_average() >= 0


@pytest.mark.parametrize(("load", "cores", "busy"), [(0.4, 2, False), (0.6, 2, True), (0.6, 16, False)])
def test_a_load_is_much_for_few_cores(load: float, cores: int, busy: bool) -> None:
    assert is_busy(load, cores) is busy
