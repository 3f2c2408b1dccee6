"""What a measurement belongs to: the machine, its load, the versions, the commit, the date."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["ROOT", "load_average", "stamp"]

ROOT = Path(__file__).parents[1]

# From the widest; what the native kernels choose from.
_VECTOR_LEVELS = (("avx512f", "AVX-512"), ("avx2", "AVX2"), ("asimd", "NEON"), ("sse2", "SSE2"))
_PACKAGES = ("fade-deploy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "numpy")


def stamp() -> dict[str, Any]:
    """Machine, versions, commit and date, for a report."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": {
            "cpu": _cpu_field("model name") or platform.processor() or platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "vectors": _vectors(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {"python": platform.python_version()} | _versions(),
        "commit": _commit(),
    }


def load_average() -> float:
    """Of the last minute: processes that wanted a core, ours among them."""
    return round(os.getloadavg()[0], 2)


def _cpu_field(name: str) -> str:
    found = re.search(rf"^{name}\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    return found[1].strip() if found else ""


def _vectors() -> str:
    flags = set((_cpu_field("flags") or _cpu_field("Features")).split())
    return next((level for flag, level in _VECTOR_LEVELS if flag in flags), "unknown")


def _versions() -> dict[str, str]:
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _commit() -> str:
    """The checkout's commit, marked where files differ from it; empty outside a checkout."""
    try:
        command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
