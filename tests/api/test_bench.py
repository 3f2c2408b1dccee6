"""A benchmark measures what it names: every file, every way, the right shapes, beside the right baseline."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from fade_deploy.api.bench import worker
from fade_deploy.api.bench.against import compared_with
from fade_deploy.api.bench.bench import bench
from fade_deploy.api.bench.checks import check_shared
from fade_deploy.api.bench.files import timed_shapes
from fade_deploy.api.bench.loading import load, native_way
from fade_deploy.api.bench.options import BenchOptions, batches_of, providers_of, sizes_of
from fade_deploy.api.bench.processes import fresh_process
from fade_deploy.api.bench.ways import Loaded, Way, placement_of
from fade_deploy.api.verify.runners import Kind
from fade_deploy.contract import Head
from fade_deploy.errors import FadeDeployError, InputError
from fade_deploy.provider import Provider
from fade_deploy.recipe import Shape
from fade_deploy.runtimes.engine import LoadedEngine
from fade_deploy.runtimes.native_libraries import AUTOMATIC, NONE, NativeLibrary
from fade_deploy.timing.against import Verdict, earlier_benchmark
from fade_deploy.timing.benchmark import FORM, Benchmark
from tests.serve.engine_manifest import ENGINE, engine_files
from tests.serve.matting_file import matting_file

QUICK = BenchOptions(sizes=((64, 64),), batches=(1, 2), seconds=0.5, threads=1)
HAS_NATIVE = NativeLibrary.ONNXRUNTIME_CPU.installed is not None
NATIVE = ["tiny.onnx cpu native"] if HAS_NATIVE else []


@pytest.fixture(scope="module")
def measured(tiny_onnx: Path, tiny_checkpoint: Path) -> Benchmark:
    return bench([tiny_onnx, tiny_checkpoint], dataclasses.replace(QUICK, providers=True))


@pytest.fixture(scope="module")
def fixed_onnx(tiny_onnx: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``tiny_onnx`` that takes one shape, 2x64x96, and that in float16."""
    model = onnx.load(tiny_onnx)
    (image,) = model.graph.input
    for axis, size in enumerate((2, 3, 64, 96)):
        image.type.tensor_type.shape.dim[axis].dim_value = size
    image.type.tensor_type.elem_type = TensorProto.FLOAT16
    for node in model.graph.node:
        node.input[:] = ["image_32" if name == "image" else name for name in node.input]
    model.graph.node.insert(0, helper.make_node("Cast", ["image"], ["image_32"], to=TensorProto.FLOAT))
    path = tmp_path_factory.mktemp("fixed") / "fixed.onnx"
    onnx.save(model, path)
    return path


# --- what is measured ------------------------------------------------------------------------------------------------


def test_every_file_is_timed_in_every_way_at_every_shape(measured: Benchmark) -> None:
    assert [one.name for one in measured.candidates] == ["tiny.onnx cpu", *NATIVE, "tiny.pth pytorch"]
    assert measured.shapes == (Shape(1, 64, 64), Shape(2, 64, 64))
    for candidate in measured.candidates:
        assert tuple(case.shape for case in candidate.cases) == measured.shapes
        for case in candidate.cases:
            assert len(case.seconds) >= 5
            assert 0 < case.milliseconds(50) <= case.milliseconds(90) <= case.milliseconds(99)
            assert case.pictures_per_second == pytest.approx(case.shape.batch * 1000 / case.milliseconds(50))


def test_ratios_are_to_the_first_file(measured: Benchmark) -> None:
    first, *_, eager = measured.candidates
    assert measured.baseline == first.name
    assert all(set(case.ratios) == {1.0} for case in first.cases)
    assert all(case.ratio(50) > 1 for case in eager.cases)  # eager PyTorch is many times slower than the file


def test_accuracy_stands_beside_speed(measured: Benchmark) -> None:
    first, *others = measured.candidates
    assert measured.reference == first.name
    assert all((case.accuracy.max_error, case.accuracy.label_agreement) == (0.0, 1.0) for case in first.cases)
    for other in others:
        for case in other.cases:
            assert case.accuracy.max_error is not None
            assert 0 < case.accuracy.max_error < 1e-4
            assert case.accuracy.label_agreement is not None
            assert case.accuracy.label_agreement > 0.99


