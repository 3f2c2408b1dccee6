"""Each step of the head's fusion against the head itself, in float64."""

from __future__ import annotations

import pytest
import torch

from fade_deploy.models.fusion.segformer_head import LastStageHead, ProjectedBilinearHead, PushedHead
from fade_deploy.tolerances import tolerance
from tests.golden_weights import segformer

CASES = [
    ("bilinear", ProjectedBilinearHead),
    *((upsampler, step) for upsampler in ("fade", "fade_lite", "semishift") for step in (PushedHead, LastStageHead)),
]


def features(widths, height, width):
    """Of a backbone: at 1/4 .. 1/32 of a picture that is ``height`` x ``width`` at 1/32."""
    generator = torch.Generator().manual_seed(height * 100 + width)
    return [
        torch.randn(2, channels, height * scale, width * scale, generator=generator).double()
        for channels, scale in zip(widths, (8, 4, 2, 1), strict=True)
    ]


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (3, 2)], ids=str)
@pytest.mark.parametrize(("upsampler", "step"), CASES)
@torch.no_grad()
def test_a_step_is_exact(upsampler, step, size):
    model = segformer("mit_b0", upsampler, classes=7).double()
    given = features(model.config.backbone.widths, *size)
    expected = model.decode_head(given)
    out = step(model.decode_head)(given)
    assert out.shape == expected.shape
    assert float((out - expected).abs().max() / expected.std()) <= tolerance("FUSION_FP64").atol


@pytest.mark.parametrize("upsampler", ["fade", "bilinear"])
@torch.no_grad()
def test_the_wide_head_is_exact(upsampler):
    """B2 to B5: 768 channels, and a composed 3x3 convolution of 64 channels instead of 32."""
    model = segformer("mit_b2", upsampler, classes=3).double()
    given = features(model.config.backbone.widths, 1, 2)
    expected = model.decode_head(given)
    out = (LastStageHead if upsampler == "fade" else ProjectedBilinearHead)(model.decode_head)(given)
    assert float((out - expected).abs().max() / expected.std()) <= tolerance("FUSION_FP64").atol


@torch.no_grad()
def test_another_kernel_size_is_exact():
    from fade_deploy.models.mix_transformer import MixTransformerConfig
    from fade_deploy.models.segformer import SegFormer, SegFormerConfig

    torch.manual_seed(0)
    backbone = MixTransformerConfig(widths=(8, 16, 24, 32), depths=(1, 1, 1, 1))
    config = SegFormerConfig(
        backbone=backbone, embed_width=16, classes=3, upsampler="fade", kernel_size=3, compressed=12
    )
    model = SegFormer(config).double().eval()
    given = features(backbone.widths, 2, 1)
    expected = model.decode_head(given)
    out = LastStageHead(model.decode_head)(given)
    assert float((out - expected).abs().max() / expected.std()) <= tolerance("FUSION_FP64").atol


@torch.no_grad()
def test_no_module_of_the_fused_head_is_wide_at_full_size():
    """Only the kernel logits are: three times 25. The features of E channels are inside the last operator."""
    model = segformer("mit_b0", "fade", classes=7)
    given = [feature.float() for feature in features(model.config.backbone.widths, 1, 1)]
    fused = LastStageHead(model.decode_head).float()
    wide = []
    for module in fused.modules():
        module.register_forward_hook(
            lambda _m, _i, out: (
                wide.append(out.shape[1])
                if isinstance(out, torch.Tensor) and out.dim() == 4 and out.shape[2:] == given[0].shape[2:]
                else None
            )
        )
    fused(given)
    assert wide
    assert max(wide) == 75
