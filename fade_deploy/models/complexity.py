"""Parameters and multiply-accumulates of a model, counted over its real modules by shape."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from fade_deploy.ops.torch_ops import TORCH_OPS

__all__ = ["Complexity", "count", "count_call"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Complexity:
    """Learned parameters, and multiply-accumulates (MACs) of one call."""

    parameters: int
    macs: int  # without the blend
    blend_macs: int  # elementwise products of two features that are not summed: FADE's gate, IndexNet's index map
    pooled_macs: int  # the part of `macs` that is convolutions of pooled features: it does not grow with the image
    height: int  # of the (first) input
    width: int


def count(model: nn.Module, *, height: int, width: int, channels: int = 3) -> Complexity:
    """Parameters of a model, and MACs of one image of the given size; see :func:`count_call`."""
    return count_call(model, (1, channels, height, width))


def count_call(model: nn.Module, *shapes: Sequence[int]) -> Complexity:
    """Parameters of a model in evaluation, and MACs of one call with inputs of the given shapes.

    Counted are convolutions, linear layers, matrix and attention products, inner products written as an elementwise
    product and a sum, and reassemblies (K*K per output value). Norms, activations, softmax, sums and resizing are not.
    The model runs on PyTorch's meta device: shapes only; nothing is computed and no weight is copied.

    Args:
        model: Any module of float tensors; it stays as it is.
        shapes: One for each positional input, the last two being height and width.
    """
    shapes_only = _without_weights(model).eval()
    dtype = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    inputs = [torch.empty(tuple(shape), device="meta", dtype=dtype) for shape in shapes]
    counter = FlopCounterMode(display=False, custom_mapping=_REASSEMBLY_FLOPS)
    products = _Products()
    with torch.no_grad(), counter, products:
        shapes_only(*inputs)
    height, width = shapes[0][-2:]
    return Complexity(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        # That counter takes a multiply-accumulate for two operations.
        macs=counter.get_total_flops() // 2 + products.summed,
        blend_macs=products.blended(),
        pooled_macs=products.pooled,
        height=height,
        width=width,
    )


def _without_weights(model: nn.Module) -> nn.Module:
    """A copy of the modules whose parameters and buffers are on the meta device; the weights are never copied."""
    tensors = [*model.parameters(), *model.buffers()]
    meta: dict[int, Any] = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    for parameter in model.parameters():
        meta[id(parameter)] = nn.Parameter(meta[id(parameter)], requires_grad=False)
    return copy.deepcopy(model, meta)  # what deepcopy finds in its memo it takes for copied


class _Products(TorchDispatchMode):
    """The multiply-accumulates that PyTorch's counter does not see, told by what becomes of each product.

    That counter knows convolutions and matrix products only, and costs must not depend on how a module writes an
    inner product. So a product of two tensors that a sum consumes (SAPA's scores, A2U's affinity) is a contraction,
    one MAC for each of its values; a product that nothing sums is a blend. No module declares its own cost, which
    could differ from what it does.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.summed = 0
        self.pooled = 0
        # Kept to the end: as long as a tensor lives, its id is its own. On the meta device it holds no memory.
        self._products: dict[int, Tensor] = {}
        self._pooled_features: dict[int, Tensor] = {}
        self._gated = 0

    def blended(self) -> int:
        return self._gated + sum(product.numel() for product in self._products.values())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        operator = func.overloadpacket
        if operator is _ATEN.mul and all(isinstance(factor, Tensor) and factor.numel() > 1 for factor in args[:2]):
            self._products[id(out)] = out
        elif operator is _ATEN.sum and id(args[0]) in self._products:
            self.summed += self._products.pop(id(args[0])).numel()
        elif operator is TORCH_OPS["FadeUpsample"] or operator is TORCH_OPS["FadeUpsampleAdd"]:
            self._gated += 2 * out.numel()  # g*encoder + (1-g)*reassembled
        elif operator is TORCH_OPS["FadeHead"]:
            self._gated += _head_gated(*args)
        elif operator is _ATEN.mean or operator is _ATEN._adaptive_avg_pool2d:
            self._pooled_features[id(out)] = out
        elif operator is _ATEN.convolution and id(args[0]) in self._pooled_features:
            self.pooled += out.numel() * prod(args[1].shape[1:])
        return out


_ATEN = torch.ops.aten


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


def _upsample_add_flops(
    decoder: Any, encoder_logits: Any, decoder_logits: Any, encoder: Any, gate: Any, skip: Any,
    kernel_size: int, *_: Any, out_shape: Any, **__: Any,
) -> int:  # fmt: skip
    return 2 * kernel_size**2 * _numel(out_shape)


def _head_flops(
    first: Any, second: Any, third: Any, encoder_logits: Any, decoder_logits: Any, gate: Any, encoder: Any,
    encoder_weight: Any, encoder_bias: Any, class_weight: Any, class_bias: Any,
    kernel_size: int, *_: Any, **__: Any,
) -> int:  # fmt: skip
    hidden, gated_channels = (int(size) for size in encoder_weight)
    reassembled = 3 * kernel_size**2 * hidden
    products = hidden * gated_channels + int(class_weight[0]) * hidden
    return 2 * (reassembled + products) * _pixels(encoder)


def _head_gated(*inputs: Any) -> int:
    """Products of three gates with the encoder feature, and of their complements with the reassembled features."""
    encoder, encoder_weight = inputs[6:8]
    return 3 * (int(encoder.shape[1]) + int(encoder_weight.shape[0])) * _pixels(encoder.shape)


def _pixels(shape: Any) -> int:
    return _numel((shape[0], *shape[2:]))


def _numel(shape: Any) -> int:
    return int(torch.Size(shape).numel())


_REASSEMBLY_FLOPS: dict[Any, Any] = {
    TORCH_OPS["FadeReassemble"]: _reassemble_flops,
    TORCH_OPS["FadeUpsample"]: _upsample_flops,
    TORCH_OPS["FadeAccumulate"]: _accumulate_flops,
    TORCH_OPS["FadeUpsampleAdd"]: _upsample_add_flops,
    TORCH_OPS["FadeHead"]: _head_flops,
}
