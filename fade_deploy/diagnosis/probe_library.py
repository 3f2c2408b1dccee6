"""Probe of a native library: loaded, asked what it is. In a process of its own; see ``probe``."""

from __future__ import annotations

import ctypes
import os

from fade_deploy.diagnosis.probe import Tell

__all__ = ["library"]


class _ApiBase(ctypes.Structure):
    """OrtApiBase: what onnxruntime hands to a custom-op library."""

    _fields_ = (
        ("get_api", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.c_uint32)),
        ("get_version_string", ctypes.CFUNCTYPE(ctypes.c_char_p)),
    )


def library(tell: Tell, path: str) -> None:
    """Load it, and ask a library of ours for its operators, their version, and the interface it was built for.

    Last, onnxruntime is played for its RegisterCustomOps, which asks for an API level first; that is all it gets.
    """
    loaded = ctypes.CDLL(path)
    tell(works=True)
    for runtime in ("onnxruntime", "tensorrt"):
        if hasattr(loaded, f"fade_{runtime}_version"):
            text = loaded[f"fade_{runtime}_operators"]
            text.restype = ctypes.c_char_p
            tell(operator_version=int(loaded[f"fade_{runtime}_version"]()), operators=text().decode())
    if hasattr(loaded, "fade_tensorrt_headers"):
        tell(headers=int(loaded.fade_tensorrt_headers()))
    if not hasattr(loaded, "RegisterCustomOps"):
        return

    def get_api(level: int) -> int:
        tell(api_level=level)
        os._exit(0)  # there is no API to give

    base = _ApiBase(_ApiBase._fields_[0][1](get_api), _ApiBase._fields_[1][1](lambda: b"1.0.0"))
    loaded.RegisterCustomOps(None, ctypes.byref(base))
