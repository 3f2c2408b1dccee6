"""Counted costs: hand-worked layers, and the published formulas of every upsampler in plain integers."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy.models.compared import a2u_matting, cost_of_model, cost_of_operator, segformer_b1
from fade_deploy.models.complexity import count, count_call
from fade_deploy.ops.registry import BILINEAR, build_upsampler

# --- what is counted -------------------------------------------------------------------------------------------------


class Layers(nn.Module):
    """Every kind of layer once; inputs [N, 3, 8, 12]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 10, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(10)
        self.depthwise = nn.Conv2d(10, 10, 5, padding=2, groups=10)
        self.linear = nn.Linear(10, 7)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.depthwise(self.norm(self.conv(x)))) * 0.5
        return self.linear(y.flatten(2).transpose(1, 2)).softmax(-1)


def test_layers_cost_what_a_pencil_says():
    cost = count(Layers(), height=8, width=12)
    pixels = 4 * 6
    assert cost.macs == pixels * (10 * 3 * 9 + 10 * 25 + 10 * 7)
    assert (cost.blend_macs, cost.pooled_macs) == (0, 0)
    assert cost.parameters == (10 * 3 * 9 + 10) + 2 * 10 + (10 * 25 + 10) + (10 * 7 + 7)
    assert (cost.height, cost.width) == (8, 12)


class ShiftedProducts(nn.Module):
    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        return (queries * keys).sum(1)


class MatrixProduct(nn.Module):
    def forward(self, queries: Tensor, keys: Tensor) -> Tensor:
        return torch.einsum("nchw,nchw->nhw", queries, keys)


@pytest.mark.parametrize("module", [ShiftedProducts(), MatrixProduct()], ids=lambda module: type(module).__name__)
def test_an_inner_product_costs_the_same_however_it_is_written(module):
    cost = count_call(module, (2, 5, 3, 4), (2, 5, 3, 4))
    assert (cost.macs, cost.blend_macs) == (2 * 5 * 3 * 4, 0)


class Blend(nn.Module):
    def forward(self, a: Tensor, gate: Tensor) -> Tensor:
        return 2 * a * gate + a * (1 - gate)


def test_products_that_nothing_sums_are_a_blend():
    cost = count_call(Blend(), (1, 5, 3, 4), (1, 1, 3, 4))
    assert (cost.macs, cost.blend_macs) == (0, 2 * 5 * 3 * 4)  # a factor of one number is no feature


