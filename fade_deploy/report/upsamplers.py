"""What the upsamplers did in a picture: how much each pixel took from the encoder, and how sharp its kernel was.

Every upsampler of the family hands its kernel logits, and FADE its gate, to one of the operators; they are read there,
so that nothing here depends on how a kind of upsampler makes them. Needs PyTorch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from fade_deploy.ops.registry import UPSAMPLERS
from fade_deploy.report.content import Block, Gallery, Note, Picture, Scale, Section
from fade_deploy.report.pictures import ENTROPY, GATE, coloured

__all__ = ["UpsamplerMaps", "upsampler_maps", "upsampler_section"]


@dataclass(frozen=True, slots=True, kw_only=True)
class UpsamplerMaps:
    """One upsampler in one picture, the first of the batch."""

    module: str  # its name in the model
    kind: str  # its class
    kernel_size: int | None  # None where it has no kernels
    gate: NDArray[np.float32] | None  # [h, w] of the decoder: 1 takes the encoder's feature, 0 the upsampled one
    entropy: NDArray[np.float32] | None  # [2h, 2w]: of each kernel, 0 is one tap alone, 1 is all taps alike


def upsampler_maps(model: nn.Module, run: Callable[[], object]) -> tuple[UpsamplerMaps, ...]:
    """Look into the upsamplers of a model while it runs, in the order in which they do.

    ``entropy = -sum_k p_k log p_k / log(K*K)`` with ``p = softmax(kernel logits)``.

    Args:
        model: Gives the modules their names.
        run: Runs it once.
    """
    watch = _Watch()
    with _hooked(model, watch), torch.inference_mode(), watch:
        run()
    return tuple(watch.found)


def upsampler_section(maps: tuple[UpsamplerMaps, ...], *, source: str) -> Section:
    """The chapter of the page.

    Args:
        maps: From :func:`upsampler_maps`.
        source: The picture that they were taken in, as the page names it.
    """
    gates = [each for each in maps if each.gate is not None]
    kernels = [each for each in maps if each.entropy is not None]
    blocks: list[Block] = []
    if gates:
        blocks.append(
            Gallery(
                title="Gates",
                pictures=tuple(_tile(each, each.gate, GATE) for each in gates if each.gate is not None),
                note="Where the upsampled decoder feature is used, and where the encoder's, which has the detail.",
                scales=(Scale(low="0, decoder", high="1, encoder", colours=GATE),),
            )
        )
    if kernels:
        blocks.append(
            Gallery(
                title="Kernel entropy",
                pictures=tuple(_tile(each, each.entropy, ENTROPY) for each in kernels if each.entropy is not None),
                note="How sharp the kernel of each pixel is: 0 copies one neighbour, 1 averages all of them alike.",
                scales=(Scale(low="0, one tap", high="1, all taps alike", colours=ENTROPY),),
            )
        )
    plain = [each for each in maps if each.gate is None and each.entropy is None]
    blocks += [Note(f"{each.module} ({each.kind}) has neither a gate nor kernels to show.") for each in plain]
    if not maps:
        blocks.append(Note("The model has no upsampler modules: it resizes bilinearly."))
    return Section(
        title="What the upsamplers did",
        intro=f"In eager PyTorch, in {source}; one map for each upsampler, in the order in which they run.",
        blocks=tuple(blocks),
    )


def _tile(maps: UpsamplerMaps, values: NDArray[np.float32], colours: str) -> Picture:
    kernels = f", K = {maps.kernel_size}" if maps.kernel_size else ""
    return Picture(
        title=maps.module,
        pixels=coloured(values, colours),
        is_photo=False,
        caption=f"{maps.kind}{kernels}, {values.shape[1]}x{values.shape[0]}, mean {float(values.mean()):.2f}",
    )


@contextmanager
def _hooked(model: nn.Module, watch: _Watch) -> Iterator[None]:
    """Tell the watch which upsampler runs."""
    kinds: tuple[type[nn.Module], ...] = tuple(kind for kind in UPSAMPLERS.values() if isinstance(kind, type))
    handles = []
    for name, module in model.named_modules():
        if isinstance(module, kinds):
            handles.append(module.register_forward_pre_hook(partial(watch.start, name)))
            handles.append(module.register_forward_hook(watch.stop))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Watch(TorchFunctionMode):
    """Reads what an operator of ours is called with while an upsampler runs."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[UpsamplerMaps] = []
        self._running: UpsamplerMaps | None = None

    def start(self, name: str, module: nn.Module, args: Any) -> None:
        """Before an upsampler."""
        kind = type(module).__name__
        self._running = UpsamplerMaps(module=name, kind=kind, kernel_size=None, gate=None, entropy=None)

    def stop(self, module: nn.Module, args: Any, output: Any) -> None:
        """After it."""
        if self._running is not None:
            self.found.append(self._running)
        self._running = None

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if self._running is not None and function is torch.ops.fade.upsample.default:
            _, kernel_logits, _, gate_logits, kernel_size, _ = args
            self._running = replace(self._running, gate=gate_logits[0, 0].float().sigmoid().numpy())
            self._keep(self._running, kernel_logits, kernel_size)
        elif self._running is not None and function is torch.ops.fade.accumulate.default:
            _, kernel_logits, _, _, kernel_size, _, _ = args
            self._keep(self._running, kernel_logits, kernel_size)
        return function(*args, **(kwargs or {}))

    def _keep(self, running: UpsamplerMaps, kernel_logits: Tensor, kernel_size: int) -> None:
        entropy = None
        if kernel_size > 1:  # one tap has no choice
            logs = kernel_logits[0].float().log_softmax(0)
            shares = -(logs.exp() * logs).sum(0) / math.log(kernel_size**2)
            entropy = shares.clamp(0, 1).numpy()
        self._running = replace(running, kernel_size=kernel_size, entropy=entropy)
