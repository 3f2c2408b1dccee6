"""Whether this machine has TensorRT-RTX, which parses and builds without a GPU."""

from __future__ import annotations

import importlib.util

import pytest

needs_rtx = pytest.mark.skipif(
    importlib.util.find_spec("tensorrt_rtx") is None,
    reason="TensorRT-RTX is not installed: pip install tensorrt-rtx (Linux x86-64 and Windows)",
)
