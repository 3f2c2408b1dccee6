"""The product's build worker in a process in which the Python twin of the plugin is registered.

``python -m tests.engines.worker_with_plugin FadeUpsample,FadeAccumulate_k5_s2_t3``
"""

from __future__ import annotations

import sys

import tensorrt_rtx as trt

from fade_deploy.engines import build_worker
from tests.engines.python_plugin import register

if __name__ == "__main__":
    kept = register(trt, sys.argv[1].split(","))
    build_worker.main()
