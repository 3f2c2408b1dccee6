"""The upsamplers by name: every one trains, has the published size, and refuses in one line what it lacks."""

from __future__ import annotations

import re

import pytest
import torch

from fade_deploy.contract import KERNEL_SIZES
from fade_deploy.errors import RecipeError
from fade_deploy.ops.registry import UPSAMPLERS, build_upsampler


@pytest.mark.parametrize("name", UPSAMPLERS)
def test_every_upsampler_trains(name):
    torch.manual_seed(0)
    module = build_upsampler(name, 32)
    encoder, decoder = torch.randn(2, 32, 6, 10, requires_grad=True), torch.randn(2, 32, 3, 5, requires_grad=True)
    out = module(encoder, decoder)
    out.square().sum().backward()
    assert out.shape == encoder.shape
    # CARAFE and bilinear ignore the encoder; A2U's downsampling weights are in its checkpoints only.
    tensors = {key: value for key, value in module.named_parameters() if "bconv_DP" not in key}
    tensors |= {"decoder": decoder} | ({} if name in ("carafe", "bilinear") else {"encoder": encoder})
    silent = [key for key, value in tensors.items() if value.grad is None or not value.grad.abs().sum() > 0]
    assert silent == []
    assert all(torch.isfinite(value.grad).all() for value in tensors.values())


@pytest.mark.parametrize(
    ("name", "kernel_size"),
    [
        (name, kernel_size)
        for name in ("carafe", "sapa", "sapa_gate", "sapa_concat", "encoder_only", "naive", "skip", "a2u")
        for kernel_size in KERNEL_SIZES
        if (name, kernel_size) != ("a2u", 1)
    ],
)
def test_every_kernel_size_of_the_contract_builds_and_runs(name, kernel_size):
    module = build_upsampler(name, 32, kernel_size=kernel_size)
    assert module(torch.rand(1, 32, 4, 6), torch.rand(1, 32, 2, 3)).shape == (1, 32, 4, 6)


MATTING = (256, 128, 64, 64)  # channels of the four slots of A2U matting


@pytest.mark.parametrize(
    ("name", "slots", "inner", "published"),
    [  # inner: channels inside IndexNet's branches, in C
        ("carafe", (256,) * 6, None, 444_888),
        ("a2u", (256,) * 6, None, 120_252),
        ("sapa", (256,) * 6, None, 104_832),
        ("fade", (256,) * 6, None, 285_084),
        ("fade_lite", (256,) * 6, None, 79_992),
        ("semishift", (256,) * 6, None, 283_542),
        ("indexnet", (256,) * 6, None, 6_291_456),
        ("carafe", MATTING, None, 263_824),
        ("a2u", MATTING, None, 40_232),
        ("sapa", MATTING, None, 35_072),
        ("fade", MATTING, None, 124_008),
        ("fade_lite", MATTING, None, 27_216),
        ("indexnet_context", MATTING, 2, 12_263_424),
        ("indexnet_context", MATTING, None, 6_131_712),
    ],
)
def test_parameters_of_a_models_slots_are_those_of_the_papers(name, slots, inner, published):
    modules = [build_upsampler(name, channels, compressed=inner and inner * channels) for channels in slots]
    assert sum(parameter.numel() for module in modules for parameter in module.parameters()) == published


def test_unknown_upsampler_is_refused_in_one_line():
    with pytest.raises(RecipeError, match=r"^upsampler 'dysample' is unknown, expected one of bilinear, carafe, .*$"):
        build_upsampler("dysample", 8)


def test_choice_that_an_upsampler_does_not_have_is_refused():
    with pytest.raises(
        RecipeError, match=r"^upsampler 'indexnet' has no kernel_size to choose, given 5: leave it out$"
    ):
        build_upsampler("indexnet", 8, kernel_size=5)


@pytest.mark.parametrize(
    ("name", "channels", "choices", "message"),
    [
        ("carafe", 64, {"kernel_size": 4}, "kernel_size is 4, expected one of (1, 3, 5, 7)"),
        ("sapa", 64, {"kernel_size": 0}, "kernel_size is 0, expected one of (1, 3, 5, 7)"),
        ("fade_lite", 64, {"kernel_size": -1}, "kernel_size is -1, expected one of (1, 3, 5, 7)"),
        ("naive", 64, {"compressed": 0}, "compressed is 0, expected at least 1"),
        ("indexnet_context", 64, {"compressed": -2}, "compressed is -2, expected at least 1"),
    ],
)
def test_value_outside_its_range_is_refused_when_it_is_built(name, channels, choices, message):
    with pytest.raises(RecipeError, match="^" + re.escape(f"upsampler '{name}': {message}") + "$"):
        build_upsampler(name, channels, **choices)


@pytest.mark.parametrize(
    ("name", "channels", "choices", "message"),
    [
        ("fade_scrambled", 64, {"compressed": 6}, "compressed is 6, expected a multiple of 4"),
        ("a2u", 64, {"kernel_size": 1}, "kernel_size is 1, expected one of (3, 5, 7)"),
        ("a2u", 48, {}, "channels is 48, expected a multiple of 32"),
    ],
)
def test_value_that_one_class_can_not_have_is_refused_when_it_is_built(name, channels, choices, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        build_upsampler(name, channels, **choices)


@pytest.mark.parametrize("size", [(2, 9, 9), (2, 8, 7), (2, 4, 4), (1, 8, 8)])
@pytest.mark.parametrize("name", sorted(UPSAMPLERS.keys() - {"bilinear"}))
def test_encoder_that_is_not_twice_the_decoder_is_refused_in_one_line(name, size):
    batch, height, width = size
    module = build_upsampler(name, 32)
    shapes = (
        rf"\[{batch}, 32, {height}, {width}\], expected \[2, channels, 8, 8\] for a decoder feature \[2, 32, 4, 4\]"
    )
    with pytest.raises(ValueError, match=f"^the encoder feature has shape {shapes}"):
        module(torch.rand(batch, 32, height, width), torch.rand(2, 32, 4, 4))


def test_upsampler_takes_its_published_defaults():
    sapa, carafe = build_upsampler("sapa", 8), build_upsampler("carafe", 8)
    assert (sapa.kernel_size, sapa.q.out_features) == (5, 32)
    assert (carafe.kernel_size, carafe.channel_compressor.out_channels) == (5, 64)
    assert build_upsampler("a2u", 32).kernel_size == 3
