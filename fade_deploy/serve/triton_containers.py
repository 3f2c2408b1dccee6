"""Which of NVIDIA's Triton images has which ONNX Runtime and TensorRT, as far as that is published in a list.

ONNX Runtime: docs/introduction/compatibility.md of triton-inference-server/server (August 2026). That page lists
TensorRT only for images without its backend; NVIDIA's support matrix has it, and an image can be asked. TensorRT 11:
the server's and the ONNX Runtime backend's commits that prepare release 26.06.
"""

from __future__ import annotations

__all__ = [
    "FIRST_WITH_TENSORRT_11",
    "ONNXRUNTIME",
    "SUPPORT_MATRIX",
    "image",
    "oldest_with_onnxruntime",
]

SUPPORT_MATRIX = "https://docs.nvidia.com/deeplearning/frameworks/support-matrix/index.html"
FIRST_WITH_TENSORRT_11 = "26.06"
# Release -> ONNX Runtime, the newest first; older ones have none that loads our files (contract.LOWEST_ONNXRUNTIME).
ONNXRUNTIME = {
    "26.07": "1.27.0",
    "26.06": "1.24.4",
    "26.05": "1.24.4",
    "26.04": "1.24.4",
    "26.03": "1.24.2",
    "26.02": "1.24.1",
    "26.01": "1.23.2",
    "25.12": "1.23.2",
    "25.11": "1.23.2",
    "25.10": "1.23.1",
    "25.09": "1.23.0",
    "25.08": "1.23.0",
    "25.07": "1.22.0",
    "25.06": "1.22.0",
    "25.05": "1.22.0",
    "25.04": "1.21.0",
    "25.03": "1.21.0",
    "25.02": "1.20.1",
    "25.01": "1.20.1",
    "24.12": "1.20.1",
}


def image(release: str) -> str:
    """The image of a release with all backends."""
    return f"nvcr.io/nvidia/tritonserver:{release}-py3"


def oldest_with_onnxruntime(lowest: str) -> str:
    """The oldest release in the list whose ONNX Runtime is at least ``lowest``, such as ``1.22``."""
    wanted = _numbers(lowest)
    return min(release for release, version in ONNXRUNTIME.items() if _numbers(version)[: len(wanted)] >= wanted)


def _numbers(version: str) -> list[int]:
    return [int(part) for part in version.split(".")]
