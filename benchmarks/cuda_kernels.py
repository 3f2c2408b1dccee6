"""The CUDA kernels without a runtime: their arguments as C lays them out, filled from tensors of PyTorch."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from fade_deploy import contract

__all__ = ["DTYPES", "CudaKernels", "UpsampleArguments", "filled"]

DTYPES = {torch.float32: 0, torch.float16: 1, torch.bfloat16: 2}  # fade::DataType, and fade::DataType::kBfloat16
_ONE, _GIVEN, _ONE_MINUS_SIGMOID = 0, 1, 2  # fade::DecoderWeight


class UpsampleArguments(ctypes.Structure):
    """``fade::UpsampleArguments`` of plugins/reassemble/fade_cpu.h, member for member."""

    _fields_ = (
        ("type", ctypes.c_int32),
        ("batch", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("height", ctypes.c_int64),
        ("width", ctypes.c_int64),
        ("kernelSize", ctypes.c_int32),
        ("scale", ctypes.c_int32),
        ("groups", ctypes.c_int32),
        ("terms", ctypes.c_int32),
        ("decoder", ctypes.c_void_p),
        ("kernels", ctypes.c_void_p),
        ("decoderLogits", ctypes.c_void_p),
        ("softmax", ctypes.c_bool),
        ("weightKind", ctypes.c_int32),
        ("weight", ctypes.c_void_p),
        ("encoder", ctypes.c_void_p),
        ("base", ctypes.c_void_p),
        ("baseStrides", ctypes.c_int64 * 4),
        ("output", ctypes.c_void_p),
    )


def filled(
    operator: contract.Operator, inputs: Mapping[str, Tensor], output: Tensor, attributes: Mapping[str, int]
) -> UpsampleArguments:
    """The arguments of one call; they hold addresses, so the tensors must outlive them.

    Args:
        operator: Any but FadeHead, which has no CUDA kernel.
        inputs: By the contract's names, dense.
        output: [N, C, sH, sW], dense.
        attributes: By the contract's names.
    """
    decoder, kernels, *_ = inputs.values()
    batch, channels = output.shape[:2]
    arguments = UpsampleArguments(
        type=DTYPES[output.dtype],
        batch=batch,
        channels=channels,
        height=decoder.shape[2],
        width=decoder.shape[3],
        kernelSize=attributes["kernel_size"],
        scale=attributes["scale"],
        groups=attributes.get("groups", 1),
        terms=attributes.get("terms", 1),
        decoder=decoder.data_ptr(),
        kernels=kernels.data_ptr(),
        softmax=operator is not contract.REASSEMBLE,
        weightKind=_ONE,
        output=output.data_ptr(),
    )
    if "gate_logits" in inputs:
        arguments.weightKind, arguments.weight = _ONE_MINUS_SIGMOID, inputs["gate_logits"].data_ptr()
        arguments.encoder = inputs["encoder"].data_ptr()
    if "decoder_weight" in inputs:
        arguments.weightKind, arguments.weight = _GIVEN, inputs["decoder_weight"].data_ptr()
    if "decoder_logits" in inputs:
        arguments.decoderLogits = inputs["decoder_logits"].data_ptr()
    base = inputs.get("base", inputs.get("skip"))
    if base is not None:
        arguments.base = base.data_ptr()
        arguments.baseStrides[:] = base.expand(output.shape).stride()
    return arguments


class CudaKernels:
    """``libfade_cuda_kernels.so``, which benchmarks/gpu_build.py builds."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        self._launch = library.fade_cuda_launch
        self._launch.argtypes = (ctypes.POINTER(UpsampleArguments), ctypes.c_uint64, ctypes.c_void_p)
        self._launch.restype = ctypes.c_int32
        self._error = library.fade_cuda_error
        self._error.argtypes = (ctypes.c_int32,)
        self._error.restype = ctypes.c_char_p

    def launch(self, arguments: UpsampleArguments, stream: int = 0) -> None:
        """Enqueue on a stream, ``torch.cuda.current_stream().cuda_stream`` for instance.

        Raises:
            RuntimeError: CUDA refuses.
        """
        status = self._launch(arguments, ctypes.sizeof(arguments), stream)
        if status:
            raise RuntimeError(f"the launch failed with CUDA error {status}: {self._error(status).decode()}")
