"""Content-aware reassembly as PyTorch ops: each output pixel is a weighted sum of its source neighbourhood.

These functions check their arguments and call the custom ops of :mod:`torch_ops`.

Source: CARAFE (Wang et al., ICCV 2019), eq. 2; FADE (Lu et al., ECCV 2022 and IJCV 2024), sec. 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fade_deploy import contract
from fade_deploy.ops import torch_ops

__all__ = [
    "SCALE",
    "accumulate",
    "check_sizes",
    "head",
    "normalised_reassembly",
    "reassemble",
    "upsample",
    "upsample_add",
]

SCALE = 2  # of every upsampler of the family: four encoder pixels meet one decoder pixel; nothing else is defined


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
        ValueError: A shape, dtype or attribute disagrees with the contract; the message names both.
    """
    contract.check_limits(kernel_size=kernel_size, scale=scale, groups=groups)
    _check_dtypes(features, kernels)
    taps = groups * kernel_size**2
    _check_output_shape("kernels", kernels, features, taps, scale)
    if features.shape[1] % groups:
        raise ValueError(f"features {list(features.shape)} do not divide into groups={groups}")
    out: Tensor = torch_ops.reassemble(features, kernels, kernel_size, scale, groups)
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
        ValueError: A shape, dtype or attribute disagrees with the contract; the message names both.
    """
    contract.check_limits(kernel_size=kernel_size, scale=scale)
    _check_dtypes(decoder, kernel_logits, encoder, gate_logits)
    _check_output_shape("kernel_logits", kernel_logits, decoder, kernel_size**2, scale)
    _check_output_shape("encoder", encoder, decoder, decoder.shape[1], scale)
    _check_output_shape("gate_logits", gate_logits, decoder, 1, 1)
    out: Tensor = torch_ops.upsample(decoder, kernel_logits, encoder, gate_logits, kernel_size, scale)
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
        ValueError: A shape, dtype or attribute disagrees with the contract; the message names both.
    """
    contract.check_limits(kernel_size=kernel_size, scale=scale, terms=terms)
    _check_dtypes(decoder, kernel_logits, base, decoder_weight)
    _check_output_shape("kernel_logits", kernel_logits, decoder, terms * kernel_size**2, scale)
    _check_output_shape("decoder_weight", decoder_weight, decoder, terms, 1)
    if decoder.shape[1] % terms:
        raise ValueError(f"decoder {list(decoder.shape)} does not divide into terms={terms}")
    full = [decoder.shape[0], decoder.shape[1] // terms, decoder.shape[2] * scale, decoder.shape[3] * scale]
    if base.dim() != 4 or any(b not in (1, f) for b, f in zip(base.shape, full, strict=True)):
        raise ValueError(f"base {list(base.shape)} does not broadcast to the output {full}")
    out: Tensor = torch_ops.accumulate(decoder, kernel_logits, base, decoder_weight, kernel_size, scale, terms)
    return out


def upsample_add(
    decoder: Tensor,
    encoder_logits: Tensor,
    decoder_logits: Tensor,
    encoder: Tensor,
    gate_logits: Tensor,
    skip: Tensor,
    *,
    kernel_size: int,
    scale: int,
) -> Tensor:
    """A decoder stage of A2U matting in one op, for export: the logits' sum, the upsampler and the skip's sum.

    ``out = g*encoder + (1-g)*reassemble(decoder, softmax(encoder_logits + up(decoder_logits))) + skip``,
    ``g = up(sigmoid(gate_logits))``, ``up`` repeating each pixel s x s.

    Args:
        decoder: [N, C, H, W], floating.
        encoder_logits: [N, K*K, s*H, s*W], before the sum and the softmax over dim 1.
        decoder_logits: [N, K*K, H, W].
        encoder: [N, C, s*H, s*W].
        gate_logits: [N, 1, H, W], before the sigmoid.
        skip: [N, C, s*H, s*W].
        kernel_size: K in {1, 3, 5, 7}.
        scale: s in {1, 2, 4}.

    Returns:
        [N, C, s*H, s*W], dtype of ``decoder``; computed in at least float32. It has no gradient.

    Raises:
        ValueError: A shape, dtype or attribute disagrees with the contract; the message names both.
    """
    contract.check_limits(kernel_size=kernel_size, scale=scale)
    _check_dtypes(decoder, encoder_logits, decoder_logits, encoder, gate_logits, skip)
    channels = decoder.shape[1]
    _check_output_shape("encoder_logits", encoder_logits, decoder, kernel_size**2, scale)
    _check_output_shape("decoder_logits", decoder_logits, decoder, kernel_size**2, 1)
    _check_output_shape("encoder", encoder, decoder, channels, scale)
    _check_output_shape("gate_logits", gate_logits, decoder, 1, 1)
    _check_output_shape("skip", skip, decoder, channels, scale)
    out: Tensor = torch_ops.upsample_add(
        decoder, encoder_logits, decoder_logits, encoder, gate_logits, skip, kernel_size, scale
    )
    return out


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
    *,
    kernel_size: int,
    scale: int,
) -> Tensor:
    """The last stage of the exactly fused SegFormer head in one op, for export.

    With ``x = encoder``, ``g_t = up(sigmoid(gate_logits[:, t]))``, ``up`` repeating each pixel s x s,
    ``k_t = softmax(encoder_logits_t + up(decoder_logits_t))`` over its K*K, and u_0, u_1, u_2 = first, second, third:
    ``hidden = relu(encoder_bias + encoder_weight @ [g_0*x, g_1*x, g_2*x, x, g_0, g_1, g_2]
    + sum_t (1-g_t) * reassemble(u_t[:, :E], k_t))`` and ``out = class_weight @ hidden + class_bias``, per pixel.

    Args:
        first: [N, E or more, H, W], floating; only the first E channels are read.
        second: As ``first``.
        third: As ``first``.
        encoder_logits: [N, 3*K*K, s*H, s*W], term-major.
        decoder_logits: [N, 3*K*K, H, W], term-major.
        gate_logits: [N, 3, H, W], before the sigmoid.
        encoder: [N, C, s*H, s*W].
        encoder_weight: [E, 4*C + 3].
        encoder_bias: [E].
        class_weight: [M, E].
        class_bias: [M].
        kernel_size: K in {1, 3, 5, 7}.
        scale: s in {1, 2, 4}.

    Returns:
        [N, M, s*H, s*W], dtype of ``first``; computed in at least float32. It has no gradient.

    Raises:
        ValueError: A shape, dtype or attribute disagrees with the contract; the message names both.
    """
    contract.check_limits(kernel_size=kernel_size, scale=scale)
    inputs = (
        first, second, third, encoder_logits, decoder_logits, gate_logits, encoder,
        encoder_weight, encoder_bias, class_weight, class_bias,
    )  # fmt: skip
    _check_dtypes(*inputs)
    hidden, classes, channels = encoder_weight.shape[0], class_weight.shape[0], encoder.shape[1]
    for name, decoder in (("first", first), ("second", second), ("third", third)):
        if (decoder.shape[0], *decoder.shape[2:]) != (first.shape[0], *first.shape[2:]) or decoder.shape[1] < hidden:
            raise ValueError(
                f"{name} has shape {list(decoder.shape)}, expected at least {hidden} channels (encoder_weight "
                f"{list(encoder_weight.shape)}) and else the shape of first, {list(first.shape)}"
            )
    _check_output_shape("encoder_logits", encoder_logits, first, 3 * kernel_size**2, scale)
    _check_output_shape("decoder_logits", decoder_logits, first, 3 * kernel_size**2, 1)
    _check_output_shape("gate_logits", gate_logits, first, 3, 1)
    _check_output_shape("encoder", encoder, first, channels, scale)
    weights = {
        "encoder_weight": (encoder_weight, [hidden, 4 * channels + 3]),
        "encoder_bias": (encoder_bias, [hidden]),
        "class_weight": (class_weight, [classes, hidden]),
        "class_bias": (class_bias, [classes]),
    }
    for name, (given, expected) in weights.items():
        if list(given.shape) != expected:
            raise ValueError(
                f"{name} has shape {list(given.shape)}, expected {expected} for an encoder feature "
                f"{list(encoder.shape)}, {hidden} hidden channels and {classes} classes"
            )
    out: Tensor = torch_ops.head(*inputs, kernel_size, scale)
    return out


