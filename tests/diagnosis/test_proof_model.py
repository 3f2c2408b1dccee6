"""The model that proves a runtime is right itself, by hand and by other people's implementations."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from fade_deploy import contract
from fade_deploy.diagnosis.proof_model import OUTPUT, expected_output, proof_inputs, proof_model
from tests.plugins.one_node import session


def test_one_number_is_what_a_pencil_says() -> None:
    """Channel 0, row 0, column 0."""
    image = (np.arange(72) % 5 - 2).reshape(2, 6, 6)
    weight = (np.arange(54) % 3 - 2).reshape(3, 2, 3, 3)
    row = [
        sum(int(image[c, i, x + j] * weight[0, c, i, j]) for c in (0, 1) for i in (0, 1, 2) for j in (0, 1, 2))
        for x in range(4)
    ]
    column = [-2, -2, -2, -2]  # of the matrix: 0 % 4 - 2, 4 % 4 - 2, ...
    kernel = -2  # 0 % 5 - 2
    assert expected_output()[0, 0, 0, 0] == kernel * sum(a * b for a, b in zip(row, column, strict=True)) != 0


def test_it_is_valid_and_the_reference_evaluator_agrees() -> None:
    model = onnx.load_model_from_string(proof_model(body=True))
    onnx.checker.check_model(model, full_check=True)
    [function] = model.functions
    assert (function.domain, function.name) == (contract.DOMAIN, "FadeReassemble_k1_s1_g1")
    [output] = ReferenceEvaluator(model).run([OUTPUT], proof_inputs())
    np.testing.assert_array_equal(output, expected_output())


def test_onnxruntime_agrees_exactly() -> None:
    options = onnxruntime.SessionOptions()
    runner = onnxruntime.InferenceSession(proof_model(body=True), options, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(runner.run([OUTPUT], proof_inputs())[0], expected_output())


def test_without_its_body_only_a_library_can_run_it() -> None:
    model = onnx.load_model_from_string(proof_model(body=False))
    assert not model.functions
    with pytest.raises(Exception, match="FadeReassemble_k1_s1_g1"):
        session(model, None)


def test_the_installed_library_runs_it(native: Path) -> None:
    model = onnx.load_model_from_string(proof_model(body=False))
    [output] = session(model, native).run([OUTPUT], proof_inputs())
    np.testing.assert_array_equal(output, expected_output())
