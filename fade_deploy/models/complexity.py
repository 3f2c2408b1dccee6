"""Parameters and multiply-accumulates of a model, counted over its real modules by shape."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fade_deploy.ops.torch_ops import TORCH_OPS

__all__ = ["Complexity", "count"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    """Learned parameters, and MACs of one input of the given height and width."""

    parameters: int
    macs: int
    height: int
    width: int


def count(model: nn.Module, *, height: int, width: int, channels: int = 3) -> Complexity:
    """Count over convolutions, linear layers, attention products and reassemblies (K*K per output value).

    Norms, activations, softmax, resizing and the gated blend are not counted. The model is run on PyTorch's meta
    device: shapes only, nothing is computed.
    """
    shapes_only = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(1, channels, height, width, device="meta")
    counter = FlopCounterMode(display=False, custom_mapping=_REASSEMBLY_FLOPS)
    with torch.no_grad(), counter:
        shapes_only(image)
    return Complexity(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        macs=counter.get_total_flops() // 2,  # the counter takes a multiply-accumulate for two operations
        height=height,
        width=width,
    )


def _reassemble_flops(features: Any, kernels: Any, kernel_size: int, *_: Any, out_shape: Any, **__: Any) -> int:
    return 2 * kernel_size**2 * _numel(out_shape)


def _upsample_flops(
    decoder: Any, logits: Any, encoder: Any, gate: Any, kernel_size: int, *_: Any, out_shape: Any, **__: Any
) -> int:
    return 2 * kernel_size**2 * _numel(out_shape)


def _accumulate_flops(
    decoder: Any,
    logits: Any,
    base: Any,
    weight: Any,
    kernel_size: int,
    scale: int,
    terms: int,
    *,
    out_shape: Any,
    **_: Any,
) -> int:
    return 2 * kernel_size**2 * terms * _numel(out_shape)


def _numel(shape: Any) -> int:
    return int(torch.Size(shape).numel())


_REASSEMBLY_FLOPS: dict[Any, Any] = {
    TORCH_OPS["FadeReassemble"]: _reassemble_flops,
    TORCH_OPS["FadeUpsample"]: _upsample_flops,
    TORCH_OPS["FadeAccumulate"]: _accumulate_flops,
}
