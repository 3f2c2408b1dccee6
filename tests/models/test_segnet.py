"""SegNet: max-unpooling against loops, the wiring of the slots, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fade_deploy.errors import ExportError, RecipeError
from fade_deploy.models.segnet import MaxUnpool, SegNet, SegNetConfig
from fade_deploy.ops.registry import UPSAMPLERS

TINY = {"inputs": 2, "outputs": 3, "widths": (4, 6), "convs": (2, 2)}


def tiny(upsampler: str) -> SegNet:
    torch.manual_seed(0)
    return SegNet(SegNetConfig(**TINY, upsampler=upsampler)).eval()


def test_unpooling_puts_values_where_the_windows_maxima_are_the_first_of_equals():
    encoder = torch.tensor([[1.0, 5.0, 0.0, 0.0], [2.0, 3.0, 0.0, 0.0], [7.0, 7.0, -4.0, -3.0], [1.0, 0.0, -2.0, -1.0]])
    decoder = torch.tensor([[10.0, 20.0], [30.0, 40.0]])
    expected = [[0.0, 10.0, 20.0, 0.0], [0.0, 0.0, 0.0, 0.0], [30.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 40.0]]
    assert MaxUnpool()(encoder[None, None], decoder[None, None])[0, 0].tolist() == expected


def test_unpooling_agrees_with_loops():
    rng = np.random.default_rng(0)
    encoder, decoder = rng.standard_normal((2, 3, 6, 10)), rng.standard_normal((2, 3, 3, 5))
    expected = np.zeros_like(encoder)
    for n, c, y, x in np.ndindex(decoder.shape):
        window = encoder[n, c, 2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
        i, j = np.unravel_index(window.argmax(), (2, 2))
        expected[n, c, 2 * y + i, 2 * x + j] = decoder[n, c, y, x]
    np.testing.assert_array_equal(MaxUnpool()(torch.from_numpy(encoder), torch.from_numpy(decoder)), expected)


@torch.no_grad()
def test_unpool_form_is_convolutions_and_torchs_own_pooling_and_unpooling_in_the_papers_order():
    model = tiny("unpool")
    convs = iter([m for m in model.modules() if isinstance(m, torch.nn.Conv2d)])
    norms = iter([m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)])
    for norm in (m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)

    def layer(x):
        return F.relu(next(norms)(next(convs)(x)))

    image = torch.randn(2, 2, 8, 12)
    fine = layer(layer(image))
    pooled, fine_places = F.max_pool2d(fine, 2, return_indices=True)
    coarse = layer(layer(pooled))
    pooled, coarse_places = F.max_pool2d(coarse, 2, return_indices=True)
    # The decoder's stages are listed finest first, as the encoder's.
    finest = [next(convs), next(norms), next(convs)]
    x = layer(layer(F.max_unpool2d(pooled, coarse_places, 2)))
    x = F.max_unpool2d(x, fine_places, 2)
    x = finest[2](F.relu(finest[1](finest[0](x))))
    assert next(convs, None) is None
    torch.testing.assert_close(model(image), x, rtol=0, atol=0)


@torch.no_grad()
def test_each_slot_is_given_the_feature_before_the_pooling_and_the_feature_to_be_doubled_coarsest_first():
    model = tiny("fade")
    given, features, stages = [], [], []
    for upsampler in model.upsamplers:
        upsampler.register_forward_hook(lambda _m, inputs, out: given.append((*inputs, out)))
    for stage in model.encoder:
        stage.register_forward_hook(lambda _m, _i, out: features.append(out.clone()))
    for stage in model.decoder:
        stage.register_forward_hook(lambda _m, inputs, out: stages.append((inputs[0].clone(), out)))
    out = model(torch.randn(1, 2, 8, 12))

    (coarse_en, coarse_de, coarse_up), (fine_en, fine_de, fine_up) = given
    assert torch.equal(coarse_en, features[1])
    assert torch.equal(coarse_de, F.max_pool2d(features[1], 2))
    assert torch.equal(stages[0][0], coarse_up)
    assert torch.equal(fine_en, features[0])
    assert torch.equal(fine_de, stages[0][1])
    assert torch.equal(stages[1][0], fine_up)
    assert torch.equal(stages[1][1], out)


@pytest.mark.parametrize("upsampler", ["unpool", *UPSAMPLERS])
@torch.no_grad()
def test_every_upsampler_fits_the_slots(upsampler):
    if upsampler == "a2u":  # it normalises in 32 groups of channels
        model = SegNet(SegNetConfig(outputs=3, widths=(32, 32), convs=(1, 1), upsampler=upsampler)).eval()
    else:
        model = SegNet(SegNetConfig(outputs=3, widths=(4, 6), convs=(1, 1), upsampler=upsampler)).eval()
    assert model(torch.randn(2, 3, 24, 16)).shape == (2, 3, 24, 16)


def test_the_defaults_are_the_convolutions_of_vgg16_with_batchnorm():
    with torch.device("meta"):
        encoder = SegNet(SegNetConfig(outputs=21)).encoder
    # VGG16's 13 convolutions have 14,714,688 parameters; their BatchNorm adds two for each of 4224 channels.
    assert sum(p.numel() for p in encoder.parameters()) == 14_714_688 + 2 * 4224


def test_one_seed_gives_the_same_encoder_and_decoder_whatever_the_upsampler():
    one, other = tiny("carafe"), tiny("unpool")
    for part in ("encoder", "decoder"):
        weights = getattr(one, part).state_dict()
        assert all(torch.equal(weights[key], value) for key, value in getattr(other, part).state_dict().items())


def test_the_upsamplers_own_choices_are_passed_on():
    model = SegNet(SegNetConfig(**TINY, upsampler="semishift", kernel_size=3, compressed=7))
    assert {tuple(up.ker_generator.content_encoder.weight.shape) for up in model.upsamplers} == {(9, 7, 3, 3)}
    with pytest.raises(RecipeError, match="'nearest' is unknown"):
        tiny("nearest")


@pytest.mark.parametrize("size", [(4, 4), (8, 12), (6, 8), (8, 10), (2, 4), (5, 5), (1, 7)], ids=str)
@pytest.mark.parametrize("upsampler", ["unpool", "fade"])
@torch.no_grad()
def test_check_size_accepts_exactly_what_the_network_can_process(upsampler, size):
    model = tiny(upsampler)
    try:
        works = model(torch.randn(1, 2, *size)).shape[2:] == size
    except (RuntimeError, ValueError):
        works = False
    if works:
        model.check_size(*size)
    else:
        with pytest.raises(
            ExportError, match=rf"{size[0]}x{size[1]} does not fit.* multiples of 4; .*is (4|8)x(4|8|12)$"
        ):
            model.check_size(*size)