def test_load_time_and_memory_come_from_a_process_for_each_shape(measured: Benchmark, tiny_onnx: Path) -> None:
    for candidate in measured.candidates:
        assert len(candidate.load_seconds) == len(measured.shapes)
        assert min(candidate.load_seconds) > 0
        for case in candidate.cases:
            if case.memory.reason:
                pytest.skip(case.memory.reason)
            assert case.memory.load_mib is not None
            assert case.memory.load_mib > 0
            assert case.memory.run_mib is not None
            assert case.memory.run_mib > 0
            assert case.memory.gpu_mib is None
    assert measured.candidates[0].file_bytes == tiny_onnx.stat().st_size


def test_nodes_ran_where_they_were_asked_to(measured: Benchmark) -> None:
    placements = {one.name: one.placement for one in measured.candidates}
    assert placements["tiny.pth pytorch"] is None
    for name in ("tiny.onnx cpu", *NATIVE):
        placement = placements[name]
        assert placement is not None
        assert set(placement.nodes) == {"CPUExecutionProvider"}
        assert (placement.native > 0) is (name in NATIVE)
    if NATIVE:
        plain, native = placements["tiny.onnx cpu"], placements[NATIVE[0]]
        assert plain is not None
        assert native is not None
        assert sum(native.nodes.values()) < sum(plain.nodes.values())  # one node stands for a whole body


def test_polygraphy_is_timed_beside_each_session(measured: Benchmark) -> None:
    assert [times.name for times in measured.polygraphy] == ["tiny.onnx cpu", *NATIVE]
    assert all(min(times.polygraphy) > 0 and len(times.polygraphy) == len(times.bound) for times in measured.polygraphy)


def test_the_document_is_json(measured: Benchmark) -> None:
    document = json.loads(json.dumps(measured.as_dict(), allow_nan=False))
    assert document["threads"] == 1
    assert document["machine"]["cores"] >= 1
    assert {"python", "numpy", "torch", "onnxruntime"} <= document["versions"].keys()
    assert len(document["candidates"]) == len(measured.candidates)


def test_the_number_of_torchs_threads_is_given_back(tiny_checkpoint: Path) -> None:
    before = torch.get_num_threads()
    other = before % 2 + 1
    bench([tiny_checkpoint], dataclasses.replace(QUICK, threads=other, batches=(1,), seconds=0.1))
    assert torch.get_num_threads() == before


def test_stages_are_logged(tiny_onnx: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="fade_deploy")
    bench([tiny_onnx], dataclasses.replace(QUICK, batches=(1,), library=NONE))
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        "load",
        "time",
        "polygraphy",
        "memory",
    ]


# --- which shapes, which baseline ------------------------------------------------------------------------------------


def test_a_fixed_file_decides_on_the_shape(fixed_onnx: Path, tiny_checkpoint: Path) -> None:
    found = bench([tiny_checkpoint, fixed_onnx], BenchOptions(seconds=0.2, threads=1, baseline=str(fixed_onnx)))
    assert found.shapes == (Shape(2, 64, 96),)
    assert found.baseline == "fixed.onnx cpu"
    assert found.reference == "tiny.pth pytorch"
    for candidate in found.candidates:
        (case,) = candidate.cases
        assert case.accuracy.max_error is not None
        assert case.accuracy.max_error < 0.1  # pictures in float16
    assert all(set(one.cases[0].ratios) == {1.0} for one in found.candidates if one.name == found.baseline)


def test_inputs_are_of_the_files_own_type(fixed_onnx: Path) -> None:
    loaded = load(Way(file=str(fixed_onnx), threads=1))
    image = loaded.inputs(Shape(2, 64, 96))["image"]
    assert (image.dtype, image.shape) == (np.float16, (2, 3, 64, 96))
    assert image.flags.c_contiguous
    assert loaded.refusal(Shape(1, 64, 96)) == "has the fixed batch 2"


def test_a_file_is_opened_in_standard_and_in_native_operators(tiny_onnx: Path) -> None:
    standard = load(Way(file=str(tiny_onnx), threads=1))
    assert not standard.native
    assert standard.refusal(Shape(1, 64, 96)) == ""
    assert standard.refusal(Shape(1, 64, 100)) == "takes multiples of 32"
    if HAS_NATIVE:
        way = native_way(standard, AUTOMATIC)
        assert way is not None
        assert load(way).native
    assert native_way(standard, NONE) is None


