"""FADE's modules against the golden outputs of the reference code."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fade_deploy.ops.fade import FADE, FADELite, ScrambledFADE, SemiShiftUp, low_to_high_key
from fade_deploy.ops.reassembly import reassemble
from fade_deploy.ops.torch_ops import repeat_nearest
from fade_deploy.tolerances import tolerance
from tests.golden import recipe
from tests.golden_weights import GOLDEN

CASES = {
    "op_fade_l2h": FADE,
    "op_fade_h2l_square": FADE,
    "op_fade_h2l_scrambled": ScrambledFADE,
    "op_fade_lite": FADELite,
    "op_semishift": SemiShiftUp,
}


def load(case: str, build=None):
    """Module with the case's weights, its inputs, and a function that gives the expected array and its slices."""
    manifest = recipe.load_manifest(GOLDEN / f"{case}.json")
    weights, inputs = recipe.make_state_dict(manifest), recipe.make_input(manifest)
    assert recipe.digest(weights) == manifest["weights_sha256"], "the recipe drifted: the golden data says nothing"
    assert recipe.digest(inputs) == manifest["inputs_sha256"], "the recipe drifted: the golden data says nothing"
    module = (build or CASES[case])(manifest["config"]["C"])
    module.load_state_dict({low_to_high_key(key): torch.from_numpy(value) for key, value in weights.items()})
    slices = {entry["name"]: entry["slices"] for entry in manifest["outputs"]}
    with np.load(GOLDEN / f"{case}.npz") as stored:
        expected = {name: stored[name] for name in stored.files}
    return module.eval(), torch.from_numpy(inputs["en"]), torch.from_numpy(inputs["de"]), expected, slices


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_every_stage_agrees_with_the_golden_data(case):
    module, encoder, decoder, expected, slices = load(case)
    logits = module.ker_generator(encoder, decoder)
    kernels = logits.softmax(1)
    given = {"logits": logits, "kernels": kernels, "out": module(encoder, decoder)}
    if "gate" in expected:
        given["gate"] = repeat_nearest(module.gate_generator(decoder).sigmoid(), 2)
    if "pre" in expected:
        given["pre"] = reassemble(decoder, kernels, kernel_size=5, scale=2)
    assert given.keys() == expected.keys()
    bound = tolerance("GOLDEN_FP32")
    for name, array in expected.items():
        np.testing.assert_allclose(recipe.take(given[name].numpy(), slices[name]), array, atol=bound.atol, rtol=0)


@torch.no_grad()
def test_scrambled_is_another_function_of_the_same_weights():
    module, encoder, decoder, expected, _ = load("op_fade_h2l_scrambled", FADE)
    assert np.abs(module(encoder, decoder).numpy() - expected["out"]).max() > 1


@torch.no_grad()
def test_high_to_low_weights_work_at_sizes_where_the_reference_raises():
    module, encoder, decoder, expected, _ = load("op_fade_h2l_square")
    crop = module(encoder[..., :14], decoder[..., :7])  # 12 x 7 -> 24 x 14, not square
    # The window of 5 and the content encoder's 3x3 reach 4 output pixels to the right.
    np.testing.assert_allclose(crop[..., :8].numpy(), expected["out"][..., :8], atol=tolerance("GOLDEN_FP32").atol)


@pytest.mark.parametrize("build", [FADE, FADELite, ScrambledFADE, SemiShiftUp])
def test_any_size_and_kernel_size_trains(build):
    torch.manual_seed(0)
    module = build(6, kernel_size=3)
    encoder, decoder = torch.rand(2, 6, 6, 10), torch.rand(2, 6, 3, 5)
    out = module(encoder, decoder)
    out.square().mean().backward()
    assert out.shape == encoder.shape
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_parameter_counts_are_those_of_the_paper_tables():
    # Formulas of the reference: (C+1) + 64C+64 + 64C + 14400+25 and (C+1) + 25C+25 + 25C + 225+25.
    counts = {
        (build, channels): sum(parameter.numel() for parameter in build(channels).parameters())
        for build, channels in [
            (FADE, 256),
            (FADE, 128),
            (FADE, 64),
            (FADELite, 256),
            (FADELite, 64),
            (SemiShiftUp, 256),
        ]
    }
    assert list(counts.values()) == [47514, 31002, 22746, 13332, 3540, 47257]
