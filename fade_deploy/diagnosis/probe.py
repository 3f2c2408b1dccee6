"""The process of one probe: ``python -m fade_deploy.diagnosis.probe NAME SECONDS ARGUMENTS``.

Facts leave as lines of JSON on what was standard output; whatever a package prints goes to standard error. A probe may
be ended by a crash at any time, so each fact is told as soon as it is known.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import Any, Protocol

from fade_deploy.errors import FadeDeployError

__all__ = ["Tell", "main"]

# Probe -> the module and function that it is; a module is imported only in its own process.
_PROBES = {
    "package": ("probe_packages", "package"),
    "torch": ("probe_packages", "torch"),
    "onnx": ("probe_packages", "onnx"),
    "triton_client": ("probe_packages", "triton_client"),
    "session": ("probe_onnxruntime", "session"),
    "operators": ("probe_onnxruntime", "operators"),
    "file": ("probe_onnxruntime", "file"),
    "library": ("probe_library", "library"),
    "tensorrt": ("probe_tensorrt", "tensorrt"),
    "driver": ("probe_driver", "driver"),
}


class Tell(Protocol):
    """Hands facts to the doctor."""

    def __call__(self, **facts: Any) -> None: ...


def main() -> None:
    """Run the probe that the command line names."""
    probe, limit, arguments = sys.argv[1:]
    signal.setitimer(signal.ITIMER_REAL, float(limit))  # the default action of its signal ends the process
    answer = os.dup(1)
    os.dup2(2, 1)

    def tell(**facts: Any) -> None:
        os.write(answer, json.dumps(facts).encode() + b"\n")

    module, function = _PROBES[probe]
    try:
        getattr(importlib.import_module(f"fade_deploy.diagnosis.{module}"), function)(tell, **json.loads(arguments))
    except FadeDeployError as error:
        tell(fault=str(error))
    except ModuleNotFoundError as error:
        tell(absent=error.name or str(error))
    except BaseException as error:  # a broken package may raise anything, SystemExit too
        tell(fault=f"{type(error).__name__}: {' '.join(str(error).split())}")
    sys.stderr.flush()
    os._exit(0)  # what a package leaves running, or does at its end, is no more of interest


if __name__ == "__main__":
    main()
