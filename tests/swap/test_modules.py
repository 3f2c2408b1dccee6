"""Public upsamplers in a user's model, swapped for ours: golden outputs, and stand-ins that unfold."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from fade_deploy.errors import InputError
from fade_deploy.swap.modules import swap_upsamplers
from fade_deploy.tolerances import tolerance
from tests.golden import recipe
from tests.golden_weights import GOLDEN
from tests.swap import published_upsamplers as published

# Golden case -> constructor of the channels, inputs in the order of the call, outputs in the order of the return.
GOLDEN_CASES = {
    "op_carafe": (lambda c: published.CARAFEPack(c), ["de"], ["out"]),
    "op_fade_l2h": (published.FADE, ["en", "de"], ["out"]),
    "op_fade_lite": (published.FADELite, ["en", "de"], ["out"]),
    "op_semishift": (published.SemiShiftUp, ["en", "de"], ["out"]),
    "op_fade_h2l_square": (published.HighToLowFADE, ["en", "de"], ["out"]),
    "op_fade_h2l_scrambled": (published.PlainHighToLowFADE, ["en", "de"], ["out"]),
    "op_indexnet_m2o": (published.DepthwiseM2OIndexBlock, ["en"], ["idx_en", "idx_de"]),
    "op_indexnet_m2o_nc": (lambda c: published.DepthwiseM2OIndexBlock(c, True, True), ["en"], ["idx_en", "idx_de"]),
    "op_a2u": (published.InterChannelUpDown, ["en"], ["mask_down", "mask_up"]),
    "op_sapa": (lambda c: published.SAPA(c, embedding_dim=32), ["en", "de"], ["out"]),
}


def in_a_model(module: nn.Module) -> nn.Module:
    """A user's network with the module at ``neck.ups.0``."""
    neck = nn.Module()
    neck.ups = nn.ModuleList([module])
    model = nn.Module()
    model.neck = neck
    return model


def outputs(result) -> tuple[torch.Tensor, ...]:
    return (result,) if isinstance(result, torch.Tensor) else result


@pytest.mark.parametrize("case", GOLDEN_CASES)
@torch.no_grad()
def test_swapped_module_gives_the_golden_outputs(case):
    build, inputs, names = GOLDEN_CASES[case]
    manifest = recipe.load_manifest(GOLDEN / f"{case}.json")
    original = build(manifest["config"]["C"]).eval()
    original.load_state_dict({key: torch.from_numpy(v) for key, v in recipe.make_state_dict(manifest).items()})
    model = in_a_model(original)
    (swapped,) = swap_upsamplers(model)
    assert (swapped.name, swapped.compared) == ("neck.ups.0", True)
    given = outputs(model.neck.ups[0](*(torch.from_numpy(recipe.make_input(manifest)[name]) for name in inputs)))
    slices = {entry["name"]: entry["slices"] for entry in manifest["outputs"]}
    with np.load(GOLDEN / f"{case}.npz") as expected:
        for name, tensor in zip(names, given, strict=True):
            array = recipe.take(tensor.numpy(), slices[name])
            np.testing.assert_allclose(array, expected[name], atol=tolerance("GOLDEN_FP32").atol, rtol=0)


# Forms without golden data; the stand-in itself is the oracle.
OTHER_FORMS = {
    "pack, two groups, K = 3, scale 4": (lambda: published.CARAFEPack(6, 4, 3, 2), "x"),
    "pack, dilated encoder, scale 1": (lambda: published.CARAFEPack(6, 1, 5, 1, encoder_dilation=2), "x"),
    "yolo": (lambda: published.YoloCARAFE(6), "x"),
    "yolo, K = 3, scale 4": (lambda: published.YoloCARAFE(6, 1, 3, 8, 4), "x"),
    "semi-shift of other encoder channels": (lambda: published.SemiShiftUp(5, 6), "en=5"),
    "fade, K = 3": (lambda: published.FADE(6, up_kernel_size=3), "en de"),
    "one-to-one index block": (lambda: published.DepthwiseO2OIndexBlock(6, True, True), "en"),
    "linear one-to-one index block": (lambda: published.DepthwiseO2OIndexBlock(6), "en"),
    "holistic index block": (lambda: published.HolisticIndexBlock(6), "en"),
    "sapa, K = 3, without biases": (lambda: published.SAPA(6, up_kernel_size=3, qkv_bias=False), "en de"),
    "sapa, linear": (lambda: published.SAPAExp(6), "en de"),
    "sapa, concatenated": (lambda: published.SAPAExp(6, "cat"), "en de"),
    "sapa, gated": (lambda: published.SAPAExp(6, "gate", qkv_bias=False), "en de"),
}


