"""Gate and entropy of upsamplers whose kernels are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("matplotlib", reason="the extra 'report' is not installed")

from fade_deploy.ops.registry import UPSAMPLERS, build_upsampler
from fade_deploy.report.content import Gallery, Note
from fade_deploy.report.upsamplers import UpsamplerMaps, upsampler_maps, upsampler_section

CHANNELS = 32
ENCODER, DECODER = torch.randn(2, CHANNELS, 8, 12), torch.randn(2, CHANNELS, 4, 6)


class Net(nn.Module):
    """Two places for an upsampler, run in the other order than they are named."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.first = build_upsampler(name, CHANNELS)
        self.second = build_upsampler(name, CHANNELS)

    def forward(self) -> Tensor:
        out: Tensor = self.first(ENCODER, self.second(ENCODER, DECODER)[:, :, ::2, ::2])
        return out


def maps_of(name: str) -> tuple[UpsamplerMaps, ...]:
    torch.manual_seed(0)
    net = Net(name).eval()
    return upsampler_maps(net, net)


def constant(gate: float, logits: dict[int, float]) -> UpsamplerMaps:
    """A FADE with the same gate logit and the same kernel logits everywhere; those that are not given are 0."""
    fade = build_upsampler("fade", CHANNELS).eval()
    with torch.no_grad():
        for parameter in fade.parameters():
            parameter.zero_()
        fade.gate_generator.conv.bias.fill_(gate)
        for tap, logit in logits.items():
            fade.ker_generator.content_encoder.bias[tap] = logit / 2  # it counts twice
    (maps,) = upsampler_maps(fade, lambda: fade(ENCODER, DECODER))
    return maps


def test_equal_logits_have_the_full_entropy_and_a_logit_of_zero_opens_the_gate_halfway() -> None:
    maps = constant(0.0, {})
    assert maps.gate is not None
    assert maps.entropy is not None
    assert maps.gate.shape == (4, 6)
    assert maps.entropy.shape == (8, 12)
    assert np.allclose(maps.gate, 0.5)
    assert np.allclose(maps.entropy, 1.0, atol=1e-6)


def test_one_tap_has_no_entropy_and_two_have_that_of_a_coin() -> None:
    one, two = constant(0.0, {12: 100.0}), constant(0.0, {12: 100.0, 13: 100.0})
    assert one.entropy is not None
    assert two.entropy is not None
    assert np.allclose(one.entropy, 0.0, atol=1e-6)
    assert np.allclose(two.entropy, math.log(2) / math.log(25), atol=1e-6)


def test_a_gate_is_the_sigmoid_of_its_logit() -> None:
    maps = constant(math.log(3), {})
    assert maps.gate is not None
    assert np.allclose(maps.gate, 0.75)


def test_upsamplers_are_told_in_the_order_in_which_they_run() -> None:
    assert [maps.module for maps in maps_of("fade")] == ["second", "first"]


@pytest.mark.parametrize("name", sorted(UPSAMPLERS))
def test_what_each_of_the_family_has_to_show(name: str) -> None:
    for maps in maps_of(name):
        assert (maps.gate is not None) == (name in ("fade", "fade_lite", "fade_scrambled"))
        assert (maps.entropy is not None) == (name not in ("bilinear", "indexnet", "indexnet_context"))
        if maps.entropy is not None:
            assert 0 <= maps.entropy.min() <= maps.entropy.max() <= 1


def test_nothing_stays_on_the_model_even_where_it_fails() -> None:
    net = Net("fade").eval()
    before = net()

    def failing() -> None:
        net()
        raise RuntimeError("after the run")

    with pytest.raises(RuntimeError, match="after the run"):
        upsampler_maps(net, failing)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert torch.equal(net(), before)


def test_the_section_shows_gates_and_entropies_and_names_what_has_neither() -> None:
    blocks = upsampler_section(maps_of("fade"), source="a picture").blocks
    assert [(block.title, len(block.pictures)) for block in blocks if isinstance(block, Gallery)] == [
        ("Gates", 2),
        ("Kernel entropy", 2),
    ]
    (first, second) = upsampler_section(maps_of("indexnet"), source="a picture").blocks
    assert first == Note("second (IndexNet) has neither a gate nor kernels to show.")
    assert second == Note("first (IndexNet) has neither a gate nor kernels to show.")
    (only,) = upsampler_section((), source="a picture").blocks
    assert only == Note("The model has no upsampler modules: it resizes bilinearly.")
