"""Probe of NVIDIA's driver: asked itself, since nvidia-smi is not in every container. In a process of its own."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path

from fade_deploy.diagnosis.probe import Tell

__all__ = ["driver"]

_LIBRARY = "libcuda.so.1"
_KERNEL_MODULE = Path("/proc/driver/nvidia/version")
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CUdevice_attribute


def driver(tell: Tell) -> None:
    """Version, highest CUDA version, and each GPU with its compute capability and memory."""
    if _KERNEL_MODULE.is_file() and (found := re.search(r"\b\d{3}\.\d+(\.\d+)?\b", _KERNEL_MODULE.read_text())):
        tell(kernel_module=found[0])
    try:
        cuda = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        tell(library=False, reason=" ".join(str(error).split()))
        return
    version, count = ctypes.c_int(), ctypes.c_int()
    tell(library=True)
    _check(cuda, cuda.cuDriverGetVersion(ctypes.byref(version)))
    tell(cuda=f"{version.value // 1000}.{version.value % 1000 // 10}")
    _check(cuda, cuda.cuInit(0))
    _check(cuda, cuda.cuDeviceGetCount(ctypes.byref(count)))
    tell(gpus=[_gpu(cuda, index) for index in range(count.value)])


def _gpu(cuda: ctypes.CDLL, index: int) -> str:
    device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
    name, memory = ctypes.create_string_buffer(128), ctypes.c_size_t()
    _check(cuda, cuda.cuDeviceGet(ctypes.byref(device), index))
    _check(cuda, cuda.cuDeviceGetName(name, len(name), device))
    _check(cuda, cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device))
    for number, value in ((_CAPABILITY_MAJOR, major), (_CAPABILITY_MINOR, minor)):
        _check(cuda, cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device))
    return f"{name.value.decode()}, SM{major.value}{minor.value}, {memory.value / 2**30:.0f} GiB"


def _check(cuda: ctypes.CDLL, status: int) -> None:
    if status == 0:
        return
    text = ctypes.c_char_p()
    cuda.cuGetErrorString(status, ctypes.byref(text))
    raise RuntimeError(f"CUDA error {status}, {(text.value or b'unknown').decode()}")