@pytest.mark.skipif(not HAS_NATIVE, reason="no library of native operators is installed")
def test_a_library_for_a_file_without_our_operators_is_refused(tmp_path: Path) -> None:
    standard = load(Way(file=str(matting_file(tmp_path)), threads=1))
    assert native_way(standard, AUTOMATIC) is None
    with pytest.raises(InputError, match=r"has no fade operator, so --library .* does nothing: leave it out"):
        native_way(standard, str(NativeLibrary.ONNXRUNTIME_CPU.installed))


def test_a_library_that_runs_nothing_is_refused(tiny_onnx: Path) -> None:
    standard = load(Way(file=str(tiny_onnx), threads=1))
    with pytest.raises(InputError, match="runs none of its fade nodes"):
        placement_of(dataclasses.replace(standard, native=True))


@pytest.mark.parametrize(
    ("read", "text", "expected"),
    [
        (providers_of, "cpu, cuda,cpu", (Provider.CPU, Provider.CUDA)),
        (batches_of, "1,4, 8", (1, 4, 8)),
        (batches_of, "", ()),
        (sizes_of, "64x96,512x512", ((64, 96), (512, 512))),
        (sizes_of, "", ()),
    ],
)
def test_lists_are_read(read: Any, text: str, expected: Any) -> None:
    assert read(text) == expected


@pytest.mark.parametrize(
    ("read", "text", "told"),
    [
        (providers_of, "cpu,gpu", "--on has 'gpu', expected a list of cpu, cuda, tensorrt"),
        (providers_of, "", "--on has ''"),
        (batches_of, "1,0", "--batches has '0'"),
        (batches_of, "1,,2", "--batches has ''"),
        (batches_of, "²", "--batches has '²'"),
        (sizes_of, "64", "--shapes has '64', expected HxW"),
        (sizes_of, "64x64,3x64x64", "--shapes has '3x64x64', expected HxW"),
    ],
)
def test_lists_that_are_none_are_told(read: Any, text: str, told: str) -> None:
    with pytest.raises(InputError) as refused:
        read(text)
    assert told in str(refused.value)


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Loaded:
    """With a stand-in for TensorRT and its GPU, neither of which is here."""

    class Runner:
        active = False

        def activate(self) -> None:
            self.active = True

    def load_engine(path: Path, plugin: str) -> LoadedEngine:
        assert plugin == "my_plugin.so"
        return LoadedEngine(engine=None, manifest=ENGINE, logger=None, runner=runner)

    runner = Runner()
    monkeypatch.setattr("fade_deploy.runtimes.engine.load_engine", load_engine)
    loaded = load(Way(file=str(engine_files(tmp_path)), threads=1, plugin="my_plugin.so"))
    assert runner.active
    return loaded


def test_an_engine_is_opened_by_its_manifest(engine: Loaded) -> None:
    assert (engine.label, engine.runtime, engine.head) == ("engine", "tensorrt 10.16.1.11", Head.ALPHA)
    assert {name: array.shape for name, array in engine.inputs(Shape(1, 256, 512)).items()} == {
        "image": (1, 3, 256, 512),
        "trimap": (1, 1, 256, 512),
    }
    assert engine.refusal(Shape(4, 512, 512)) == ""
    assert engine.refusal(Shape(1, 2048, 512)) == "takes 1x256x256 to 8x1024x1024"
    assert timed_shapes([engine], BenchOptions()) == (Shape(1, 512, 512), Shape(4, 512, 512))


def test_a_usual_batch_that_does_not_fit_is_left_out_and_a_stated_one_is_refused(engine: Loaded) -> None:
    small = dataclasses.replace(engine, profile=(Shape(1, 256, 256), Shape(1, 512, 512), Shape(2, 1024, 1024)))
    large = dataclasses.replace(engine, profile=(Shape(4, 256, 256), Shape(4, 512, 512), Shape(8, 1024, 1024)))
    sizes = ((256, 256), (512, 256))
    assert timed_shapes([small], BenchOptions(sizes=sizes)) == (Shape(1, 256, 256), Shape(1, 512, 256))
    assert timed_shapes([large], BenchOptions(sizes=sizes)) == (Shape(4, 256, 256), Shape(4, 512, 256))
    with pytest.raises(InputError, match="does not take 4x256x256"):
        timed_shapes([small], BenchOptions(sizes=sizes, batches=(1, 4)))
    with pytest.raises(InputError, match="does not take 1x2048x256"):
        timed_shapes([small], BenchOptions(sizes=(*sizes, (2048, 256))))


