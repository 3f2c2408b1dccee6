"""What a prediction tells of a picture."""

from __future__ import annotations

import numpy as np
import pytest

from fade_deploy.api.predict import _shares


def test_shares_add_up_to_one_when_two_classes_have_one_name() -> None:
    labels = np.array([[0, 1, 1, 2]], np.uint8)
    shares = _shares(labels, ["grass", "grass", "sky"])
    assert shares == {"grass": 0.75, "sky": 0.25}


def test_shares_come_largest_first_and_leave_out_what_is_not_there() -> None:
    labels = np.array([[2, 2, 0]], np.uint8)
    assert list(_shares(labels, ["a", "b", "c"]).items()) == [("c", pytest.approx(2 / 3)), ("a", pytest.approx(1 / 3))]
