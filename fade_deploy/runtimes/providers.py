"""Execution providers of onnxruntime: there, loaded, and given every node that they were promised, or one clear line.

onnxruntime itself falls back to the CPU in silence: where a provider's libraries can't be loaded, where a node has no
kernel on the GPU, and where a run fails there.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from fade_deploy.errors import InputError, MissingDependency
from fade_deploy.provider import Provider

__all__ = [
    "PlacedNode",
    "check_loaded",
    "check_placement",
    "chosen",
    "execution_providers",
    "failure_on_gpu",
    "not_loaded",
    "placed_nodes",
    "prepared",
]

logger = logging.getLogger(__name__)

_NAMES = {
    Provider.CPU: "CPUExecutionProvider",
    Provider.CUDA: "CUDAExecutionProvider",
    Provider.TENSORRT: "TensorrtExecutionProvider",
}
_RECORD_PLACEMENT = "session.record_ep_graph_assignment_info"  # since onnxruntime 1.24
_GPU_LIBRARIES = "pip install 'onnxruntime-gpu[cuda,cudnn]' nvidia-cublas (of CUDA 12: nvidia-cublas-cu12)"
_CUDA_FAILURE = r"CU(DA|DNN|BLAS|FFT) failure \d+: .*?(?= ;|$)"  # amid where in onnxruntime's source that was
_QUIET, _WARNINGS = 4, 2  # severities of onnxruntime's log; it starts with warnings

# What may run on the CPU beside a GPU: arithmetic on sizes. onnxruntime moves a node there of its own accord only where
# each of its inputs is there already or is a small constant (GetCpuPreferredNodes), and such a chain starts at Shape or
# Size, or at a node without a kernel for the GPU. All of these have one for floats, so that node is never among them,
# and naming it is enough: what follows it need not be told apart.
_ON_SIZES = frozenset(
    {
        "Add",
        "And",
        "Cast",
        "Ceil",
        "Concat",
        "Div",
        "Equal",
        "Floor",
        "Gather",
        "Greater",
        "GreaterOrEqual",
        "Identity",
        "Less",
        "LessOrEqual",
        "Max",
        "Min",
        "Mod",
        "Mul",
        "Neg",
        "Not",
        "Or",
        "Pad",
        "Range",
        "ReduceMax",
        "ReduceMin",
        "ReduceProd",
        "ReduceSum",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Split",
        "Squeeze",
        "Sub",
        "Unsqueeze",
        "Where",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedNode:
    """A node of a session's graph and the provider that runs it, by onnxruntime's name of it."""

    name: str
    operator: str  # with its domain, where that is not ONNX's own
    provider: str


def chosen(provider: Provider | str) -> Provider:
    """The provider of that name.

    Raises:
        InputError: There is none.
    """
    try:
        return Provider(provider)
    except ValueError:
        raise InputError(f"provider '{provider}' is unknown, expected one of {', '.join(Provider)}") from None


def execution_providers(provider: Provider) -> list[Any]:
    """What onnxruntime is to use for ``provider``, in order; the CPU always ends it, for arithmetic on sizes."""
    # By default float32 convolutions and products would be TensorFloat-32 with 11 bits, which no tolerance here allows.
    cuda = (_NAMES[Provider.CUDA], {"use_tf32": "0"})
    match provider:
        case Provider.CPU:
            return [_NAMES[Provider.CPU]]
        case Provider.CUDA:
            return [cuda, _NAMES[Provider.CPU]]
        case Provider.TENSORRT:
            return [_NAMES[Provider.TENSORRT], cuda, _NAMES[Provider.CPU]]


@contextlib.contextmanager
def prepared(ort: ModuleType, provider: Provider, options: Any) -> Iterator[None]:
    """Make ready for a session on ``provider``, which is created inside.

    Args:
        ort: The module onnxruntime.
        provider: Wanted.
        options: Of the session; told to record which provider each node gets.

    Raises:
        MissingDependency: The installed onnxruntime lacks the provider, or is too old to tell where a node runs.
    """
    if provider is Provider.CPU:
        yield
        return
    available = ort.get_available_providers()
    if _NAMES[provider] not in available:
        raise MissingDependency(
            f"the installed onnxruntime {ort.__version__} has the providers {', '.join(available)}, expected "
            f"{_NAMES[provider]}: pip uninstall -y onnxruntime, then pip install 'fade-deploy[ort-gpu]'"
        )
    if not hasattr(ort.InferenceSession, "get_provider_graph_assignment_info"):
        raise MissingDependency(
            f"onnxruntime-gpu {ort.__version__} can't tell which nodes run on the GPU, expected 1.24 or newer: "
            "pip install -U onnxruntime-gpu"
        )
    options.add_session_config_entry(_RECORD_PLACEMENT, "1")
    if provider is Provider.TENSORRT:  # as use_tf32 above; its engines have no such option, and this is read once
        os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):  # it prints; what is missing for good is told below
        ort.preload_dlls()
    logger.debug("preload_dlls: %s", " ".join(said.getvalue().split()))
    ort.set_default_logger_severity(_QUIET)  # check_loaded says it once and shorter
    try:
        yield
    finally:
        ort.set_default_logger_severity(_WARNINGS)


def check_loaded(ort: ModuleType, provider: Provider, loaded: Iterable[str]) -> None:
    """Refuse a session that was left without its provider.

    Args:
        ort: The module onnxruntime.
        provider: Wanted.
        loaded: The session's providers.

    Raises:
        MissingDependency: It is not among them; the message says what the provider's library lacks.
    """
    if _NAMES[provider] in loaded:
        return
    raise MissingDependency(not_loaded(ort, provider))


def not_loaded(ort: ModuleType, provider: Provider, reason: str = "") -> str:
    """Why ``provider`` can't be used, on one line: what its library lacks, else ``reason``, else where to look."""
    folder = Path(str(ort.__file__)).parent / "capi"
    name = f"libonnxruntime_providers_{provider}.so"
    try:  # as onnxruntime does, which logs the reason and tells the caller nothing
        ctypes.CDLL(str(folder / "libonnxruntime_providers_shared.so"), mode=ctypes.RTLD_GLOBAL)
        ctypes.CDLL(str(folder / name))
    except OSError as error:
        reason = " ".join(str(error).split())
        if "libcuda.so" in reason:
            remedy = "install NVIDIA's driver and see that nvidia-smi lists a GPU"
        elif "libnvinfer" in reason or "libnvonnxparser" in reason:
            remedy = "pip install tensorrt, with its libraries' folder on LD_LIBRARY_PATH"
        else:
            remedy = _GPU_LIBRARIES
    else:
        told = re.search(_CUDA_FAILURE, reason)
        reason = told[0] if told else reason or f"{name} loads, its GPU does not"
        remedy = "see that nvidia-smi lists a GPU and that its driver is as new as onnxruntime-gpu's CUDA"
    return f"onnxruntime {ort.__version__} can't use its {_NAMES[provider]} ({reason}), expected a GPU: {remedy}"


