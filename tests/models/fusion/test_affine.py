"""Affine maps against the layers they stand for."""

from __future__ import annotations

import torch
from torch import nn

from fade_deploy.models.fusion.affine import Affine, convolution, folded_norm, stacked
from fade_deploy.tolerances import tolerance

BOUND = tolerance("NUMPY_FP64").atol


def assert_equal(given, expected):
    torch.testing.assert_close(given, expected, atol=BOUND, rtol=0)


def test_composition_by_hand():
    outer = Affine(torch.tensor([[1.0, 2.0]]).double(), torch.tensor([3.0]).double())
    inner = Affine(torch.tensor([[1.0], [10.0]]).double(), torch.tensor([100.0, 1000.0]).double())
    both = outer.after(inner)  # 1*(x + 100) + 2*(10x + 1000) + 3
    assert both.weight.tolist() == [[21]]
    assert both.bias.tolist() == [2103]
    assert both.linear().bias.tolist() == [0]
    assert [column.tolist() for column in outer.columns([1, 1])] == [[[1]], [[2]]]


def test_a_map_is_its_convolution_and_its_linear_layer():
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(3, 4, 1).double(), nn.Linear(3, 4, bias=False).double()
    x = torch.randn(2, 3, 5, 7).double()
    assert_equal(Affine.of(conv).as_convolution()(x), conv(x))
    assert_equal(Affine.of(linear).as_convolution()(x), linear(x.movedim(1, -1)).movedim(-1, 1))
    both = stacked(Affine.of(conv), Affine.of(linear)).as_convolution()(x)
    assert_equal(both, torch.cat([conv(x), linear(x.movedim(1, -1)).movedim(-1, 1)], 1))


def test_a_folded_norm_is_the_norm():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 4, 1, bias=False).double(), nn.BatchNorm2d(4).double().eval()
    for tensor in (norm.weight.data, norm.bias.data, norm.running_mean):
        tensor.normal_()
    norm.running_var.uniform_(0.1, 3)
    x = torch.randn(2, 3, 5, 7).double()
    assert_equal(folded_norm(conv, norm).as_convolution()(x), norm(conv(x)))


def test_float32_weights_are_composed_in_float64():
    assert Affine.of(nn.Linear(3, 4)).weight.dtype == torch.float64


def test_a_convolution_keeps_the_size_and_the_groups():
    layer = convolution(torch.randn(6, 1, 3, 3), torch.zeros(6), groups=6)
    assert layer(torch.randn(1, 6, 4, 5)).shape == (1, 6, 4, 5)