def test_tensorrt_is_imported_before_the_loading_of_an_engine_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    imported: list[str] = []
    monkeypatch.setattr(worker, "imported", imported.append)
    worker._import_runtime(Kind.ENGINE, engine_files(tmp_path))
    assert imported == ["tensorrt"]


# --- what can't be measured ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (BenchOptions(sizes=((100, 64),)), "does not take 1x100x64 (takes multiples of 32)"),
        (BenchOptions(on=(Provider.CUDA,)), "expected CUDAExecutionProvider"),
        (BenchOptions(baseline="other.onnx"), "--baseline other.onnx is none of the files"),
        (BenchOptions(library="nowhere.so"), "--library nowhere.so is not there"),
        (BenchOptions(against=Path("nowhere.json")), "--against nowhere.json can't be read"),
        (BenchOptions(seconds=math.nan), "--seconds is nan, expected a number above 0"),
        (BenchOptions(margin=math.nan), "--margin is nan, expected a share"),
        (BenchOptions(recipe="segformer_b1"), "--recipe means nothing without a checkpoint"),
        (BenchOptions(ema=True), "--ema means nothing without a checkpoint"),
        (BenchOptions(plugin="plugin.so"), "--plugin means nothing without an engine"),
        (BenchOptions(on=(Provider.TENSORRT,), library=NONE), "--library means nothing without --on cpu or cuda"),
        (BenchOptions(margin=0.2), "--margin means nothing without --against"),
        (BenchOptions(other_machine=True), "--other-machine means nothing without --against"),
    ],
)
def test_options_that_do_not_fit_are_one_line(tiny_onnx: Path, options: BenchOptions, told: str) -> None:
    with pytest.raises(FadeDeployError) as refused:
        bench([tiny_onnx], options)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("option", [{"providers": True}, {"on": (Provider.CUDA,)}, {"library": NONE}])
def test_options_of_onnx_files_need_one(tiny_checkpoint: Path, option: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"means nothing without an \.onnx file"):
        bench([tiny_checkpoint], BenchOptions(**option))