@pytest.mark.parametrize("name", OTHER_FORMS)
@torch.no_grad()
def test_swapped_module_computes_what_it_computed(name, monkeypatch):
    torch.manual_seed(0)
    build, call = OTHER_FORMS[name]
    model = in_a_model(build().double().eval())
    shapes = {"x": [(2, 6, 5, 7)], "en": [(2, 6, 10, 14)], "en de": [(2, 6, 10, 14), (2, 6, 5, 7)]}
    shapes["en=5"] = [(2, 5, 10, 14), (2, 6, 5, 7)]
    inputs = [torch.randn(shape, dtype=torch.float64) for shape in shapes[call]]
    with monkeypatch.context() as patch:
        patch.setattr(published, "carafe", published.unfolded)
        expected = outputs(model.neck.ups[0](*inputs))
    before = model.state_dict()
    assert [swapped.compared for swapped in swap_upsamplers(model)] == [True]
    assert model.state_dict().keys() == before.keys()
    for given, wanted in zip(outputs(model.neck.ups[0](*inputs)), expected, strict=True):
        np.testing.assert_allclose(given.numpy(), wanted.numpy(), atol=tolerance("NUMPY_FP64").atol * 100, rtol=0)


@pytest.mark.parametrize("build", [published.CARAFE, published.CARAFENaive])
def test_a_module_that_takes_its_masks_keeps_doing_so(build):
    model = in_a_model(build(3, 2, 2))
    (swapped,) = swap_upsamplers(model)
    features, masks = torch.randn(1, 4, 3, 5), torch.randn(1, 18, 6, 10)
    given = model.neck.ups[0](features=features, masks=masks)
    expected = published.unfolded(features, masks, 3, 2, 2)
    np.testing.assert_allclose(given.numpy(), expected.numpy(), atol=tolerance("OPERATOR_FP32").atol, rtol=0)
    assert swapped.old == f"tests.swap.published_upsamplers.{build.__name__}"


def test_the_plain_reassembly_keeps_taking_its_kernel_size_with_the_call():
    model = in_a_model(published.PlainCARAFE())
    swap_upsamplers(model)
    features, masks = torch.randn(1, 4, 3, 5), torch.randn(1, 25, 6, 10)
    np.testing.assert_allclose(
        model.neck.ups[0](features, masks).numpy(),
        published.unfolded(features, masks, 5, 1, 2).numpy(),
        atol=tolerance("OPERATOR_FP32").atol,
    )


@pytest.mark.parametrize(
    ("build", "names"),
    [(published.FADE, ("en", "de")), (published.HighToLowFADE, ("en", "de")), (published.SAPA, ("y", "x"))],
)
def test_the_names_of_the_call_are_kept(build, names):
    model = in_a_model(build(6))
    swap_upsamplers(model)
    features = dict(zip(names, (torch.rand(1, 6, 4, 6), torch.rand(1, 6, 2, 3)), strict=True))
    assert model.neck.ups[0](**features).shape == (1, 6, 4, 6)


def test_tensors_stay_the_same_objects_with_all_their_properties():
    original = published.FADE(6).half().train()
    original.ker_generator.compressor_en.weight.requires_grad_(False)
    model = in_a_model(original)
    before = dict(model.named_parameters())
    swap_upsamplers(model)
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[key] is before[key] for key in before)
    assert all(module.training for module in model.neck.ups[0].modules())
    assert not model.neck.ups[0].ker_generator.compressor_en.weight.requires_grad