class PooledBranch(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.pixel = nn.Conv2d(4, 6, 1), nn.Conv2d(4, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pixel(x) + self.image(F.adaptive_avg_pool2d(x, 2)).mean((2, 3), keepdim=True)


def test_what_does_not_grow_with_the_image_is_told_apart():
    small, large = (count(PooledBranch(), height=side, width=side, channels=4) for side in (8, 16))
    assert small.pooled_macs == large.pooled_macs == 4 * 6 * 4
    assert [cost.macs - cost.pooled_macs for cost in (small, large)] == [64 * 24, 256 * 24]


def test_counting_copies_no_weight_and_leaves_the_model_as_it_is(monkeypatch):
    model = Layers().train()
    state = copy.deepcopy(model.state_dict())

    def refuse(*_):
        raise AssertionError("a weight is being copied")

    monkeypatch.setattr(torch.Tensor, "__deepcopy__", refuse)
    monkeypatch.setattr(nn.Parameter, "__deepcopy__", refuse)
    count(model, height=8, width=12)
    assert model.training
    assert all(parameter.requires_grad and parameter.device.type == "cpu" for parameter in model.parameters())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


# --- the formulas ----------------------------------------------------------------------------------------------------

# Of a slot of c channels, per output pixel (hi) and input pixel (lo), with the blend: FADE's papers and code, d = 64,
# K = 5; A2U's K = 3; SAPA's embedding 32.
FORMULAS = {
    "carafe": lambda c, hi, lo: lo * (64 * c + 64 * 9 * 100) + hi * 25 * c,
    "indexnet": lambda c, hi, lo: lo * 16 * c * c + hi * c,
    "indexnet_context": lambda c, hi, lo: lo * 4 * (16 * c * c + c * c) + hi * c,
    "a2u": lambda c, hi, lo: lo * (73 * c + 36) + hi * 9 * c,
    "fade": lambda c, hi, lo: hi * (64 * c + 14400 + 25 * c + 2 * c) + lo * (64 * c + 14400 + c),
    "fade_lite": lambda c, hi, lo: hi * (25 * c + 225 + 25 * c + 2 * c) + lo * (25 * c + 225 + c),
    "sapa": lambda c, hi, lo: hi * (32 * c + 800 + 25 * c) + lo * 32 * c,
    "semishift": lambda c, hi, lo: hi * (64 * c + 14400 + 25 * c) + lo * (64 * c + 14400),
    "skip": lambda c, hi, lo: hi * (64 * c + 14400 + 25 * c) + lo * (64 * c + 14400),
    "encoder_only": lambda c, hi, lo: hi * (64 * c + 14400 + 25 * c),
    "naive": lambda c, hi, lo: hi * (64 * 2 * c + 14400 + 25 * c),
    "sapa_gate": lambda c, hi, lo: hi * (32 * c + 800 + 25 * c + 32) + lo * (2 * 32 * c + c + 32),
    "sapa_concat": lambda c, hi, lo: hi * (32 * c + 800 + 25 * c) + lo * 2 * 32 * c,
}
BLENDS = {"indexnet": 1, "indexnet_context": 1, "fade": 2, "fade_lite": 2}  # per output value
SIZES = [(512, 512), (96, 160)]
# (channels, stride of its output) of each slot.
SEGFORMER_SLOTS = [(256, 16), (256, 8), (256, 4), (256, 8), (256, 4), (256, 4)]
MATTING_SLOTS = [(256, 8), (128, 4), (64, 2), (64, 1)]


counted = functools.cache(cost_of_model)  # each base serves six upsamplers


def growing(cost):
    return cost.macs - cost.pooled_macs


@pytest.mark.parametrize(("height", "width"), [(112, 112), (6, 10)])
@pytest.mark.parametrize("upsampler", FORMULAS)
def test_single_operators_follow_the_formulas(upsampler, height, width):
    cost = cost_of_operator(upsampler, height=height, width=width)
    hi = height * width
    assert growing(cost) + cost.blend_macs == FORMULAS[upsampler](256, hi, hi // 4)
    if upsampler != "sapa_gate":
        assert cost.blend_macs == BLENDS.get(upsampler, 0) * 256 * hi
    if upsampler == "a2u":  # two 6x6 kernels and one vector of 36 for each image
        assert cost.pooled_macs == 3 * 36 * 256


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("upsampler", ["carafe", "indexnet", "a2u", "fade", "fade_lite", "sapa"])
@pytest.mark.parametrize(
    ("build", "slots"), [(segformer_b1, SEGFORMER_SLOTS), (a2u_matting, MATTING_SLOTS)], ids=["segformer", "matting"]
)
def test_upsamplers_in_networks_add_the_sum_of_their_slots(build, slots, upsampler, height, width):
    base, cost = (counted(build, name, height=height, width=width) for name in (BILINEAR, upsampler))
    expected = 0
    for channels, stride in slots:
        hi = height * width // stride**2
        expected += FORMULAS[upsampler](channels, hi, hi // 4)
    assert base.blend_macs == 0
    assert growing(cost) - growing(base) + cost.blend_macs == expected


def test_hidden_channels_are_a_multiple_of_each_slots_own():
    plain, wide = (cost_of_model(a2u_matting, "indexnet_context", height=32, width=32, inner=k) for k in (0, 2))
    hidden = sum(4 * (16 * C * C + C * C + 2 * C) for C, _ in MATTING_SLOTS)  # weights and BatchNorm of C hidden ones
    assert wide.parameters - plain.parameters == hidden


def test_parameters_can_be_left_out_by_name():
    whole = sum(parameter.numel() for parameter in build_upsampler("a2u", 256).parameters())
    cost = cost_of_operator("a2u", height=8, width=8, without=[".bnu.", ".bconv_DP."])
    assert cost.parameters == whole - 2 * 256 - (36 * 256 + 36)
