"""What a measurement belongs to: the machine, how busy it is, and the versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fade_deploy.runtimes.engine_gpu import current_gpu

__all__ = ["Machine", "cores", "is_busy", "load_average", "this_machine", "versions"]

# From the widest; what the native kernels choose from.
_VECTOR_LEVELS = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON"), ("sse2", "SSE2"))
_PACKAGES = (
    "fade-deploy",
    "numpy",
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "tensorrt-rtx",
    "polygraphy",
)
_BUSY = 0.25  # of the cores: others take so much that times are no longer those of an idle machine


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where times were taken; times of two machines are not comparable."""

    cpu: str
    cores: int  # that this process may use
    vectors: str  # widest vector instructions
    memory_gib: float
    system: str
    gpu: str  # with its compute capability; empty where there is none

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """What another machine, as :meth:`as_dict` gives it, has otherwise: ``cpu: X, here Y``."""
        mine = self.as_dict()
        return [f"{name}: {other.get(name)}, here {mine[name]}" for name in mine if mine[name] != other.get(name)]


def this_machine() -> Machine:
    """The machine that this process runs on."""
    gpu = current_gpu()
    return Machine(
        cpu=_cpu_field("model name") or platform.processor() or platform.machine(),
        cores=cores(),
        vectors=_vectors(),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        system=f"{platform.system()} {platform.machine()}",
        gpu="" if gpu is None else f"{gpu.name} ({gpu.compute_capability})",
    )


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def load_average() -> float:
    """Processes that wanted a core within the last minute, this one among them."""
    return round(os.getloadavg()[0], 2)


def is_busy(load: float, cores: int) -> bool:
    """Whether a load average, taken before anything is timed, is too much for fair times."""
    return load > _BUSY * cores


def versions(packages: Sequence[str] = _PACKAGES) -> dict[str, str]:
    """Of Python and of packages, those that are installed; by default those that times depend on."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _cpu_field(name: str) -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:  # not Linux
        return ""
    found = re.search(rf"^{name}\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else ""


def _vectors() -> str:
    flags = set((_cpu_field("flags") or _cpu_field("Features")).split())
    return next((level for flag, level in _VECTOR_LEVELS if flag in flags), "unknown")
