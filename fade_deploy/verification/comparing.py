"""One output of one run against the reference: every number, a verdict, and the reason in a few words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import UNKNOWN, Head
from fade_deploy.tolerances import Tolerance
from fade_deploy.verification.agreement import SCORES, Agreement, agreement_of
from fade_deploy.verification.measures import Measures, is_collapsed, measures_of
from fade_deploy.verification.verification import Band, Comparison, KeptPicture

__all__ = ["compared", "kept_picture", "worst_of"]

Arrays = Mapping[str, NDArray[Any]]


@np.errstate(invalid="ignore")  # infinities and NaN are judged here, not warned about
def compared(
    given: Arrays,
    expected: Arrays,
    *,
    run: str,
    input_name: str,
    shape: str,
    source: str,
    head: Head,
    tolerance: Tolerance,
    trimaps: NDArray[np.uint8] | None,
) -> Comparison:
    """Compare what a run gave for one input.

    Args:
        given: Outputs by name.
        expected: The reference's; with ``SCORES`` where it knows them.
        run: Name of the run.
        input_name: Of the input.
        shape: Of the input.
        source: Of the input.
        head: What the files return.
        tolerance: The bound.
        trimaps: Of matting, [N, H, W].
    """
    output = head.output
    if output not in given:
        reason = f"has no output '{output}'"
        return Comparison(run=run, input=input_name, output=output, passed=False, reason=reason, agreement=None)
    mine, theirs = given[output], expected[output]
    class_axis = head in (Head.LOGITS, Head.PROBS)
    # Without PyTorch's own scores logits and probabilities are theirs; labels then have none, and must be equal.
    scores = expected.get(SCORES, theirs if class_axis else None)
    same_form = (mine.shape, mine.dtype) == (theirs.shape, theirs.dtype)
    agreement = agreement_of(
        mine,
        theirs,
        scores,
        candidate=run,
        output=output,
        shape=shape,
        source=source,
        tolerance=tolerance,
    )
    is_float = bool(np.issubdtype(theirs.dtype, np.floating))
    measures = measures_of(mine, theirs, class_axis=class_axis) if same_form and is_float and theirs.size else None
    if measures is None:
        collapsed = same_form and theirs.size > 0 and is_collapsed(mine, theirs, class_axis=class_axis)
    else:
        collapsed = measures.collapsed
    return Comparison(
        run=run,
        input=input_name,
        output=output,
        passed=agreement.passed and not collapsed,
        reason=_reason(agreement, measures, mine, theirs, collapsed, tolerance),
        agreement=agreement,
        measures=measures,
        band=_band(mine, theirs, trimaps) if same_form and trimaps is not None else None,
    )


def worst_of(comparisons: Sequence[Comparison]) -> Comparison | None:
    """The comparison to look at first: a run that failed, then one beyond its bound, then the largest error."""

    def severity(found: Comparison) -> tuple[bool, bool, float, int]:
        agreement = found.agreement
        if agreement is None:
            return True, True, np.inf, 0
        error = agreement.max_error or 0.0
        wrong = (agreement.labels_compared or 0) - (agreement.labels_agreeing or 0)
        return not found.passed, not np.isfinite(error), error if np.isfinite(error) else 0.0, wrong

    return max(comparisons, key=severity, default=None)


def kept_picture(
    picture: NDArray[np.uint8], trimap: NDArray[np.uint8] | None, outputs: Mapping[str, Arrays], *, head: Head
) -> KeptPicture:
    """The first entry of a batch for a report.

    Args:
        picture: [H, W, 3].
        trimap: [H, W].
        outputs: Run -> its outputs; the reference's first.
        head: What the files return.
    """
    firsts = {run: arrays[head.output][0] for run, arrays in outputs.items() if head.output in arrays}
    expected = next(iter(firsts.values()))
    return KeptPicture(
        picture=picture,
        trimap=trimap,
        results={run: _shown(first, head) for run, first in firsts.items()},
        errors={run: _error_map(first, expected) for run, first in firsts.items() if first.shape == expected.shape},
    )


def _shown(first: NDArray[Any], head: Head) -> NDArray[Any]:
    if head in (Head.ALPHA, Head.RAW):
        alpha: NDArray[np.float32] = np.clip(first[0], 0, 1).astype(np.float32)
        return alpha
    labels = first if head is Head.LABELS else first.argmax(0)
    return labels.astype(np.uint16)


def _error_map(first: NDArray[Any], expected: NDArray[Any]) -> NDArray[np.float32]:
    if np.issubdtype(expected.dtype, np.floating):
        error: NDArray[np.float32] = np.abs(first.astype(np.float32) - expected).max(axis=0)
    else:
        error = np.not_equal(first, expected).astype(np.float32)
    return error


def _band(given: NDArray[Any], expected: NDArray[Any], trimaps: NDArray[np.uint8]) -> Band:
    error = np.abs(given - expected)[:, 0][trimaps == UNKNOWN]
    if error.size == 0:
        return Band(pixels=0, max_error=0.0, mean_error=0.0)
    return Band(pixels=error.size, max_error=float(error.max()), mean_error=float(error.mean(dtype=np.float64)))


def _reason(
    agreement: Agreement,
    measures: Measures | None,
    given: NDArray[Any],
    expected: NDArray[Any],
    collapsed: bool,
    tolerance: Tolerance,
) -> str:
    if agreement.passed and not collapsed:
        return ""
    if (given.shape, given.dtype) != (expected.shape, expected.dtype):
        return f"is {given.dtype} {list(given.shape)}, the reference {expected.dtype} {list(expected.shape)}"
    if collapsed:
        return "says one thing everywhere"
    if measures is not None and measures.nan + measures.inf:
        return f"{measures.nan} NaN and {measures.inf} infinite values"
    if measures is not None and not np.isfinite(expected).all():
        return "the reference is not finite"
    if measures is not None and agreement.max_error is not None and agreement.max_error > tolerance.atol:
        return f"max error {agreement.max_error:.1e}, tolerated {tolerance.atol:g} or {tolerance.rtol:g} of the value"
    if agreement.labels_compared is not None and agreement.labels_agreeing is not None:
        wrong = agreement.labels_compared - agreement.labels_agreeing
        return f"{wrong} of {agreement.labels_compared} decided labels differ"
    return f"{int((given != expected).sum())} of {expected.size} values differ"