def test_files_that_do_not_fit_are_one_line(tiny_onnx: Path, fixed_onnx: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is given twice"):
        bench([tiny_onnx, tiny_onnx])
    with pytest.raises(InputError, match="is no file"):
        bench([tmp_path / "none.onnx"])
    with pytest.raises(InputError, match="is no file"):
        bench([tmp_path / f"{'long' * 100}.onnx"])
    with pytest.raises(InputError, match="no file is given"):
        bench([])
    with pytest.raises(InputError, match=r"has the fixed batch 2.*expected a size that every file takes"):
        bench([tiny_onnx, fixed_onnx], BenchOptions(batches=(1,), threads=1))
    with pytest.raises(InputError, match="is a manifest"):
        bench([tiny_onnx.with_suffix(".json")])
    with pytest.raises(InputError, match=r"is for segmentation, .* for matting: give files of one task"):
        bench([tiny_onnx, matting_file(tmp_path)])


def test_what_a_runtime_raises_becomes_one_line(tiny_onnx: Path) -> None:
    def failing() -> None:
        raise RuntimeError("no\nmemory")

    def without_words() -> None:
        raise MemoryError

    loaded = load(Way(file=str(tiny_onnx), threads=1))
    assert loaded.explained(Shape(1, 64, 64), lambda: 7) == 7
    with pytest.raises(InputError, match=r"can't run 1x64x64 \(no memory\), expected a size that fits"):
        loaded.explained(Shape(1, 64, 64), failing)
    with pytest.raises(InputError, match=r"\(MemoryError\)"):
        loaded.explained(Shape(1, 64, 64), without_words)


def test_a_process_that_refuses_says_the_same_as_this_one(tmp_path: Path) -> None:
    empty = tmp_path / "empty.onnx"
    empty.touch()
    with pytest.raises(InputError, match="is empty, expected an"):
        fresh_process(Way(file=str(empty), threads=1), Shape(1, 64, 64))


@pytest.mark.parametrize(
    ("ends", "error", "told"),
    [
        ("kill -9 $$", InputError, "most often for lack of memory"),
        ("echo oh no >&2; exit 3", RuntimeError, "exit code 3:\noh no"),
        (r"printf 'oh \377' >&2; exit 3", RuntimeError, r"exit code 3:\noh \\xff"),
    ],
)
def test_a_process_that_ends_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ends: str, error: type[Exception], told: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{ends}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(error, match=told):
        fresh_process(Way(file="a.onnx", threads=1), Shape(1, 64, 64))


# --- against an earlier one ------------------------------------------------------------------------------------------


def scaled(measured: Benchmark, factor: float) -> dict[str, Any]:
    """The document of a benchmark in which everything took ``factor`` times as long."""
    document = json.loads(json.dumps(measured.as_dict()))
    for candidate in document["candidates"]:
        for case in candidate["cases"]:
            case["seconds"] = [factor * one for one in case["seconds"]]
    return dict(document)


@pytest.mark.parametrize(("factor", "verdict"), [(0.1, Verdict.SLOWER), (1.0, Verdict.SAME), (10.0, Verdict.FASTER)])
def test_each_candidate_is_compared_at_each_shape(measured: Benchmark, factor: float, verdict: Verdict) -> None:
    # Wider than any noise of a busy machine: what noise does is tested with made times in tests/timing.
    found = compared_with(scaled(measured, factor), measured, BenchOptions(margin=1.0))
    assert len(found.changes) == len(measured.candidates) * len(measured.shapes)
    assert {change.verdict for change in found.changes} == {verdict}
    assert dataclasses.replace(measured, against=found).passed is (verdict is not Verdict.SLOWER)
    assert any("look at the machine first" in note for note in found.notes) is (verdict is Verdict.SLOWER)


def test_what_only_one_has_is_noted(measured: Benchmark) -> None:
    earlier = scaled(measured, 1)
    earlier["candidates"][0]["name"] = "other.onnx cpu"
    earlier["versions"]["onnxruntime"] = "1.0"
    notes = compared_with(earlier, measured, BenchOptions()).notes
    assert "not compared, in one of the two only: other.onnx cpu at 1x64x64" in notes
    assert "not compared, in one of the two only: tiny.onnx cpu at 2x64x64" in notes
    assert any(note.startswith("other versions than then: onnxruntime 1.0 -> ") for note in notes)


def test_nothing_in_common_is_refused_before_anything_is_measured(
    measured: Benchmark, tiny_onnx: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr("fade_deploy.api.bench.bench.interleaved")
    old = tmp_path / "old.json"
    old.write_text(json.dumps(scaled(measured, 1)))
    with pytest.raises(InputError, match=r"these candidates at these shapes, it has tiny\.onnx cpu at 1x64x64,"):
        bench([tiny_onnx], dataclasses.replace(QUICK, against=old, batches=(3,)))
    earlier = earlier_benchmark(old, form=FORM)
    check_shared(earlier, ["other", "tiny.onnx cpu"], [Shape(3, 64, 64), Shape(2, 64, 64)], BenchOptions())


def test_few_runs_of_either_are_noted(measured: Benchmark) -> None:
    few = "a candidate has as few as 3 runs in one of the two: give both more --seconds"
    earlier = scaled(measured, 1)
    assert few not in compared_with(earlier, measured, BenchOptions()).notes
    for candidate in earlier["candidates"]:
        for case in candidate["cases"]:
            case["seconds"] = [0.01] * 100
    case = dataclasses.replace(measured.candidates[0].cases[0], seconds=(0.01,) * 3)
    now = dataclasses.replace(
        measured, candidates=(dataclasses.replace(measured.candidates[0], cases=(case,)), *measured.candidates[1:])
    )
    assert few in compared_with(earlier, now, BenchOptions()).notes


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("threads", 7, "threads: 7, here 1"),
        ("machine", {"cpu": "Z80"}, "cpu: Z80, here "),
    ],
)
def test_another_machine_is_refused_before_anything_is_measured(
    measured: Benchmark, tiny_onnx: Path, tmp_path: Path, field: str, value: Any, told: str
) -> None:
    old = tmp_path / "old.json"
    old.write_text(json.dumps({**scaled(measured, 10), field: value}))
    options = dataclasses.replace(QUICK, against=old, batches=(1,), seconds=0.1, library=NONE)
    with pytest.raises(InputError) as refused:
        bench([tiny_onnx], options)
    assert told in str(refused.value)
    found = bench([tiny_onnx], dataclasses.replace(options, other_machine=True)).against
    assert found is not None
    assert [change.name for change in found.changes] == ["tiny.onnx cpu"]
