"""Torch custom ops of the namespace ``fade``: reassembly, the fused upsampler, the accumulate form and fused stages.

They follow ``fade_deploy.contract``: each stays one node under ``torch.export``, has a fake kernel, and never unfolds:
memory beyond the output is a small multiple of it, where ``unfold`` takes K*K times the output. The first three have a
gradient; ``upsample_add`` and ``head`` are what exact fusion exports, and PyTorch refuses to go back through them.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fade_deploy import contract

__all__ = ["TORCH_OPS", "accumulate", "head", "reassemble", "repeat_nearest", "upsample", "upsample_add"]


def repeat_nearest(low: Tensor, scale: int) -> Tensor:
    """Nearest upsampling by an integer: ``out[n,c,y,x] = low[n, c, y//s, x//s]``, [N, C, H, W] -> [N, C, sH, sW]."""
    return low if scale == 1 else F.interpolate(low, scale_factor=float(scale), mode="nearest")


# --- the ops ------------------------------------------------------------------------------------------------


@torch.library.custom_op("fade::reassemble", mutates_args=())
def reassemble(features: Tensor, kernels: Tensor, kernel_size: int, scale: int, groups: int) -> Tensor:
    return _sum_over_taps(features, kernels, kernel_size, scale, groups).to(features.dtype)


@torch.library.custom_op("fade::upsample", mutates_args=())
def upsample(
    decoder: Tensor, kernel_logits: Tensor, encoder: Tensor, gate_logits: Tensor, kernel_size: int, scale: int
) -> Tensor:
    kernels = _wide(kernel_logits).softmax(1)
    gate = repeat_nearest(_wide(gate_logits).sigmoid(), scale)
    reassembled = _sum_over_taps(decoder, kernels, kernel_size, scale, 1)
    return reassembled.mul_(1 - gate).addcmul_(gate, _wide(encoder)).to(decoder.dtype)


@torch.library.custom_op("fade::accumulate", mutates_args=())
def accumulate(
    decoder: Tensor,
    kernel_logits: Tensor,
    base: Tensor,
    decoder_weight: Tensor,
    kernel_size: int,
    scale: int,
    terms: int,
) -> Tensor:
    # A term-weighted kernel is a kernel: the weights go into the taps, which are fewer than the channels.
    kernels = _term_kernels(kernel_logits, terms) * repeat_nearest(_wide(decoder_weight), scale).unsqueeze(2)
    summed = _sum_over_taps(decoder, kernels.flatten(1, 2), kernel_size, scale, terms)
    out: Tensor = summed.unflatten(1, (terms, -1)).sum(1)
    return out.add_(_wide(base)).to(decoder.dtype)


@torch.library.custom_op("fade::upsample_add", mutates_args=())
def upsample_add(
    decoder: Tensor,
    encoder_logits: Tensor,
    decoder_logits: Tensor,
    encoder: Tensor,
    gate_logits: Tensor,
    skip: Tensor,
    kernel_size: int,
    scale: int,
) -> Tensor:
    kernels = (_wide(encoder_logits) + repeat_nearest(_wide(decoder_logits), scale)).softmax(1)
    gate = repeat_nearest(_wide(gate_logits).sigmoid(), scale)
    reassembled = _sum_over_taps(decoder, kernels, kernel_size, scale, 1)
    return reassembled.mul_(1 - gate).addcmul_(gate, _wide(encoder)).add_(_wide(skip)).to(decoder.dtype)


@torch.library.custom_op("fade::head", mutates_args=())
def head(
    first: Tensor,
    second: Tensor,
    third: Tensor,
    encoder_logits: Tensor,
    decoder_logits: Tensor,
    gate_logits: Tensor,
    encoder: Tensor,
    encoder_weight: Tensor,
    encoder_bias: Tensor,
    class_weight: Tensor,
    class_bias: Tensor,
    kernel_size: int,
    scale: int,
) -> Tensor:
    decoders = (first, second, third)
    kernels = _term_kernels(_wide(encoder_logits) + repeat_nearest(_wide(decoder_logits), scale), len(decoders))
    gates = repeat_nearest(_wide(gate_logits).sigmoid(), scale).split(1, 1)
    x = _wide(encoder)
    gated = torch.cat([*(gate * x for gate in gates), x, *gates], 1)
    hidden = _per_pixel(gated, encoder_weight, encoder_bias)
    for t, (decoder, gate) in enumerate(zip(decoders, gates, strict=True)):
        used = decoder[:, : hidden.shape[1]]
        hidden += _sum_over_taps(used, kernels[:, t] * (1 - gate), kernel_size, scale, 1)
    return _per_pixel(hidden.relu_(), class_weight, class_bias).to(first.dtype)


def _per_pixel(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(x, _wide(weight)[..., None, None], _wide(bias))


@reassemble.register_fake
def _(features: Tensor, kernels: Tensor, kernel_size: int, scale: int, groups: int) -> Tensor:
    return features.new_empty(_output_shape(features, scale, 1))


@upsample.register_fake
def _(
    decoder: Tensor, kernel_logits: Tensor, encoder: Tensor, gate_logits: Tensor, kernel_size: int, scale: int
) -> Tensor:
    return decoder.new_empty(_output_shape(decoder, scale, 1))


@accumulate.register_fake
def _(
    decoder: Tensor,
    kernel_logits: Tensor,
    base: Tensor,
    decoder_weight: Tensor,
    kernel_size: int,
    scale: int,
    terms: int,
) -> Tensor:
    return decoder.new_empty(_output_shape(decoder, scale, terms))


@upsample_add.register_fake
def _(
    decoder: Tensor,
    encoder_logits: Tensor,
    decoder_logits: Tensor,
    encoder: Tensor,
    gate_logits: Tensor,
    skip: Tensor,
    kernel_size: int,
    scale: int,
) -> Tensor:
    return decoder.new_empty(_output_shape(decoder, scale, 1))


@head.register_fake
def _(
    first: Tensor,
    second: Tensor,
    third: Tensor,
    encoder_logits: Tensor,
    decoder_logits: Tensor,
    gate_logits: Tensor,
    encoder: Tensor,
    encoder_weight: Tensor,
    encoder_bias: Tensor,
    class_weight: Tensor,
    class_bias: Tensor,
    kernel_size: int,
    scale: int,
) -> Tensor:
    batch, _, height, width = _output_shape(first, scale, 1)
    return first.new_empty(batch, class_weight.shape[0], height, width)


def _output_shape(decoder: Tensor, scale: int, terms: int) -> tuple[int, int, int, int]:
    batch, channels, height, width = decoder.shape
    return batch, channels // terms, height * scale, width * scale


# --- the sum over the taps, and its adjoint -------------------------------------------------------------------


def _wide(x: Tensor) -> Tensor:
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _term_kernels(kernel_logits: Tensor, terms: int) -> Tensor:
    logits: Tensor = _wide(kernel_logits).unflatten(1, (terms, -1))  # [N, T, K*K, sH, sW]
    return logits.softmax(2)


def _shifted(features: Tensor, kernel_size: int, groups: int) -> list[Tensor]:
    """K*K views of the zero-padded features, tap-major, each [N, G, 1, C/G, H, W]."""
    height, width = features.shape[2:]
    padded = F.pad(features, [kernel_size // 2] * 4).unflatten(1, (groups, 1, -1))
    return [padded[..., i : i + height, j : j + width] for i in range(kernel_size) for j in range(kernel_size)]


def _tap_weights(kernels: Tensor, scale: int, groups: int) -> Tensor:
    """[N, G*K*K, sH, sW] -> [N, G, s*s, 1, K*K, H, W]: one low-resolution plane for each tap and sub-pixel."""
    planes: Tensor = F.pixel_unshuffle(kernels, scale).unflatten(1, (groups, -1, scale * scale))
    return planes.transpose(2, 3).unsqueeze(3).contiguous()


def _sum_over_taps(features: Tensor, kernels: Tensor, kernel_size: int, scale: int, groups: int) -> Tensor:
    batch, channels, height, width = features.shape
    weights = _tap_weights(_wide(kernels), scale, groups)
    shape = (batch, groups, scale * scale, channels // groups, height, width)
    out = weights.new_zeros(shape)
    for tap, shifted in enumerate(_shifted(_wide(features), kernel_size, groups)):
        out.addcmul_(shifted, weights[..., tap, :, :])
    return F.pixel_shuffle(out.transpose(2, 3).reshape(batch, -1, height, width), scale)


def _tap_gradients(
    grad: Tensor, features: Tensor, kernels: Tensor, kernel_size: int, scale: int, groups: int
) -> tuple[Tensor, Tensor]:
    """The adjoint of ``_sum_over_taps``: gradients of the features and of the kernels."""
    batch, channels, height, width = features.shape
    radius = kernel_size // 2
    weights = _tap_weights(_wide(kernels), scale, groups)
    # [N, C, sH, sW] -> [N, G, s*s, C/G, H, W]
    low = F.pixel_unshuffle(_wide(grad), scale).unflatten(1, (groups, channels // groups, -1)).transpose(2, 3)
    low = low.contiguous()
    padded = low.new_zeros(batch, groups, channels // groups, height + 2 * radius, width + 2 * radius)
    tap_gradients = []
    for tap, shifted in enumerate(_shifted(_wide(features), kernel_size, groups)):
        tap_gradients.append((low * shifted).sum(3))  # [N, G, s*s, H, W]
        i, j = divmod(tap, kernel_size)
        padded[..., i : i + height, j : j + width] += (low * weights[..., tap, :, :]).sum(2)
    grad_features = padded[..., radius : radius + height, radius : radius + width].flatten(1, 2)
    grad_kernels = F.pixel_shuffle(torch.stack(tap_gradients, 2).flatten(1, 3), scale)
    return grad_features, grad_kernels


def _softmax_gradient(grad: Tensor, kernels: Tensor, dim: int) -> Tensor:
    return kernels * (grad - (grad * kernels).sum(dim, keepdim=True))


def _sum_over_pixels(high: Tensor, scale: int) -> Tensor:
    """The adjoint of ``repeat_nearest``: each s x s block is summed."""
    return F.avg_pool2d(high, scale) * (scale * scale)


def _reassemble_backward(ctx, grad):  # type: ignore[no-untyped-def]
    features, kernels = ctx.saved_tensors
    grad_features, grad_kernels = _tap_gradients(grad, features, kernels, *ctx.attributes)
    return grad_features.to(features.dtype), grad_kernels.to(kernels.dtype), None, None, None


def _upsample_backward(ctx, grad):  # type: ignore[no-untyped-def]
    decoder, kernel_logits, encoder, gate_logits = ctx.saved_tensors
    kernel_size, scale = ctx.attributes
    grad = _wide(grad)
    kernels = _wide(kernel_logits).softmax(1)
    low_gate = _wide(gate_logits).sigmoid()
    gate = repeat_nearest(low_gate, scale)
    reassembled = reassemble(_wide(decoder), kernels, kernel_size, scale, 1)
    grad_decoder, grad_kernels = _tap_gradients(grad * (1 - gate), decoder, kernels, kernel_size, scale, 1)
    grad_gate = _sum_over_pixels((grad * (_wide(encoder) - reassembled)).sum(1, keepdim=True), scale)
    return (
        grad_decoder.to(decoder.dtype),
        _softmax_gradient(grad_kernels, kernels, 1).to(kernel_logits.dtype),
        (grad * gate).to(encoder.dtype),
        (grad_gate * low_gate * (1 - low_gate)).to(gate_logits.dtype),
        None,
        None,
    )


def _accumulate_backward(ctx, grad):  # type: ignore[no-untyped-def]
    decoder, kernel_logits, base, decoder_weight = ctx.saved_tensors
    kernel_size, scale, terms = ctx.attributes
    grad = _wide(grad)
    softmax = _term_kernels(kernel_logits, terms)
    weight = repeat_nearest(_wide(decoder_weight), scale).unsqueeze(2)  # [N, T, 1, sH, sW]
    grad_decoder, grad_taps = _tap_gradients(
        grad.repeat(1, terms, 1, 1), decoder, (softmax * weight).flatten(1, 2), kernel_size, scale, terms
    )
    grad_taps = grad_taps.unflatten(1, (terms, -1))
    return (
        grad_decoder.to(decoder.dtype),
        _softmax_gradient(grad_taps * weight, softmax, 2).flatten(1, 2).to(kernel_logits.dtype),
        grad.sum_to_size(base.shape).to(base.dtype),
        _sum_over_pixels((grad_taps * softmax).sum(2), scale).to(decoder_weight.dtype),
        None,
        None,
        None,
    )


def _save_for_backward(ctx, inputs, output):  # type: ignore[no-untyped-def]
    ctx.save_for_backward(*(value for value in inputs if isinstance(value, Tensor)))
    ctx.attributes = tuple(value for value in inputs if not isinstance(value, Tensor))


reassemble.register_autograd(_reassemble_backward, setup_context=_save_for_backward)
upsample.register_autograd(_upsample_backward, setup_context=_save_for_backward)
accumulate.register_autograd(_accumulate_backward, setup_context=_save_for_backward)

# Contract name -> the torch op that exporters and counters meet.
TORCH_OPS = {
    contract.REASSEMBLE.name: torch.ops.fade.reassemble,
    contract.UPSAMPLE.name: torch.ops.fade.upsample,
    contract.ACCUMULATE.name: torch.ops.fade.accumulate,
    contract.UPSAMPLE_ADD.name: torch.ops.fade.upsample_add,
    contract.HEAD.name: torch.ops.fade.head,
}