def normalised_reassembly(
    decoder: Tensor, kernel_logits: Tensor, *, kernel_size: int, scale: int = SCALE, base: Tensor | None = None
) -> Tensor:
    """``base + reassemble(decoder, softmax(kernel_logits))``: the accumulate form with one term of weight one.

    Args:
        decoder: [N, C, h, w], floating.
        kernel_logits: [N, K*K, s*h, s*w], before the softmax over dim 1.
        kernel_size: K in {1, 3, 5, 7}.
        scale: s in {1, 2, 4}.
        base: As :func:`accumulate` takes it; None is zero.

    Returns:
        [N, C, s*h, s*w], dtype of ``decoder``; computed in at least float32.

    Raises:
        ValueError: A shape, dtype or attribute disagrees with the contract; the message names both.
    """
    if base is None:
        base = decoder.new_zeros(1, 1, 1, 1)
    return accumulate(
        decoder, kernel_logits, base, torch.ones_like(decoder[:, :1]), kernel_size=kernel_size, scale=scale
    )


def check_sizes(encoder: Tensor, decoder: Tensor) -> None:
    """Refuse an encoder feature that is not twice as high and wide as the decoder feature, of the same batch.

    Raises:
        ValueError: It is not; the message names both shapes.
    """
    n, _, h, w = decoder.shape
    if (encoder.shape[0], *encoder.shape[2:]) != (n, SCALE * h, SCALE * w):
        raise ValueError(
            f"the encoder feature has shape {list(encoder.shape)}, expected [{n}, channels, {SCALE * h}, {SCALE * w}] "
            f"for a decoder feature {list(decoder.shape)}"
        )


def _check_dtypes(*tensors: Tensor) -> None:
    dtypes = {tensor.dtype for tensor in tensors}
    if len(dtypes) != 1 or not tensors[0].is_floating_point():
        given = ", ".join(str(tensor.dtype).removeprefix("torch.") for tensor in tensors)
        raise ValueError(f"the tensors have the dtypes {given}, expected one floating dtype for all")


def _check_output_shape(name: str, given: Tensor, low: Tensor, channels: int, scale: int) -> None:
    expected = [low.shape[0], channels, low.shape[2] * scale, low.shape[3] * scale]
    if list(given.shape) != expected:
        raise ValueError(
            f"{name} has shape {list(given.shape)}, expected {expected} for a decoder feature {list(low.shape)}"
        )
