from __future__ import annotations

import pytest

from benchmarks.operators import OperatorCase
from benchmarks.report import markdown
from benchmarks.roofline import Peaks, roofline_seconds, work_of


def _spread(median):
    return {"first": 0.9 * median, "median": median, "third": 1.1 * median, "count": 9}


def _times(milliseconds, ratio):
    return {"ms": _spread(milliseconds), "ratio": _spread(ratio)}


def _case(subject, **more):
    return {
        "subject": subject,
        "baseline": "base",
        "titles": {"base": "the baseline", "ours": "ours"},
        "threads": {
            "1": {"load": 0.0, "variants": {"base": _times(200, 1), "ours": _times(50.04, 0.25)}},
            "2": {"load": 0.0, "variants": {"base": _times(100, 1), "ours": {"left_out": "it is not built"}}},
        },
        "memory": {"base": {"mib": 250.0}, "ours": {"mib": 5.04}},
    } | more


@pytest.fixture
def document():
    return {
        "date": "2026-11-21 12:00 UTC",
        "machine": {"cpu": "Some CPU", "cores": 2, "vectors": "AVX2", "memory_gib": 8.0, "system": "Linux x86_64"},
        "versions": {"python": "3.11.7", "torch": "2.13.0"},
        "commit": "0123456789",
        "load_before": 0.1,
        "command": "python -m benchmarks",
        "models": [_case("SegFormer-B1, 1x512x512")],
        # 1 ms at these peaks, by its arithmetic.
        "operators": [_case("FadeUpsample", work={"macs": 5_000_000, "bytes": 1000})],
        "head_growth": [
            {
                "subject": "SegFormer-B1",
                "threads": {
                    "1": {
                        "fade": {"ms": {"512x512": _spread(10), "1024x2048": _spread(88)}, "growth": _spread(1.1)},
                        "fade-native": {"left_out": "it is not built"},
                    }
                },
            }
        ],
        "kernels": {
            "peaks": [
                {"threads": 1, "fma_gflops": 10.0, "copy_gbps": 5.0},
                {"threads": 2, "fma_gflops": 20.0, "copy_gbps": 5.0},
            ],
            "kernels": [{"name": "FadeUpsample, C = 256", "threads": 1, "ms": 4.0, "roofline": 0.5}],
        },
    }


def test_a_row_has_times_ratios_and_memory(document):
    text = markdown(document)
    assert "| the baseline | 200 | 1.00 (0.90 to 1.10) | 100 | 1.00 (0.90 to 1.10) | 250 | 1.00 |" in text
    assert "| ours | 50.0 | 0.25 (0.23 to 0.28) | - | - | 5.0 | 0.02 |" in text
    assert "- ours: it is not built" in text


def test_an_operators_row_has_its_fraction_of_the_roofline(document):
    text = markdown(document)
    assert "| ours | 50.0 | 0.25 (0.23 to 0.28) | 2 % | - | - | - | 5.0 | 0.02 |" in text  # 1 of 50.04 ms
    assert "| FadeUpsample, C = 256 | 1 | 4.00 | 50 % |" in text


def test_growth_is_told_or_why_not(document):
    text = markdown(document)
    assert "| fade | 10.0 → 88.0 | 1.10 (0.99 to 1.21) |" in text
    assert "- fade-native, 1 thread: it is not built" in text


def test_the_report_says_where_it_comes_from(document):
    text = markdown(document)
    assert text.startswith("# Benchmarks\n\nWritten by `make bench`")
    for fact in ("Some CPU, 2 cores, AVX2, 8.0 GiB", "torch 2.13.0", "commit 0123456789", "2026-11-21 12:00 UTC"):
        assert fact in text


def test_without_the_kernel_program_there_is_a_reason_and_no_fraction(document):
    document["kernels"] = {"left_out": "fade_kernel_bench is not built"}
    text = markdown(document)
    assert "Left out: fade_kernel_bench is not built" in text
    assert "of roofline" not in text


def test_every_row_of_a_table_has_as_many_cells(document):
    for table in markdown(document).split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") for line in table.splitlines()}) == 1, table


def test_roofline_is_the_larger_of_arithmetic_and_traffic():
    work = work_of(OperatorCase(operator="FadeUpsample", channels=8, side=4))
    outputs = 8 * 8 * 8
    assert work.macs == outputs * (25 + 2)  # taps, and the blend's two products
    assert work.bytes == 4 * (outputs // 4 + 25 * 64 + outputs + 16 + outputs)
    counted = {"macs": 5_000, "bytes": 1_000}
    assert roofline_seconds(counted, Peaks(fma_gflops=10, copy_gbps=100)) == pytest.approx(1e-6)
    assert roofline_seconds(counted, Peaks(fma_gflops=1000, copy_gbps=0.5)) == pytest.approx(2e-6)
