"""The composed halves of the semi-shift convolution against the modules they come from, border included."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from fade_deploy.models.fusion.affine import Affine
from fade_deploy.models.fusion.kernel_logits import (
    composing_pays,
    decoder_logits,
    encoder_logits,
    is_gated,
    is_semi_shift,
)
from fade_deploy.ops.fade import FADE, FADELite, ScrambledFADE, SemiShiftUp
from fade_deploy.ops.registry import UPSAMPLERS
from fade_deploy.tolerances import tolerance

BOUND = tolerance("FUSION_FP64").atol
WIDTH = 12


def random_upsampler(kind, width=WIDTH, **choices):
    module = kind(width, **choices).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter)
    return module


def encoder_half(upsampler, encoder):
    """As the reference adds it, with the bias that the decoder's half brings."""
    generator = upsampler.ker_generator
    bias = generator.content_encoder.bias[:, None, None]
    return generator.content_encoder(generator.compressor_en(encoder)) + bias


def assert_equal(given, expected):
    assert given.shape == expected.shape
    assert float((given - expected).abs().max() / expected.std()) <= BOUND


@pytest.mark.parametrize("inputs", [4, 40, 200], ids=lambda n: f"from {n} channels")
@pytest.mark.parametrize("size", [(1, 1), (1, 6), (7, 4)], ids=str)
@pytest.mark.parametrize("kind", [FADE, FADELite, SemiShiftUp])
@torch.no_grad()
def test_upsamplers_of_one_projected_encoder_together(kind, size, inputs):
    torch.manual_seed(0)
    upsamplers = [random_upsampler(kind) for _ in range(3)]
    projection = nn.Conv2d(inputs, WIDTH, 1).double()
    x = torch.randn(2, inputs, *size).double()
    together = encoder_logits(upsamplers, Affine.of(projection))(x)
    assert_equal(together, torch.cat([encoder_half(upsampler, projection(x)) for upsampler in upsamplers], 1))


@pytest.mark.parametrize("kind", [FADE, FADELite])
@pytest.mark.parametrize("width", [WIDTH, 100])
@torch.no_grad()
def test_one_upsampler_of_an_encoder_as_it_is(kind, width):
    torch.manual_seed(0)
    upsampler = random_upsampler(kind, width)
    x = torch.randn(2, width, 5, 4).double()
    assert_equal(encoder_logits([upsampler], None)(x), encoder_half(upsampler, x))


@pytest.mark.parametrize("kind", [FADE, FADELite])
@torch.no_grad()
def test_the_decoder_half_has_no_bias(kind):
    torch.manual_seed(0)
    upsampler = random_upsampler(kind)
    compressed = upsampler.ker_generator.compressor_de(torch.randn(2, WIDTH, 5, 4).double())
    content = upsampler.ker_generator.content_encoder
    assert_equal(decoder_logits(upsampler)(compressed), content(compressed) - content.bias[:, None, None])


def layers(module):
    return sum(isinstance(layer, nn.Conv2d) for layer in module.modules())


def test_composed_only_where_it_costs_less():
    # 9*C*25 against 64*C + 9*64*25 a pixel: equal at C = 89.4.
    assert composing_pays(FADE(89))
    assert not composing_pays(FADE(90))
    assert not composing_pays(FADELite(8))
    narrow = encoder_logits([FADE(89)], None)
    assert [tuple(layer.weight.shape) for layer in narrow.modules() if isinstance(layer, nn.Conv2d)] == [
        (25, 89, 3, 3),
        (25, 1, 3, 3),  # of ones: the compressor's bias, exact at the border
    ]
    assert layers(encoder_logits([FADELite(8), FADELite(8)], None)) == 2  # one compressor, one depth-wise layer


def test_only_what_is_known_is_fused():
    known = {name for name, build in UPSAMPLERS.items() if is_semi_shift(build(32))}
    assert known == {"fade", "fade_lite", "semishift"}
    assert not is_semi_shift(ScrambledFADE(8))  # a subclass of FADE that computes something else
    assert is_gated(FADE(8))
    assert not is_gated(SemiShiftUp(8))
