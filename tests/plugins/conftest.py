"""The library under test, and what happens where it isn't there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fade_deploy.runtimes.native_libraries import AUTOMATIC, NativeLibrary, library_for


@pytest.fixture(scope="session")
def native() -> Path:
    """libfade_onnxruntime.so: the installed one, or FADE_TEST_LIBRARY (one built with sanitizers, for instance)."""
    path = library_for(os.environ.get("FADE_TEST_LIBRARY", AUTOMATIC), NativeLibrary.ONNXRUNTIME_CPU)
    if path is None:
        reason = f"{NativeLibrary.ONNXRUNTIME_CPU} is not built: make native (needs a C++ compiler)"
        if os.environ.get("FADE_REQUIRE_NATIVE") == "1":
            pytest.fail(f"FADE_REQUIRE_NATIVE=1, and {reason}")
        pytest.skip(reason)
    return path
