from __future__ import annotations

import numpy as np
import pytest

from benchmarks.measure import check_agreement
from benchmarks.runners import LeftOut


def test_a_wrong_result_is_never_timed():
    right = np.linspace(-1, 1, 7, dtype=np.float32)
    check_agreement(right + np.float32(1e-5), right)
    wrong = right.copy()
    wrong[3] += 0.01
    with pytest.raises(LeftOut, match="off by up to"):
        check_agreement(wrong, right)
    wrong[3] = np.nan  # what an output holds that nobody wrote
    with pytest.raises(LeftOut, match="wrong"):
        check_agreement(wrong, right)
