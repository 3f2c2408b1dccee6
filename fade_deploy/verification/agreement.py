"""How closely a runtime follows eager PyTorch: numbers for every output, and a verdict.

Polygraphy's Comparator runs both. Its elementwise rule is applied here, without its ``compare_accuracy``, which
computes medians and percentiles of every output whatever is logged. What it has no notion of is added: class labels,
which two exact implementations may still swap where two classes tie within the error.

Polygraphy is imported where it runs something, so that outputs can be judged without it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.tolerances import Tolerance

if TYPE_CHECKING:
    from polygraphy.backend.base import BaseRunner

    from fade_deploy.verification.inputs import VerificationInput

__all__ = ["SCORES", "Agreement", "agreement_of", "compare", "decided_labels", "worst"]

# What a segmentation reference adds to its outputs: class scores [N, classes, ...] whose argmax are the labels. No
# output of a file bears this name: a C string ends at the NUL.
SCORES = "\0class_scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One output at one input shape, candidate against reference."""

    candidate: str  # name of the runner that is compared with the reference
    output: str
    shape: str  # of the input, NxHxW
    source: str  # of the input
    passed: bool
    max_error: float | None  # absolute; None for labels with scores, for another shape or dtype, for no elements
    mean_error: float | None
    p999_error: float | None  # 99.9 % of the values are at most this far apart
    reference_std: float | None
    labels_compared: int | None  # pixels whose two best classes are further apart than the tolerated error
    labels_agreeing: int | None  # None for both where there are no classes

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN and no infinity: these stand there as text."""
        return {
            name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def compare(
    reference: BaseRunner,
    candidates: Sequence[BaseRunner],
    inputs: Iterable[VerificationInput],
    *,
    outputs: Sequence[str],
    tolerance: Tolerance,
) -> list[Agreement]:
    """Run all on every input and compare ``outputs`` elementwise, and the labels with their margin where there are.

    A float fails where its error exceeds ``atol`` and ``rtol * |reference|`` or is not a number; a label fails where
    the candidate differs although the reference's best score leads by more than the tolerated error. Integers and
    booleans without scores must be equal, whatever the tolerance. Another shape or dtype fails, and so does a
    reference that is not finite or has no elements: there is nothing to compare with.

    Args:
        reference: Gives the outputs, and ``SCORES`` where there are labels.
        candidates: Give the outputs; of names of their own.
        inputs: One batch each.
        outputs: Names of the outputs; floats (with ``SCORES``: over axis 1), integers or booleans.
        tolerance: The bound.
    """
    return [
        agreement for batch in inputs for agreement in _compare_one(reference, candidates, batch, outputs, tolerance)
    ]


def _compare_one(
    reference: BaseRunner,
    candidates: Sequence[BaseRunner],
    batch: VerificationInput,
    outputs: Sequence[str],
    tolerance: Tolerance,
) -> list[Agreement]:
    from fade_deploy.verification.running import run_all

    expected, *compared = run_all([reference, *candidates], batch.tensors)
    return [
        agreement_of(
            given[output],
            expected[output],
            expected.get(SCORES),
            candidate=candidate.name,
            output=output,
            shape=str(batch.shape),
            source=batch.source,
            tolerance=tolerance,
        )
        for candidate, given in zip(candidates, compared, strict=True)
        for output in outputs
    ]


@np.errstate(invalid="ignore")  # infinities and NaN are judged here, not warned about
def agreement_of(
    given: NDArray[Any],
    expected: NDArray[Any],
    scores: NDArray[Any] | None,
    *,
    candidate: str,
    output: str,
    shape: str,
    source: str,
    tolerance: Tolerance,
) -> Agreement:
    """Judge one output by the rule of :func:`compare`.

    Args:
        given: Of the candidate.
        expected: Of the reference.
        scores: The reference's class scores [N, classes, ...]; None where there are no classes.
        candidate: Its name.
        output: Its name.
        shape: Of the input.
        source: Of the input.
        tolerance: The bound.
    """
    is_exact = expected.dtype == np.bool_ or np.issubdtype(expected.dtype, np.integer)
    same_form = (given.shape, given.dtype) == (expected.shape, expected.dtype)
    compared: int | None = None
    agreeing: int | None = None
    if scores is not None:
        labels = given if is_exact or given.shape != expected.shape else given.argmax(1)
        compared, agreeing = _label_counts(scores, labels, tolerance)
    passed = same_form and compared == agreeing and bool(np.isfinite(expected if scores is None else scores).all())
    passed = passed and expected.size > 0
    errors: tuple[float | None, float | None, float | None] = (None, None, None)
    if same_form and expected.size and (scores is None or not is_exact):
        if is_exact:
            passed = passed and np.array_equal(given, expected)
            error = _distance(given, expected)
        else:
            error = np.abs(given - expected)
            passed = passed and _is_within(error, expected, tolerance)
        errors = (float(error.max()), float(error.mean(dtype=np.float64)), _quantile(error.ravel(), 0.999))
    return Agreement(
        candidate=candidate,
        output=output,
        shape=shape,
        source=source,
        passed=passed,
        max_error=errors[0],
        mean_error=errors[1],
        p999_error=errors[2],
        reference_std=None if errors[0] is None else float(expected.std()),
        labels_compared=compared,
        labels_agreeing=agreeing,
    )


def _distance(given: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float64]:
    """``|given - expected|`` of integers or booleans: modulo 2**64, where a difference of no two of them overflows."""
    larger, smaller = np.maximum(given, expected).astype(np.uint64), np.minimum(given, expected).astype(np.uint64)
    with np.errstate(over="ignore"):
        return np.asarray(larger - smaller, np.float64)


def _is_within(error: NDArray[Any], expected: NDArray[Any], tolerance: Tolerance) -> bool:
    beyond = ~(error <= tolerance.atol)  # NaN is beyond any bound
    rest = error[beyond]
    return bool(np.isfinite(rest).all() and (rest <= tolerance.rtol * np.abs(expected[beyond])).all())


def _quantile(values: NDArray[Any], share: float) -> float:
    """Linear interpolation between order statistics, as numpy's, but in place and without a float64 copy."""
    position = share * (values.size - 1)
    below = int(position)
    above = min(below + 1, values.size - 1)
    values.partition([below, above])
    low, high = float(values[below]), float(values[above])
    return low + (position - below) * (high - low)


