from __future__ import annotations

import pytest

from benchmarks.measure import Pace, memory_growth, times
from benchmarks.operators import (
    OPERATOR_BASELINE,
    OPERATOR_CASES,
    OPERATOR_VARIANTS,
    OperatorCase,
    operator_values,
    operator_variants_of,
)
from fade_deploy import contract

PACE = Pace(seconds=0.1, fewest=1, most=2)
TINY = [
    OperatorCase(operator=operator.name, channels=4, side=4, hidden=6, classes=3, naive=operator is contract.UPSAMPLE)
    for operator in contract.OPERATORS
]


def test_every_operator_of_the_contract_is_measured():
    assert {case.operator for case in OPERATOR_CASES} == {operator.name for operator in contract.OPERATORS}


def test_shapes_are_the_contracts():
    case = OperatorCase(operator="FadeHead", channels=4, side=8, hidden=6, classes=3)
    shapes = {name: value.shape for name, value in operator_values(case).items()}
    assert shapes["first"] == (1, 6, 8, 8)
    assert shapes["encoder_logits"] == (1, 75, 16, 16)
    assert shapes["encoder_weight"] == (6, 19)
    assert case.shape(case.definition.output) == (1, 3, 16, 16)
    assert OperatorCase(operator="FadeAccumulate", channels=4, side=8).shape("[N or 1,C or 1,sH or 1,1]") == (
        1,
        4,
        16,
        1,
    )


@pytest.mark.parametrize("case", TINY, ids=lambda case: case.operator)
def test_variants_run_agree_and_are_timed(case, tmp_path):
    variants = [variant for variant in operator_variants_of(case) if not variant.name.endswith("compiled")]
    result = times(case, variants, baseline=OPERATOR_BASELINE, threads=1, folder=tmp_path, pace=PACE)
    assert list(result["variants"]) == [variant.name for variant in variants]
    for name, entry in result["variants"].items():
        # Never left out because of a wrong result; OpenVINO and the native library need not be there.
        assert "ms" in entry or name in ("openvino", "native"), entry
        assert "wrong" not in entry.get("left_out", ""), entry
        if "ms" in entry:
            assert entry["ms"]["median"] > 0
    assert result["variants"][OPERATOR_BASELINE]["ratio"]["median"] == 1


def test_memory_of_an_operator_grows_by_at_least_its_bands(tmp_path):
    case = OperatorCase(operator="FadeReassemble", channels=32, side=64)
    entry = memory_growth(case, OPERATOR_VARIANTS[0], threads=1, folder=tmp_path)
    if "left_out" in entry:
        pytest.skip(entry["left_out"])
    assert 4 < entry["mib"] < 200  # 256 tiles of 64 x 64 weights are 4 MiB
