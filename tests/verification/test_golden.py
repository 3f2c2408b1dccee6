"""Golden outputs: small, exact, and a fault anywhere is seen, also where no value is kept."""

from __future__ import annotations

import copy
import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fade_deploy.contract import Task
from fade_deploy.errors import InputError
from fade_deploy.recipe import Shape
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import SCORES
from fade_deploy.verification.golden import GoldenCase, golden_cases, golden_inputs, golden_of, golden_shapes

TOLERANCE = Tolerance(atol=1e-3, rtol=1e-3, why="by hand")
SHAPES = (Shape(1, 64, 96), Shape(2, 32, 32))
NORMALISING = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375), "embed_preprocess": False}


def scores(tensors: Any) -> NDArray[np.float32]:
    """Six classes for every pixel, of anything."""
    image = tensors["image"]
    return np.concatenate([image, image[:, ::-1] * 0.5 + 0.25], axis=1)


def logits(tensors: Any) -> dict[str, NDArray[Any]]:
    return {"logits": scores(tensors), SCORES: scores(tensors)}


def labels(tensors: Any) -> dict[str, NDArray[Any]]:
    return {"labels": scores(tensors).argmax(1), SCORES: scores(tensors)}


def document_of(run: Any, output: str) -> dict[str, Any]:
    inputs = golden_inputs(Task.SEGMENTATION, SHAPES, **NORMALISING)  # type: ignore[arg-type]
    written = golden_of(run, inputs, output=output, tolerance=TOLERANCE)
    document: dict[str, Any] = json.loads(json.dumps(written, allow_nan=False))
    return document


def cases_and_outputs(run: Any, output: str) -> list[tuple[GoldenCase, NDArray[Any]]]:
    cases = golden_cases(document_of(run, output), name="m.json")
    inputs = golden_inputs(Task.SEGMENTATION, SHAPES, **NORMALISING)  # type: ignore[arg-type]
    return [(case, run(tensors)[output]) for case, (_, tensors) in zip(cases, inputs, strict=True)]


@pytest.mark.parametrize(("run", "output"), [(logits, "logits"), (labels, "labels")])
def test_what_was_written_is_read_back_and_has_no_fault(run: Any, output: str) -> None:
    for case, whole in cases_and_outputs(run, output):
        np.testing.assert_array_equal(case.values, whole.ravel()[case.positions])
        assert case.values.dtype == whole.dtype
        assert 500 < case.values.size <= 2048
        assert case.fault(whole, TOLERANCE) == ""


def test_two_writings_are_equal_and_small() -> None:
    one, other = document_of(logits, "logits"), document_of(logits, "logits")
    assert one == other
    assert len(json.dumps(one)) < 30_000
    assert len(json.dumps(document_of(labels, "labels"))) < 20_000


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x: x + 0.01, "has the minimum"),
        (lambda x: x * 1.01, "has the minimum"),
        (lambda x: np.clip(x, None, x.max() - 0.1), "has the maximum"),
        (lambda x: x.astype(np.float64), "is float64"),
        (lambda x: x[:, :5], "expected float32 [1, 6, 64, 96]"),
        (lambda x: np.where(np.arange(x.shape[-1]) % 2, x, -x), "has the"),
    ],
)
def test_a_fault_of_the_whole_is_told(change: Any, says: str) -> None:
    case, whole = cases_and_outputs(logits, "logits")[0]
    assert says in case.fault(change(whole).astype(change(whole).dtype), TOLERANCE)


def test_an_error_within_the_tolerance_is_no_fault() -> None:
    case, whole = cases_and_outputs(logits, "logits")[0]
    noise = np.random.default_rng(0).uniform(-0.9e-3, 0.9e-3, whole.shape).astype(np.float32)
    assert case.fault(whole + noise, TOLERANCE) == ""


def test_nan_is_a_fault_wherever_it_is() -> None:
    case, whole = cases_and_outputs(logits, "logits")[0]
    hidden = next(place for place in range(whole.size) if place not in set(case.positions.tolist()))
    whole.ravel()[hidden] = np.nan
    assert "has the" in case.fault(whole, TOLERANCE)


def test_labels_are_kept_where_the_reference_is_decided_and_counted_everywhere() -> None:
    case, whole = cases_and_outputs(labels, "labels")[0]
    assert case.counts is not None
    assert case.counts.sum() == whole.size
    best = np.sort(scores(next(golden_inputs(Task.SEGMENTATION, SHAPES, **NORMALISING))[1]), axis=1)  # type: ignore[arg-type]
    lead = (best[:, -1] - best[:, -2]).ravel()[case.positions]
    assert (lead > TOLERANCE.atol).all()
    moved = whole.copy()
    moved.ravel()[: case.undecided + 60] = (moved.ravel()[: case.undecided + 60] + 1) % 6
    assert "labels of other classes" in case.fault(np.zeros_like(whole), TOLERANCE)
    assert "labels from 0 to 6" in case.fault(np.where(whole == 5, 6, np.where(whole == 0, 0, whole)), TOLERANCE)
    assert "labels from -1" in case.fault(np.where(whole == whole.max(), -1, whole), TOLERANCE)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d.clear(), "no golden outputs of form 1"),
        (lambda d: d.update(form=2), "no golden outputs of form 1"),
        (lambda d: d.update(cases=[]), "at least one shape"),
        (lambda d: d["cases"][0].pop("sizes"), "damaged golden outputs ('sizes')"),
        (lambda d: d["cases"][0].update(values="AAAA"), "damaged golden outputs"),
        (lambda d: d["cases"][0].update(values="not base64!"), "damaged golden outputs"),
        (lambda d: d["cases"][0].update(statistics={}), "damaged golden outputs"),
        (lambda d: d["cases"][0].update(sizes=[1, 2]), "damaged golden outputs"),
    ],
)
def test_a_damaged_document_is_refused(change: Any, says: str) -> None:
    document = copy.deepcopy(document_of(logits, "logits"))
    change(document)
    with pytest.raises(InputError) as raised:
        golden_cases(document, name="m.json")
    assert says in str(raised.value)
    assert str(raised.value).startswith("m.json ")


def test_shapes_are_the_fixed_one_or_odd_ones_with_a_batch() -> None:
    assert golden_shapes(32, Shape(1, 125, 157)) == (Shape(1, 125, 157),)
    found = golden_shapes(32, None)
    assert all(side % 32 == 0 for shape in found for side in shape.sizes[1:])
    assert any(shape.batch > 1 for shape in found)
    assert {shape.height > shape.width for shape in found} == {True, False}
