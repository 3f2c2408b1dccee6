"""The upsamplers by name: every one trains, has the published size, and refuses in one line what it lacks."""

from __future__ import annotations

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


@pytest.mark.parametrize("kernel_size", KERNEL_SIZES)
@pytest.mark.parametrize("name", ["carafe", "sapa", "sapa_gate", "sapa_concat", "encoder_only", "naive", "skip", "a2u"])
def test_every_kernel_size_of_the_contract_builds_and_runs(name, kernel_size):
    if name == "a2u" and kernel_size == 1:
        with pytest.raises(ValueError, match="expected one of 3, 5, 7"):
            build_upsampler(name, 32, kernel_size=kernel_size)
        return
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


def test_upsampler_takes_its_published_defaults():
    sapa, carafe = build_upsampler("sapa", 8), build_upsampler("carafe", 8)
    assert (sapa.kernel_size, sapa.q.out_features) == (5, 32)
    assert (carafe.kernel_size, carafe.channel_compressor.out_channels) == (5, 64)
    assert build_upsampler("a2u", 32).kernel_size == 3
