"""The backbone in pixel order is the backbone."""

from __future__ import annotations

import pytest
import torch

from fade_deploy.models.fusion.token_layout import in_pixel_order
from fade_deploy.tolerances import tolerance
from tests.golden_weights import segformer


@pytest.mark.parametrize("size", [(32, 32), (61, 93), (64, 128)], ids=str)
@torch.no_grad()
def test_every_stage_is_the_same(size):
    backbone = segformer("mit_b0", "bilinear").backbone.double()
    rewritten = in_pixel_order(backbone)
    image = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)).double()
    for given, expected in zip(rewritten(image), backbone(image), strict=True):
        assert float((given - expected).abs().max() / expected.std()) <= tolerance("FUSION_FP64").atol


def test_weights_keep_their_names_and_the_backbone_its_classes():
    backbone = segformer("mit_b0", "bilinear").backbone
    before = [type(module) for module in backbone.modules()]
    assert in_pixel_order(backbone).state_dict().keys() == backbone.state_dict().keys()
    assert [type(module) for module in backbone.modules()] == before
