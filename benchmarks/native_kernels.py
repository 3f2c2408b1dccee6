"""The kernels' own benchmark, a C++ program: their times without a runtime around them, and the machine's peaks."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from benchmarks.machine import ROOT

__all__ = ["kernel_program", "native_kernels"]

_PROGRAM = "fade_kernel_bench"


def kernel_program() -> Path | None:
    """The program as the CMake preset ``test`` builds it; None where it was not built."""
    return next((path for path in ROOT.glob(f"build/test/**/{_PROGRAM}") if path.is_file()), None)


def native_kernels() -> dict[str, Any]:
    """The machine's ``peaks`` and the ``kernels``' times, as ``fade_kernel_bench`` finds them; or why not."""
    program = kernel_program()
    if program is None:
        return {"left_out": f"{_PROGRAM} is not built: make native-test"}
    finished = subprocess.run([str(program), "--json"], capture_output=True, text=True)
    if finished.returncode:
        return {"left_out": f"{_PROGRAM} failed: {finished.stderr.strip()}"}
    records = json.loads(finished.stdout)["records"]
    return {
        "peaks": [record for record in records if record["op"] == "machine"],
        "kernels": [
            {
                "name": f"{record['op']} {record['shape']}",
                "threads": record["threads"],
                "ms": record["ms"],
                "roofline": record["roofline_fraction"],
            }
            for record in records
            if record["op"] != "machine"
        ],
    }
