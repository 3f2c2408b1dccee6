"""What a page says of a benchmark whose every number is known."""

from __future__ import annotations

import dataclasses
import math

from fade_deploy.report.content import Cell, Commands, Latencies, Report, Section, Table, Throughput, Tone
from fade_deploy.report.from_benchmark import benchmark_report
from fade_deploy.timing.accuracy import Accuracy
from fade_deploy.timing.benchmark import Memory
from tests.report.made import benchmark


def section(report: Report, title: str) -> Section:
    return next(section for section in report.sections if section.title == title)


def texts(table: Table) -> list[list[str]]:
    return [[cell.text if isinstance(cell, Cell) else cell for cell in row] for row in table.rows]


def test_a_benchmark_alone_is_measured_and_names_the_fastest() -> None:
    verdict = benchmark_report(benchmark(), command="").verdict
    assert (verdict.tone, verdict.word) == (Tone.NEUTRAL, "MEASURED")
    assert verdict.headline == "Fastest at 1x64x96: a.onnx cpu, 10.0 ms at the median."
    assert verdict.lines == ("b.pth takes 2.00 times as long as a.onnx cpu at 1x64x96 (quartiles 2.00 to 2.00).",)


def test_notes_and_outputs_that_speed_says_nothing_of_stand_in_the_verdict() -> None:
    result = dataclasses.replace(benchmark(), notes=("this machine was busy",))
    first, second = result.candidates
    accuracy = Accuracy(max_error=math.nan, label_agreement=0.5)
    cases = tuple(dataclasses.replace(case, accuracy=accuracy) for case in second.cases)
    result = dataclasses.replace(result, candidates=(first, dataclasses.replace(second, cases=cases)))
    doubt, _, note = benchmark_report(result, command="").verdict.lines
    assert doubt == "Beware: the output of b.pth or of a.onnx cpu has values that are not finite."
    assert note == "Note: this machine was busy."


def test_slower_than_before_fails() -> None:
    report = benchmark_report(benchmark(earlier=0.5), command="")
    assert (report.verdict.tone, report.verdict.word) == (Tone.BAD, "FAILED")
    assert report.verdict.headline == (
        "Slower than in old.json of 2026-01-01: a.onnx cpu at 1x64x96: 2.00 times as long."
    )
    (table,) = section(report, "Against an earlier benchmark").blocks
    assert isinstance(table, Table)
    (row,) = texts(table)
    assert (row[2], row[3], row[-1]) == ("5.000", "10.0", "slower")


def test_as_fast_as_before_passes() -> None:
    report = benchmark_report(benchmark(earlier=1.0), command="")
    assert (report.verdict.tone, report.verdict.word) == (Tone.GOOD, "PASSED")
    assert report.verdict.headline == "Nothing is slower than in old.json of 2026-01-01."


def test_each_shape_has_its_samples_and_its_table() -> None:
    first, table, second, _ = section(benchmark_report(benchmark(), command=""), "Latency").blocks
    assert isinstance(first, Latencies)
    assert isinstance(table, Table)
    assert isinstance(second, Latencies)
    assert (first.title, second.title) == ("Latency at 1x64x96", "Latency at 4x64x96")
    assert [len(series.values) for series in first.series] == [41, 41]
    assert max(first.series[0].values) < 10.2 < 19.7 < min(first.series[1].values)
    assert texts(table)[1][4:] == ["50.0", "2.000 (2.000 to 2.000)", "3.2"]


def test_columns_in_which_nothing_is_known_are_left_out() -> None:
    plain = benchmark()
    memory = Memory(load_mib=1.0, run_mib=1.0, gpu_mib=512.0)
    accuracy = Accuracy(max_error=0.0, label_agreement=None)
    candidates = tuple(
        dataclasses.replace(
            one, cases=tuple(dataclasses.replace(case, memory=memory, accuracy=accuracy) for case in one.cases)
        )
        for one in plain.candidates
    )
    named = {}
    for name, result in (("plain", plain), ("gpu", dataclasses.replace(plain, candidates=candidates))):
        report = benchmark_report(result, command="")
        tables = [block for title in ("Runtimes", "Latency") for block in section(report, title).blocks]
        named[name] = {column.name for table in tables if isinstance(table, Table) for column in table.columns}
    assert named["plain"] - named["gpu"] == {"same labels"}
    assert named["gpu"] - named["plain"] == {"GPU, MiB"}


def test_throughput_is_drawn_over_the_batches() -> None:
    (plot,) = section(benchmark_report(benchmark(), command=""), "Throughput").blocks
    assert isinstance(plot, Throughput)
    assert plot.batches == (1, 4)
    assert [round(rate, 1) for rate in plot.series[0].values] == [100.0, 133.3]


def test_one_batch_size_has_no_throughput_plot() -> None:
    result = benchmark()
    one = tuple(dataclasses.replace(each, cases=each.cases[:1]) for each in result.candidates)
    report = benchmark_report(dataclasses.replace(result, candidates=one, shapes=result.shapes[:1]), command="")
    assert "Throughput" not in [each.title for each in report.sections]


def test_accuracy_size_loading_and_placement_stand_beside() -> None:
    report = benchmark_report(benchmark(), command="")
    (runtimes,) = section(report, "Runtimes").blocks
    assert isinstance(runtimes, Table)
    assert texts(runtimes)[1] == ["b.pth", "ONNX Runtime 1.31", "fp32", "1.8 MB", "0.25", "2.5e-6", "100 %"]
    (placement,) = section(report, "Placement and loading").blocks
    assert isinstance(placement, Table)
    assert texts(placement) == [
        ["a.onnx cpu", "CPUExecutionProvider 100", "4", "12.5"],
        ["b.pth", "not told", "-", "12.5"],
    ]


def test_provenance_ends_with_the_command() -> None:
    blocks = section(benchmark_report(benchmark(), command="fade-bench a.onnx b.pth"), "Provenance").blocks
    assert blocks[-1] == Commands(title="To reproduce", lines=("fade-bench a.onnx b.pth",))
