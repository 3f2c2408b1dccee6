"""The GPU of this machine, asked of NVIDIA's driver: engines are built for one, and refuse others."""

from __future__ import annotations

import ctypes
from dataclasses import asdict, dataclass

__all__ = ["Gpu", "current_gpu"]

_DRIVER = "libcuda.so.1"
_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR
_NAME_BYTES = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """Name and compute capability, such as ``8.6``."""

    name: str
    compute_capability: str

    def as_dict(self) -> dict[str, str]:
        """For a manifest."""
        return asdict(self)


def current_gpu() -> Gpu | None:
    """The first GPU that the driver shows to this process; None where there is no driver or no GPU."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return None
    device, number, name = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES)
    if driver.cuInit(0) or driver.cuDeviceGet(ctypes.byref(device), 0):
        return None
    if driver.cuDeviceGetName(name, _NAME_BYTES, device):
        return None
    capability = []
    for attribute in (_MAJOR, _MINOR):
        if driver.cuDeviceGetAttribute(ctypes.byref(number), attribute, device):
            return None
        capability.append(str(number.value))
    return Gpu(name=name.value.decode(errors="replace"), compute_capability=".".join(capability))
