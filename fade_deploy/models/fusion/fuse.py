"""All exact rewrites of a model, in order, each with what it saves; the nodes' notes say what it replaces."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import nn

from fade_deploy.models.a2u_matting import A2UMatting
from fade_deploy.models.abn import folded
from fade_deploy.models.complexity import count
from fade_deploy.models.fusion.kernel_logits import are_alike, is_gated
from fade_deploy.models.fusion.matting_stage import fused_stages
from fade_deploy.models.fusion.segformer_head import LastStageHead, ProjectedBilinearHead, PushedHead
from fade_deploy.models.fusion.token_layout import in_pixel_order
from fade_deploy.models.segformer import SegFormer
from fade_deploy.models.shared_weights import sharing_weights

__all__ = ["Rewrite", "rewritten"]


Model = SegFormer | A2UMatting


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewrite:
    """One step of a fusion, and the multiply-accumulates of the whole model before and after it."""

    name: str
    macs_before: int
    macs_after: int


def rewritten(model: Model, *, fuse: bool = True, height: int = 512, width: int = 512) -> tuple[Model, list[Rewrite]]:
    """The model as it is exported: one that computes the same with less, and what each rewrite saved.

    In float64 it differs from the model by rounding alone, at any legal size and batch. What there is no exact and
    profitable form for stays as it is: in a SegFormer head upsamplers other than FADE, FADE-Lite, SemiShiftUp and
    bilinear, in matting others than FADE and FADE-Lite.

    Args:
        model: A SegFormer or A2UMatting in evaluation; it is left as it is. The result shares its unchanged weights,
            and is the model itself where nothing is rewritten.
        fuse: False makes only those rewrites without which the model can't be exported (InPlaceABN).
        height: Of the image for which multiply-accumulates are counted.
        width: Likewise.
    """
    steps = _matting_steps(model, fuse) if isinstance(model, A2UMatting) else _segformer_steps(model, fuse)
    rewrites = []
    macs = _macs(model, height, width)
    for name, step in steps:
        model = step(model)
        before, macs = macs, _macs(model, height, width)
        rewrites.append(Rewrite(name=name, macs_before=before, macs_after=macs))
    return model.eval(), rewrites


def _macs(model: Model, height: int, width: int) -> int:
    return count(model, height=height, width=width, channels=model.INPUTS).macs


def _matting_steps(model: A2UMatting, fuse: bool) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    yield "activated norms to plain ones", folded
    if fuse and is_gated(model.decoder_layer4.up):
        yield "kernel logits composed, skip into the upsampler", fused_stages


def _segformer_steps(model: SegFormer, fuse: bool) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    if not fuse:
        return
    yield "tokens in pixel order", _with_backbone_in_pixel_order
    head = model.decode_head
    if head.upsamplers is None:
        yield "projections and fuse convolution before the resize", _with_head(ProjectedBilinearHead(head))
    elif are_alike(head.upsamplers):
        yield "linear layers through the upsamplers", _with_head(PushedHead(head))
        yield "one last stage", _with_head(LastStageHead(head))


def _with_backbone_in_pixel_order(model: SegFormer) -> SegFormer:
    copied = sharing_weights(model)
    copied.backbone = in_pixel_order(model.backbone)
    return copied


def _with_head(head: nn.Module) -> Callable[[SegFormer], SegFormer]:
    def step(model: SegFormer) -> SegFormer:
        copied = sharing_weights(model)
        setattr(copied, "decode_head", head.to(next(model.parameters()).dtype))  # noqa: B010 # of another class
        return copied

    return step