def decided_labels(scores: NDArray[Any], tolerance: Tolerance) -> NDArray[np.bool_]:
    """Where the best of the class scores [N, classes, ...] leads by more than the tolerated error, [N, ...]."""
    if scores.shape[1] == 1:
        return np.ones(scores[:, 0].shape, np.bool_)
    second, first = np.moveaxis(np.partition(scores, -2, axis=1)[:, -2:], 1, 0)
    leads: NDArray[np.bool_] = first - second > np.maximum(tolerance.atol, tolerance.rtol * np.abs(first))
    return leads


def _label_counts(scores: NDArray[Any], labels: NDArray[Any], tolerance: Tolerance) -> tuple[int, int]:
    """Pixels whose lead exceeds the tolerated error, and how many of them have the reference's label."""
    best, decided = scores.argmax(1), decided_labels(scores, tolerance)
    if labels.shape != best.shape:
        return int(decided.sum()), 0
    return int(decided.sum()), int((best == labels)[decided].sum())


def worst(agreements: Sequence[Agreement]) -> Agreement:
    """The comparison that failed, or else the one with the largest error."""

    def severity(agreement: Agreement) -> tuple[bool, float, int]:
        error = agreement.max_error or 0.0
        wrong = (agreement.labels_compared or 0) - (agreement.labels_agreeing or 0)
        return not agreement.passed, math.inf if math.isnan(error) else error, wrong

    return max(agreements, key=severity)
