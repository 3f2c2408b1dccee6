"""How far outputs are from the reference's, told beside their speed; fade-verify is what judges them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fade_deploy.contract import Head
from fade_deploy.verification.measures import json_number

__all__ = ["Accuracy", "accuracy_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """One output against the reference's, on the same picture."""

    max_error: float | None  # absolute, nan where a value is not finite; None of labels, and of what can't be compared
    label_agreement: float | None  # share of the pixels with the reference's label, 0..1; None without classes
    reason: str = ""  # why they can't be compared

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: json_number(value) for name, value in asdict(self).items()}


@np.errstate(invalid="ignore")  # infinities and NaN make the error nan, and that is what is told
def accuracy_of(given: NDArray[Any], expected: NDArray[Any], head: Head, expected_head: Head) -> Accuracy:
    """Compare two outputs.

    Args:
        given: Of the candidate; in float16 or float32, or labels.
        expected: Of the reference.
        head: What the candidate's file returns.
        expected_head: What the reference's file returns.
    """
    if head is not expected_head:
        return Accuracy(max_error=None, label_agreement=None, reason=f"returns {head}, the reference {expected_head}")
    if given.shape != expected.shape:
        reason = f"its output is {list(given.shape)}, the reference's {list(expected.shape)}"
        return Accuracy(max_error=None, label_agreement=None, reason=reason)
    if head is Head.LABELS:
        return Accuracy(max_error=None, label_agreement=float((given == expected).mean()))
    error = np.abs(given.astype(np.float64) - expected.astype(np.float64))
    largest = float(error.max()) if np.isfinite(error).all() else float("nan")
    if head not in (Head.LOGITS, Head.PROBS):
        return Accuracy(max_error=largest, label_agreement=None)
    return Accuracy(max_error=largest, label_agreement=float((given.argmax(1) == expected.argmax(1)).mean()))
