"""Memory that a run takes is seen, at its peak, and what lay there before is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from fade_deploy.timing import gpu_memory, memory
from fade_deploy.timing.gpu_memory import gpu_mib_used
from fade_deploy.timing.memory import MemoryUnknown, growth_while, resident_mib

MIB = 1 << 20


def touched(mib: int) -> np.ndarray:
    return np.ones(mib * MIB, np.uint8)


def grown(run: Callable[[], object]) -> float:
    try:
        return growth_while(run)
    except MemoryUnknown as reason:
        pytest.skip(str(reason))


def test_a_run_grows_by_what_it_takes_at_its_peak() -> None:
    def run() -> None:
        for mib in (8, 64, 16):
            touched(mib)

    assert 60 < grown(run) < 76


def test_what_was_there_before_does_not_count() -> None:
    before = touched(48)
    assert grown(lambda: touched(4)) < 12
    assert resident_mib() > before.nbytes / MIB


def test_memory_freed_before_a_run_does_not_hide_what_it_takes() -> None:
    freed = [np.ones(64 * 1024, np.uint8) for _ in range(1024)]  # small pieces: the allocator keeps them
    del freed
    assert grown(lambda: [np.ones(64 * 1024, np.uint8) for _ in range(1024)]) > 60


def test_a_run_that_takes_nothing_grows_by_little() -> None:
    assert grown(lambda: None) < 2


def test_a_system_that_resets_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "no folder" / "clear_refs")
    with pytest.raises(MemoryUnknown, match="can't be reset here"):
        growth_while(lambda: None)


def test_a_reset_that_does_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\nVmHWM:\t  500000 kB\nVmRSS:\t  100000 kB\n")
    monkeypatch.setattr(memory, "_STATUS", status)
    monkeypatch.setattr(memory, "_CLEAR_REFS", tmp_path / "clear_refs")
    with pytest.raises(MemoryUnknown, match="ignores the reset"):
        growth_while(lambda: None)


def test_a_system_without_the_field_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text("Name:\tx\n")
    monkeypatch.setattr(memory, "_STATUS", status)
    with pytest.raises(MemoryUnknown, match="VmRSS"):
        resident_mib()


class Driver:
    """What the driver's functions do with their pointers; ``fails`` is the one that returns an error."""

    def __init__(self, fails: str = "") -> None:
        self.fails = fails
        self.pushed = 0

    def __getattr__(self, name: str) -> object:
        def call(*arguments: object) -> int:
            if name == self.fails:
                return 2
            if name == "cuMemGetInfo_v2":
                free, total = arguments
                free._obj.value, total._obj.value = 30 * MIB, 100 * MIB  # type: ignore[attr-defined]
            self.pushed += {"cuCtxPushCurrent_v2": 1, "cuCtxPopCurrent_v2": -1}.get(name, 0)
            return 0

        return call


def test_memory_of_the_gpu_is_total_less_free(monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver()
    monkeypatch.setattr(gpu_memory.ctypes, "CDLL", lambda name: driver)
    assert gpu_mib_used() == 70
    assert driver.pushed == 0


@pytest.mark.parametrize("fails", ["cuInit", "cuDeviceGet", "cuDevicePrimaryCtxRetain", "cuMemGetInfo_v2"])
def test_a_driver_that_refuses_is_no_gpu(monkeypatch: pytest.MonkeyPatch, fails: str) -> None:
    driver = Driver(fails)
    monkeypatch.setattr(gpu_memory.ctypes, "CDLL", lambda name: driver)
    assert gpu_mib_used() is None
    assert driver.pushed == 0


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_memory, "_DRIVER", "libcuda_that_is_not_there.so")
    assert gpu_mib_used() is None
