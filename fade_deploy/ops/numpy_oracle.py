"""The operators as plain loops over numbers: slow, obvious, and the oracle of every other implementation."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["accumulate", "head", "reassemble", "upsample", "upsample_add"]

Array = NDArray[np.float64]


def reassemble(features: Array, kernels: Array, *, kernel_size: int, scale: int, groups: int = 1) -> Array:
    """``out[n,c,y,x] = sum_ij features[n, c, y//s+i-K//2, x//s+j-K//2] * kernels[n, (g*K+i)*K+j, y, x]``.

    Args:
        features: [N, C, H, W].
        kernels: [N, G*K*K, s*H, s*W]; group g serves the channels with ``c // ceil(C/G) == g``.
        kernel_size: K, odd.
        scale: s.
        groups: G.

    Returns:
        [N, C, s*H, s*W] in float64; outside the image the features are zero and nothing is renormalised.
    """
    batch, channels, height, width = features.shape
    radius = kernel_size // 2
    channels_per_group = -(-channels // groups)
    out = np.zeros((batch, channels, scale * height, scale * width))
    for n, c, y, x in np.ndindex(*out.shape):
        first_tap = c // channels_per_group * kernel_size**2
        total = 0.0
        for i in range(kernel_size):
            for j in range(kernel_size):
                row, column = y // scale + i - radius, x // scale + j - radius
                if 0 <= row < height and 0 <= column < width:
                    total += features[n, c, row, column] * kernels[n, first_tap + i * kernel_size + j, y, x]
        out[n, c, y, x] = total
    return out


def _softmax(logits: Array) -> Array:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def _repeat(low: Array, scale: int) -> Array:
    return low.repeat(scale, axis=2).repeat(scale, axis=3)


def upsample(
    decoder: Array, kernel_logits: Array, encoder: Array, gate_logits: Array, *, kernel_size: int, scale: int
) -> Array:
    """``g*encoder + (1-g)*reassemble(decoder, softmax(kernel_logits))`` with ``g = sigmoid(gate_logits)``.

    Args:
        decoder: [N, C, H, W].
        kernel_logits: [N, K*K, s*H, s*W].
        encoder: [N, C, s*H, s*W].
        gate_logits: [N, 1, H, W], repeated s x s (nearest).
        kernel_size: K, odd.
        scale: s.

    Returns:
        [N, C, s*H, s*W] in float64.
    """
    gate = _repeat(1 / (1 + np.exp(-gate_logits)), scale)
    reassembled = reassemble(decoder, _softmax(kernel_logits), kernel_size=kernel_size, scale=scale)
    return np.asarray(gate * encoder + (1 - gate) * reassembled)


def accumulate(
    decoder: Array,
    kernel_logits: Array,
    base: Array,
    decoder_weight: Array,
    *,
    kernel_size: int,
    scale: int,
    terms: int = 1,
) -> Array:
    """``base + sum_t w_t * reassemble(decoder_t, softmax(kernel_logits_t))``.

    Args:
        decoder: [N, T*C, H, W], term-major.
        kernel_logits: [N, T*K*K, s*H, s*W], term-major.
        base: Broadcastable to the output.
        decoder_weight: [N, T, H, W], repeated s x s (nearest).
        kernel_size: K, odd.
        scale: s.
        terms: T.

    Returns:
        [N, C, s*H, s*W] in float64.
    """
    out: Array | float = 0.0
    for t, (features, logits) in enumerate(
        zip(np.split(decoder, terms, axis=1), np.split(kernel_logits, terms, axis=1), strict=True)
    ):
        term = reassemble(features, _softmax(logits), kernel_size=kernel_size, scale=scale)
        out = out + _repeat(decoder_weight[:, t : t + 1], scale) * term
    return np.asarray(out + base)


def upsample_add(
    decoder: Array,
    encoder_logits: Array,
    decoder_logits: Array,
    encoder: Array,
    gate_logits: Array,
    skip: Array,
    *,
    kernel_size: int,
    scale: int,
) -> Array:
    """``upsample`` with the sum of both logits, plus ``skip``.

    Args:
        decoder: [N, C, H, W].
        encoder_logits: [N, K*K, s*H, s*W].
        decoder_logits: [N, K*K, H, W], repeated s x s (nearest).
        encoder: [N, C, s*H, s*W].
        gate_logits: [N, 1, H, W], repeated s x s (nearest).
        skip: [N, C, s*H, s*W].
        kernel_size: K, odd.
        scale: s.

    Returns:
        [N, C, s*H, s*W] in float64.
    """
    logits = encoder_logits + _repeat(decoder_logits, scale)
    return upsample(decoder, logits, encoder, gate_logits, kernel_size=kernel_size, scale=scale) + skip


def head(
    first: Array,
    second: Array,
    third: Array,
    encoder_logits: Array,
    decoder_logits: Array,
    gate_logits: Array,
    encoder: Array,
    encoder_weight: Array,
    encoder_bias: Array,
    class_weight: Array,
    class_bias: Array,
    *,
    kernel_size: int,
    scale: int,
) -> Array:
    """``class_weight @ relu(encoder_weight @ gated + encoder_bias + sum_t (1-g_t) R(decoder_t)) + class_bias``.

    Args:
        first: [N, E or more, H, W]; what comes after the first E channels is not read.
        second: As ``first``.
        third: As ``first``.
        encoder_logits: [N, 3*K*K, s*H, s*W], term-major.
        decoder_logits: [N, 3*K*K, H, W], repeated s x s (nearest).
        gate_logits: [N, 3, H, W], repeated s x s (nearest).
        encoder: x, [N, C, s*H, s*W].
        encoder_weight: [E, 4*C + 3], for the channels g_0*x, g_1*x, g_2*x, x, g_0, g_1, g_2.
        encoder_bias: [E].
        class_weight: [M, E].
        class_bias: [M].
        kernel_size: K, odd.
        scale: s.

    Returns:
        [N, M, s*H, s*W] in float64.
    """
    hidden_channels = encoder_weight.shape[0]
    gates = _repeat(1 / (1 + np.exp(-gate_logits)), scale)
    term_logits = np.split(encoder_logits + _repeat(decoder_logits, scale), 3, axis=1)
    reassembled = [
        reassemble(decoder[:, :hidden_channels], _softmax(logits), kernel_size=kernel_size, scale=scale)
        for decoder, logits in zip((first, second, third), term_logits, strict=True)
    ]
    batch, _, height, width = encoder.shape
    out = np.zeros((batch, class_weight.shape[0], height, width))
    for n, y, x in np.ndindex(batch, height, width):
        pixel, gate = encoder[n, :, y, x], gates[n, :, y, x]
        gated = np.concatenate([gate[0] * pixel, gate[1] * pixel, gate[2] * pixel, pixel, gate])
        hidden = encoder_bias + encoder_weight @ gated
        for t in range(3):
            hidden = hidden + (1 - gate[t]) * reassembled[t][n, :, y, x]
        out[n, :, y, x] = class_weight @ np.maximum(hidden, 0) + class_bias
    return out
