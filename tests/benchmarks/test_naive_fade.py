from __future__ import annotations

import pytest
import torch

from benchmarks.naive_fade import NaiveFADE, with_naive_fade
from fade_deploy.models.mix_transformer import MixTransformerConfig
from fade_deploy.models.segformer import SegFormer, SegFormerConfig
from fade_deploy.ops.fade import FADE
from fade_deploy.tolerances import tolerance


def _close(given, expected):
    assert expected.std() > 1e-3  # something is compared
    assert (given - expected).abs().max() <= tolerance("NUMPY_FP64").atol


@pytest.mark.parametrize("einsum", [False, True], ids=["product and sum", "einsum"])
@pytest.mark.parametrize("kernel_size", [3, 5])
def test_naive_form_is_the_same_function(einsum, kernel_size):
    torch.manual_seed(0)
    fade = FADE(6, kernel_size=kernel_size, compressed=4).double().eval()
    encoder, decoder = torch.randn(2, 6, 10, 14).double(), torch.randn(2, 6, 5, 7).double()
    with torch.no_grad():
        _close(NaiveFADE(fade, einsum=einsum)(encoder, decoder), fade(encoder, decoder))


def test_every_fade_of_a_copy_is_replaced():
    torch.manual_seed(0)
    backbone = MixTransformerConfig(widths=(8, 16, 20, 32), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8))
    model = SegFormer(SegFormerConfig(backbone=backbone, embed_width=16, classes=3, upsampler="fade")).double().eval()
    naive = with_naive_fade(model)
    assert sum(type(module) is NaiveFADE for module in naive.modules()) == 6
    assert not any(type(module) is FADE for module in naive.modules())
    assert sum(type(module) is FADE for module in model.modules()) == 6
    image = torch.randn(1, 3, 64, 96).double()
    with torch.no_grad():
        _close(naive(image), model(image))


def test_a_model_without_fade_is_refused():
    with pytest.raises(ValueError, match="no FADE"):
        with_naive_fade(torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)))
