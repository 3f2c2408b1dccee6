"""Content-aware reassembly as PyTorch ops: each output pixel is a weighted sum of its source neighbourhood.

Three custom ops of the namespace ``fade`` follow ``fade_deploy.contract``: they stay one node each under
``torch.export``, have a fake kernel and a gradient, and never unfold: memory beyond the output is one output-sized
product, where ``unfold`` takes K*K times that.

Source: CARAFE (Wang et al., ICCV 2019), eq. 2; FADE (Lu et al., ECCV 2022 and IJCV 2024), sec. 3.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fade_deploy import contract

__all__ = ["accumulate", "reassemble", "repeat_nearest", "upsample"]


def reassemble(features: Tensor, kernels: Tensor, *, kernel_size: int, scale: int, groups: int = 1) -> Tensor:
    """Upsample ``features`` with one given kernel per output pixel.

    ``out[n,c,y,x] = sum_{i,j<K} features[n, c, y//s+i-K//2, x//s+j-K//2] * kernels[n, (g*K+i)*K+j, y, x]``
    with zeros outside the image and ``g = c // (C/G)``.

    Args:
        features: Decoder feature, [N, C, H, W], floating.
        kernels: Weights, [N, G*K*K, s*H, s*W]; FADE passes a softmax, which is not required.
        kernel_size: K in {1, 3, 5, 7}.
        scale: s in {1, 2, 4}.
        groups: G, a divisor of C.

    Returns:
        [N, C, s*H, s*W], dtype of ``features``; accumulated in at least float32.

    Raises:
        ValueError: A shape or attribute disagrees with the contract; the message names both shapes.
    """
    contract.check_limits(kernel_size=kernel_size, scale=scale, groups=groups)
    taps = groups * kernel_size**2
    _check_output_shape("kernels", kernels, features, taps, scale)
    if features.shape[1] % groups:
        raise ValueError(f"features {list(features.shape)} do not divide into groups={groups}")
    out: Tensor = _reassemble(features, kernels, kernel_size, scale, groups)
    return out


def upsample(
    decoder: Tensor,
    kernel_logits: Tensor,
    encoder: Tensor,
    gate_logits: Tensor,
    *,
    kernel_size: int,
    scale: int,
) -> Tensor:
    """FADE's last step in one op: softmax, reassembly and the gated blend.

    ``out = g*encoder + (1-g)*reassemble(decoder, softmax(kernel_logits))``, ``g = sigmoid(gate_logits)``,
    each gate pixel serving its s x s output pixels.

    Args:
        decoder: [N, C, H, W], floating.
        kernel_logits: [N, K*K, s*H, s*W], before the softmax over dim 1.
        encoder: [N, C, s*H, s*W].
        gate_logits: [N, 1, H, W], before the sigmoid.
        kernel_size: K in {1, 3, 5, 7}.
        scale: s in {1, 2, 4}.

    Returns:
        [N, C, s*H, s*W], dtype of ``decoder``; computed in at least float32.

    Raises:
        ValueError: A shape or attribute disagrees with the contract; the message names both shapes.
    """
    contract.check_limits(kernel_size=kernel_size, scale=scale)
    _check_output_shape("kernel_logits", kernel_logits, decoder, kernel_size**2, scale)
    _check_output_shape("encoder", encoder, decoder, decoder.shape[1], scale)
    _check_output_shape("gate_logits", gate_logits, decoder, 1, 1)
    out: Tensor = _upsample(decoder, kernel_logits, encoder, gate_logits, kernel_size, scale)
    return out


def accumulate(
    decoder: Tensor,
    kernel_logits: Tensor,
    base: Tensor,
    decoder_weight: Tensor,
    *,
    kernel_size: int,
    scale: int,
    terms: int = 1,
) -> Tensor:
    """Add weighted reassemblies to a base: what upsamplers without a gate, and fused heads, end with.

    ``out = base + sum_t w_t * reassemble(decoder_t, softmax(kernel_logits_t))``, each pixel of
    ``w_t = decoder_weight[:, t]`` serving its s x s output pixels.

    Args:
        decoder: [N, T*C, H, W], term-major, floating.
        kernel_logits: [N, T*K*K, s*H, s*W], term-major, before the softmax over each term's K*K.
        base: Broadcastable to the output: each of its four dimensions is full or 1.
        decoder_weight: [N, T, H, W].
        kernel_size: K in {1, 3, 5, 7}.
        scale: s in {1, 2, 4}.
        terms: T.

    Returns:
        [N, C, s*H, s*W], dtype of ``decoder``; computed in at least float32.

    Raises:
        ValueError: A shape or attribute disagrees with the contract; the message names both shapes.
    """
    contract.check_limits(kernel_size=kernel_size, scale=scale, terms=terms)
    _check_output_shape("kernel_logits", kernel_logits, decoder, terms * kernel_size**2, scale)
    _check_output_shape("decoder_weight", decoder_weight, decoder, terms, 1)
    if decoder.shape[1] % terms:
        raise ValueError(f"decoder {list(decoder.shape)} does not divide into terms={terms}")
    full = [decoder.shape[0], decoder.shape[1] // terms, decoder.shape[2] * scale, decoder.shape[3] * scale]
    if base.dim() != 4 or any(b not in (1, f) for b, f in zip(base.shape, full, strict=True)):
        raise ValueError(f"base {list(base.shape)} does not broadcast to the output {full}")
    out: Tensor = _accumulate(decoder, kernel_logits, base, decoder_weight, kernel_size, scale, terms)
    return out


def repeat_nearest(low: Tensor, scale: int) -> Tensor:
    """Nearest upsampling by an integer: ``out[n,c,y,x] = low[n, c, y//s, x//s]``, [N, C, H, W] -> [N, C, sH, sW]."""
    return low if scale == 1 else F.interpolate(low, scale_factor=float(scale), mode="nearest")


def _check_output_shape(name: str, given: Tensor, low: Tensor, channels: int, scale: int) -> None:
    expected = [low.shape[0], channels, low.shape[2] * scale, low.shape[3] * scale]
    if list(given.shape) != expected:
        raise ValueError(
            f"{name} has shape {list(given.shape)}, expected {expected} for a decoder feature {list(low.shape)}"
        )


# --- the ops ------------------------------------------------------------------------------------------------


@torch.library.custom_op("fade::reassemble", mutates_args=())
def _reassemble(features: Tensor, kernels: Tensor, kernel_size: int, scale: int, groups: int) -> Tensor:
    return _sum_over_taps(features, kernels, kernel_size, scale, groups).to(features.dtype)


@torch.library.custom_op("fade::upsample", mutates_args=())
def _upsample(
    decoder: Tensor, kernel_logits: Tensor, encoder: Tensor, gate_logits: Tensor, kernel_size: int, scale: int
) -> Tensor:
    kernels = _wide(kernel_logits).softmax(1)
    gate = repeat_nearest(_wide(gate_logits).sigmoid(), scale)
    reassembled = _sum_over_taps(decoder, kernels, kernel_size, scale, 1)
    return reassembled.mul_(1 - gate).addcmul_(gate, _wide(encoder)).to(decoder.dtype)


@torch.library.custom_op("fade::accumulate", mutates_args=())
def _accumulate(
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


@_reassemble.register_fake
def _(features: Tensor, kernels: Tensor, kernel_size: int, scale: int, groups: int) -> Tensor:
    return features.new_empty(_output_shape(features, scale, 1))


@_upsample.register_fake
def _(
    decoder: Tensor, kernel_logits: Tensor, encoder: Tensor, gate_logits: Tensor, kernel_size: int, scale: int
) -> Tensor:
    return decoder.new_empty(_output_shape(decoder, scale, 1))


@_accumulate.register_fake
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
    reassembled = _reassemble(_wide(decoder), kernels, kernel_size, scale, 1)
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


_reassemble.register_autograd(_reassemble_backward, setup_context=_save_for_backward)
_upsample.register_autograd(_upsample_backward, setup_context=_save_for_backward)
_accumulate.register_autograd(_accumulate_backward, setup_context=_save_for_backward)