def failure_on_gpu(message: str, *, name: str) -> MissingDependency | InputError | None:
    """What to say of a run that failed because of the GPU; None where it did not.

    Args:
        message: onnxruntime's, on one line.
        name: How the error calls the file.
    """
    if found := re.search(r"cuDNN is unavailable.*?(libcudnn.*)", message):  # told by the first convolution only
        return MissingDependency(
            f"{name} has convolutions, and cuDNN is not there for them ({found[1].strip()}), expected it beside "
            "onnxruntime-gpu: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        )
    if found := re.search(_CUDA_FAILURE, message):
        return InputError(
            f"{name} failed on the GPU ({found[0]}), expected a GPU that works and has memory left: see nvidia-smi, or "
            "run it with --provider cpu"
        )
    return None


def placed_nodes(session: Any) -> list[PlacedNode]:
    """Every node of a session that was created inside :func:`prepared`, after basic optimisation of its graph."""
    return [
        PlacedNode(
            name=node.name,
            operator=f"{node.domain}.{node.op_type}" if node.domain else node.op_type,
            provider=part.ep_name,
        )
        for part in session.get_provider_graph_assignment_info()
        for node in part.get_nodes()
    ]


def check_placement(nodes: Iterable[PlacedNode], provider: Provider, *, name: str) -> None:
    """Refuse a graph of which anything but arithmetic on sizes runs on the CPU, or nothing on ``provider``.

    Nodes that TensorRT leaves to CUDA are on the GPU as promised.

    Args:
        nodes: From :func:`placed_nodes`.
        provider: Wanted; everything may run on the CPU where it is that.
        name: How an error calls the file.

    Raises:
        InputError: The message names the first such node.
    """
    if provider is Provider.CPU:
        return
    nodes = list(nodes)
    stray = [node for node in nodes if node.provider == _NAMES[Provider.CPU] and node.operator not in _ON_SIZES]
    if stray:
        others = f" and {len(stray) - 1} more" if len(stray) > 1 else ""
        raise InputError(
            f"{name} has the node '{stray[0].name}' ({stray[0].operator}){others} on the CPU, expected on {provider}: "
            f"{_remedy(stray[0].operator)}"
        )
    if nodes and not any(node.provider == _NAMES[provider] for node in nodes):
        raise InputError(
            f"{name} has none of its {len(nodes)} nodes on {provider}, expected most: run it with --provider cpu"
        )


def _remedy(operator: str) -> str:
    if operator.startswith("fade."):
        return "leave --library out, or run it without a library (--library none)"
    return "this onnxruntime has no kernel for it on the GPU; run it with --provider cpu"
