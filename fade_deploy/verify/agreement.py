"""How closely a runtime follows eager PyTorch: numbers for every output, and a verdict.

Polygraphy runs and compares; what it has no notion of is added here: class labels, which two exact
implementations may still swap where two classes tie within the error.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from polygraphy.backend.base import BaseRunner
from polygraphy.comparator import Comparator, IterationResult, SimpleCompareFunc
from polygraphy.logger import G_LOGGER

from fade_deploy.tolerances import Tolerance
from fade_deploy.verify.inputs import VerificationInput

__all__ = ["SCORES", "Agreement", "compare"]

# What the reference adds to its outputs: class scores [N, classes, ...] whose argmax are the labels.
SCORES = "class_scores"


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """One output at one input shape, candidate against reference."""

    output: str
    shape: str  # of the input, NxHxW
    source: str  # of the input
    passed: bool
    max_error: float | None  # absolute; None for an output of labels, or of another shape or dtype
    mean_error: float | None
    p999_error: float | None  # 99.9 % of the values are at most this far apart
    reference_std: float | None
    labels_compared: int  # pixels whose two best classes are further apart than the tolerated error
    labels_agreeing: int

    def as_dict(self) -> dict[str, Any]:
        """For JSON, which has no NaN and no infinity: these stand there as text."""
        return {
            name: str(value) if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def compare(
    reference: BaseRunner,
    candidate: BaseRunner,
    inputs: Iterable[VerificationInput],
    *,
    output: str,
    tolerance: Tolerance,
) -> list[Agreement]:
    """Run both on every input and compare ``output`` elementwise, and the labels with their margin.

    An element fails where its error exceeds ``atol`` and ``rtol * |reference|`` or is not a number; a label fails
    where the candidate differs although the reference's best score leads by more than the tolerated error. Another
    shape or dtype fails, and so does a reference whose scores are not finite: it has no labels to compare with.

    Args:
        reference: Gives ``output`` and ``SCORES``.
        candidate: Gives ``output``.
        inputs: One batch each.
        output: Name of the output; float scores over axis 1, or integer labels.
        tolerance: The bound.
    """
    return [_compare_one(reference, candidate, batch, output, tolerance) for batch in inputs]


@np.errstate(invalid="ignore")  # infinities and NaN are judged here, not warned about
def _compare_one(
    reference: BaseRunner, candidate: BaseRunner, batch: VerificationInput, output: str, tolerance: Tolerance
) -> Agreement:
    # Polygraphy logs disagreements as errors, to standard output; here they are a result.
    with G_LOGGER.verbosity(G_LOGGER.CRITICAL):
        results = Comparator.run([reference, candidate], data_loader=[{"image": batch.image}])
        (_, (expected_outputs,)), (_, (given_outputs,)) = results.items()
        expected, scores = expected_outputs[output], expected_outputs[SCORES]
        given = given_outputs[output]
        is_labels = np.issubdtype(expected.dtype, np.integer)
        same_form = (given.shape, given.dtype) == (expected.shape, expected.dtype)
        labels = given if is_labels else given.argmax(1)
        compared, agreeing = _label_counts(scores, labels, tolerance)
        compare_func = (
            _compare_labels(output, compared == agreeing)
            if is_labels
            else SimpleCompareFunc(atol=tolerance.atol, rtol=tolerance.rtol)
        )
        verdict = Comparator.compare_accuracy(results, comparisons=[(1, 0)], compare_func=_only(output, compare_func))
    error = None if is_labels or not same_form else np.abs(given.astype(np.float64) - expected)
    return Agreement(
        output=output,
        shape=str(batch.shape),
        source=batch.source,
        passed=bool(verdict) and compared == agreeing and same_form and bool(np.isfinite(scores).all()),
        max_error=None if error is None else float(error.max()),
        mean_error=None if error is None else float(error.mean()),
        p999_error=None if error is None else float(np.quantile(error, 0.999)),
        reference_std=None if error is None else float(expected.std()),
        labels_compared=compared,
        labels_agreeing=agreeing,
    )


def _label_counts(scores: NDArray[Any], labels: NDArray[Any], tolerance: Tolerance) -> tuple[int, int]:
    """Pixels whose lead exceeds the tolerated error, and how many of them have the reference's label."""
    best = scores.argmax(1)
    if scores.shape[1] > 1:
        second, first = np.moveaxis(np.partition(scores, -2, axis=1)[:, -2:], 1, 0)
        decided = first - second > np.maximum(tolerance.atol, tolerance.rtol * np.abs(first))
    else:
        decided = np.ones(best.shape, dtype=bool)
    if labels.shape != best.shape:
        return int(decided.sum()), 0
    return int(decided.sum()), int((best == labels)[decided].sum())


def _only(output: str, compare_func: Any) -> Any:
    """Restrict a Polygraphy comparison to one output; the reference also carries scores."""

    def restricted(given: IterationResult, expected: IterationResult) -> OrderedDict[str, Any]:
        pair = [
            IterationResult(outputs={output: result[output]}, runtime=result.runtime, runner_name=result.runner_name)
            for result in (given, expected)
        ]
        compared: OrderedDict[str, Any] = compare_func(*pair)
        return compared

    return restricted


def _compare_labels(output: str, agreed: bool) -> Any:
    return lambda *_: OrderedDict({output: agreed})


def worst(agreements: Sequence[Agreement]) -> Agreement:
    """The comparison that failed, or else the one with the largest error."""

    def severity(agreement: Agreement) -> tuple[bool, float, int]:
        error = agreement.max_error or 0.0
        wrong = agreement.labels_compared - agreement.labels_agreeing
        return not agreement.passed, math.inf if math.isnan(error) else error, wrong

    return max(agreements, key=severity)
