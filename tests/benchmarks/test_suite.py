from __future__ import annotations

import os

import pytest

from benchmarks.exports import fresh_folder
from benchmarks.measure import Pace
from benchmarks.report import markdown
from benchmarks.runners import LeftOut
from benchmarks.suite import FULL, QUICK, Plan, in_fresh_process, measured
from benchmarks.variants import BASELINE, VARIANTS, ModelCase, variants_of


def test_a_case_runs_in_a_process_of_its_own():
    assert in_fresh_process(os.getpid) != os.getpid()


def test_a_process_that_the_system_ends_is_a_reason_and_no_crash():
    with pytest.raises(LeftOut, match="ended"):
        in_fresh_process(os._exit, 9)


def test_only_files_that_other_code_exported_are_removed(tmp_path):
    (tmp_path / "0123456789ab").mkdir()
    (tmp_path / "somebody's").mkdir()
    folder = fresh_folder(tmp_path)
    assert set(tmp_path.iterdir()) == {folder, tmp_path / "somebody's"}
    assert fresh_folder(tmp_path) == folder


def test_the_fused_bilinear_stands_beside_the_plain_one_in_every_table():
    for plan in (QUICK, FULL):
        for case in plan.models:
            names = [variant.name for variant in variants_of(case)]
            assert names[:2] == [BASELINE, "bilinear-fused"]
            assert "fade-native" in names
    assert len({variant.name for variant in VARIANTS}) == len(VARIANTS)


@pytest.mark.slow
def test_a_whole_model_is_measured_and_reported(tmp_path):
    plan = Plan(
        models=(ModelCase(model="segformer-b0", height=64, width=64),),
        threads=(1,),
        pace=Pace(seconds=0.2, fewest=1, most=2),
    )
    document = measured(plan, folder=fresh_folder(tmp_path), tell=print)
    entry = document["models"][0]
    for name, result in entry["threads"]["1"]["variants"].items():
        print(name, result)
        assert "ms" in result or name in ("fade-native", "bilinear-openvino", "fade-openvino"), result
        assert "wrong" not in result.get("left_out", "")
    assert "| bilinear, plain export |" in markdown(document)
