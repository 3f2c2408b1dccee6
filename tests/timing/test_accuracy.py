"""How far outputs are apart, on tensors small enough to write down."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fade_deploy.contract import Head
from fade_deploy.timing.accuracy import Accuracy, accuracy_of

LOGITS = np.array([[[[1.0, 0.0, 0.5, 3.0]], [[0.0, 1.0, 0.4375, 2.0]]]], np.float32)  # labels 0 1 0 0
ALPHA = np.array([[[[0.0, 0.5, 1.0]]]], np.float32)


def test_equal_outputs() -> None:
    assert accuracy_of(LOGITS, LOGITS, Head.LOGITS, Head.LOGITS) == Accuracy(max_error=0.0, label_agreement=1.0)


def test_an_error_may_flip_a_label() -> None:
    other = LOGITS.copy()
    other[0, 1, 0, 2] = 0.625
    assert accuracy_of(other, LOGITS, Head.LOGITS, Head.LOGITS) == Accuracy(max_error=0.1875, label_agreement=0.75)


def test_half_precision_is_compared_in_full() -> None:
    found = accuracy_of(ALPHA.astype(np.float16), ALPHA + np.float32(1e-4), Head.ALPHA, Head.ALPHA)
    assert found.max_error == pytest.approx(1e-4, rel=1e-3)
    assert found.label_agreement is None


def test_labels_have_no_error() -> None:
    labels = np.array([[[0, 1, 2, 2]]])
    other = np.array([[[0, 1, 2, 1]]])
    assert accuracy_of(other, labels, Head.LABELS, Head.LABELS) == Accuracy(max_error=None, label_agreement=0.75)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_no_error_but_nan(value: float) -> None:
    other = ALPHA.copy()
    other[0, 0, 0, 1] = value
    found = accuracy_of(other, ALPHA, Head.ALPHA, Head.ALPHA)
    assert found.max_error is not None
    assert math.isnan(found.max_error)
    assert found.as_dict()["max_error"] == "nan"


def test_outputs_that_can_not_be_compared_say_why() -> None:
    assert "returns labels, the reference logits" in accuracy_of(LOGITS, LOGITS, Head.LABELS, Head.LOGITS).reason
    found = accuracy_of(LOGITS[:, :1], LOGITS, Head.LOGITS, Head.LOGITS)
    assert found.reason == "its output is [1, 1, 1, 4], the reference's [1, 2, 1, 4]"
    assert (found.max_error, found.label_agreement) == (None, None)