def test_a_trial_leaves_running_statistics_and_the_random_state_alone():
    model = in_a_model(published.YoloCARAFE(6).train())
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    swap_upsamplers(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_a_frozen_norm_inside_a_training_module_stays_frozen():
    original = published.YoloCARAFE(6).train()
    original.comp[1].eval()
    model = in_a_model(original)
    swap_upsamplers(model)
    assert model.neck.ups[0].training
    assert not model.neck.ups[0].comp[1].training


def test_a_shared_module_stays_shared_and_a_second_call_finds_nothing():
    shared = published.CARAFEPack(4)
    model = nn.ModuleDict({"a": shared, "b": nn.Sequential(shared, published.CARAFEPack(4))})
    assert [swapped.name for swapped in swap_upsamplers(model)] == ["a", "b.0", "b.1"]
    assert model["a"] is model["b"][0] is not model["b"][1]
    assert swap_upsamplers(model) == ()


# What is wrong -> (module, a part of the message)
REFUSED = {
    "another class of that name": (
        lambda: named("FADE", nn.Sequential(nn.Conv2d(1, 1, 1))),
        "it lacks gate_generator.conv.bias, .* and 4 more, has besides 0.bias, 0.weight",
    ),
    "another shape": (lambda: reshaped(published.FADE(6)), r"content_encoder.weight' has shape \[25, 64, 1, 1\]"),
    "K outside the contract": (lambda: published.CARAFEPack(4, up_kernel=9), "kernel_size is 9, expected"),
    "scale outside the contract": (lambda: published.CARAFE(5, 1, 3), "scale is 3, expected"),
    "scale of FADE": (lambda: published.FADE(6, scale=4), "'scale' is 4, expected 2"),
    "channels that do not blend": (lambda: published.FADE(5, 6), "5 encoder channels with 6 decoder channels"),
    "attributes that contradict": (lambda: changed(published.CARAFEPack(4), up_kernel=3), "100 outputs, expected 36"),
    "unshared A2U": (lambda: published.InterChannelUpDown(32, share=False), r"has shape \[32, 32, 1, 1\]"),
    "another function": (lambda: bilinear(published.FADE(6)), "computes something else"),
    "a hook": (lambda: hooked(published.CARAFEPack(4)), "carries hooks"),
    "no result": (lambda: computing(published.FADE(6), lambda en, de: None), "it returns NoneType, expected a tensor"),
    "a dict": (lambda: computing(published.CARAFE(3, 1, 2), lambda x, masks: {"out": x}), "it returns dict, expected"),
    "a tuple of one": (lambda: in_a_tuple(published.SAPA(6)), "computes something else"),
    "groups that do not divide": (lambda: published.CARAFEPack(4, up_group=3), "its up_group is 3, expected a divisor"),
    "a call outside the contract": (
        lambda: computing(published.CARAFE(3, 1, 2), lambda x, masks: published.carafe(x, masks, 3, 1, 3)),
        r"carafe\(kernel_size=3, group=1, scale=3\): scale is 3, expected",
    ),
    "index maps of six sub-pixels": (lambda: six_outputs(published.HolisticIndexBlock(6)), "has 6 outputs, expected 4"),
    "ours failing": (
        lambda: computing(padded(published.DepthwiseM2OIndexBlock(6)), lambda x: (x, x)),
        "it runs, and what would replace it does not: stack expects",
    ),
    "keys of two functions": (lambda: not_runnable(published.HighToLowFADE(6)), "two public files"),
}


def named(name, module):
    return published.named(name)(type(name, (type(module),), {}))(*module.children())


def reshaped(module):
    module.ker_generator.content_encoder = nn.Conv2d(64, 25, 1)
    return module


def changed(module, **attributes):
    vars(module).update(attributes)
    return module


def bilinear(module):
    module.ker_generator.mode = "bilinear"
    return module


def hooked(module):
    module.channel_compressor.register_forward_hook(print)
    return module


def computing(module, function):
    """The module with another forward, its class under the same name."""
    return derived(module, lambda self, *args: function(*args))


def in_a_tuple(module):
    forward = type(module).forward
    return derived(module, lambda self, *args: (forward(self, *args),))


def derived(module, forward):
    module.__class__ = type(type(module).__name__, (type(module),), {"forward": forward})
    return module


def six_outputs(module):
    module.indexnet = nn.Conv2d(6, 6, 2, stride=2, bias=False)
    return module


def padded(module):
    module.indexnet1[0].padding = 1, 1
    return module


def not_runnable(module):
    return module.to("meta")


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused_in_one_line_and_nothing_is_swapped(name):
    build, message = REFUSED[name]
    model = nn.ModuleDict({"fine": published.CARAFEPack(4), "odd": build()})
    before = dict(model.named_modules())
    with pytest.raises(InputError, match=message) as caught:
        swap_upsamplers(model)
    assert str(caught.value).startswith("odd: ")
    assert "skip=('odd',)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert dict(model.named_modules()) == before
    (swapped,) = swap_upsamplers(model, skip=["odd"])
    assert swapped.name == "fine"
    assert model["odd"] is before["odd"]


def test_what_is_no_module_is_refused_in_one_line():
    with pytest.raises(InputError, match=r"^the model is a NoneType, expected a torch\.nn\.Module$"):
        swap_upsamplers(None)


def test_a_model_that_is_itself_an_upsampler_is_refused_with_the_remedy():
    with pytest.raises(InputError, match=r"torch.nn.Sequential\(model\)"):
        swap_upsamplers(published.CARAFEPack(4))


def test_a_name_to_skip_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"skip names neck\.up, expected"):
        swap_upsamplers(in_a_model(published.CARAFEPack(4)), skip=["neck.up"])


def test_a_module_that_can_not_run_is_taken_by_its_name_and_parameters(monkeypatch):
    torch.manual_seed(0)
    model = in_a_model(published.SAPAExp(6, "gate").double())
    inputs = torch.randn(1, 6, 6, 8, dtype=torch.float64), torch.randn(1, 6, 3, 4, dtype=torch.float64)
    expected = model.neck.ups[0](*inputs)
    monkeypatch.setattr(published, "sim", published.carafe)  # SAPA's extension raises without a GPU too
    (swapped,) = swap_upsamplers(model)
    assert not swapped.compared
    bound = tolerance("NUMPY_FP64").atol * 100
    np.testing.assert_allclose(model.neck.ups[0](*inputs).detach(), expected.detach(), atol=bound, rtol=0)
