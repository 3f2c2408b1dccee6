"""A2U matting's fused decoder stages against the network itself, in float64."""

from __future__ import annotations

import pytest
import torch

from fade_deploy.models.abn import ABN
from fade_deploy.models.fusion.fuse import rewritten
from fade_deploy.models.fusion.matting_stage import fused_stages
from fade_deploy.tolerances import tolerance
from tests.golden_weights import matting


@pytest.mark.parametrize("size", [(16, 16), (48, 80)], ids=str)
@pytest.mark.parametrize("upsampler", ["fade", "fade_lite"])
@torch.no_grad()
def test_fused_stages_are_exact(upsampler, size):
    model = matting(upsampler).double()
    x = torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(0)).double()
    expected = model(x)
    out = fused_stages(model)(x)
    assert float((out - expected).abs().max() / expected.std()) <= tolerance("FUSION_FP64").atol


@torch.no_grad()
def test_all_rewrites_are_exact_with_negative_norm_weights():
    model = matting("fade").double()
    for i, module in enumerate(model.modules()):
        if isinstance(module, ABN) and i % 2:
            module.weight.neg_()
    x = torch.randn(1, 4, 32, 48, generator=torch.Generator().manual_seed(0)).double()
    expected = model(x)
    exported, _ = rewritten(model)
    assert float((exported(x) - expected).abs().max() / expected.std()) <= tolerance("FUSION_FP64").atol


def test_another_upsampler_stays():
    model = matting("bilinear")
    assert [type(module) for module in fused_stages(model).modules()] == [type(module) for module in model.modules()]
