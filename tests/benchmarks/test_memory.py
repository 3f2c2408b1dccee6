from __future__ import annotations

import numpy as np
import pytest

from benchmarks.memory import growth_of
from benchmarks.runners import LeftOut

MIB = 2**20


def _growth(run):
    try:
        return growth_of(run)
    except LeftOut as reason:
        pytest.skip(str(reason))


def test_growth_is_the_peak_and_not_what_remains():
    kept = []

    def run():
        np.ones(64 * MIB, dtype=np.uint8)  # gone when the run ends
        kept.append(np.ones(16 * MIB, dtype=np.uint8))

    assert 63 < _growth(run) < 90
    assert kept


def test_memory_freed_before_the_run_does_not_hide_what_it_takes():
    freed = [np.ones(64 * 1024, dtype=np.uint8) for _ in range(1024)]  # small pieces: the allocator keeps them
    del freed
    assert _growth(lambda: [np.ones(64 * 1024, dtype=np.uint8) for _ in range(1024)]) > 60


def test_a_run_that_takes_nothing_grows_by_little():
    assert _growth(lambda: None) < 2
