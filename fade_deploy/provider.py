"""Where onnxruntime computes: the choice of ``--provider``."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Provider"]


class Provider(StrEnum):
    """An execution provider of onnxruntime; all but ``cpu`` need onnxruntime-gpu and an NVIDIA GPU."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
