"""Memory that is taken on the GPU, asked of NVIDIA's driver."""

from __future__ import annotations

import ctypes

__all__ = ["gpu_mib_used"]

_DRIVER = "libcuda.so.1"
_MIB = 1 << 20


def gpu_mib_used() -> float | None:
    """MiB in use on the first GPU, by every process together; None where there is no driver or no GPU.

    The process's primary context is made if there is none yet, and kept: giving it back would end what others run in
    it.
    """
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    device, context, popped = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) or driver.cuCtxPushCurrent_v2(context):
        return None
    failed = driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total))
    driver.cuCtxPopCurrent_v2(ctypes.byref(popped))
    return None if failed else (total.value - free.value) / _MIB
