"""A2U matting against the golden data, its norms against their formula, and its sizes."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from fade_deploy.errors import ExportError
from fade_deploy.models.a2u_matting import A2UMatting, A2UMattingConfig
from fade_deploy.models.abn import ABN, folded
from fade_deploy.ops.registry import UPSAMPLERS
from fade_deploy.tolerances import tolerance
from tests.golden import recipe
from tests.golden_weights import GOLDEN

TINY = {"widths": (32, 32, 32, 64), "blocks": (1, 1, 1), "last_width": 4}  # A2U has 32 groups of channels
# Output name of the golden data -> the module whose output it is. `l10` and `l20` leave theirs second.
STAGES = {
    "layer0": "layer0", "layer1": "layer1", "layer2_2": "layer2_2", "layer3_2": "layer3_2", "dconv_pp": "dconv_pp",
    **{f"up{i}": f"decoder_layer{i}.up" for i in range(1, 5)},
    **{f"decoder_layer{i}": f"decoder_layer{i}" for i in range(1, 5)},
}  # fmt: skip


@pytest.mark.parametrize("upsampler", ["fade", "fade_lite", "bilinear"])
@torch.no_grad()
def test_every_stage_agrees_with_the_golden_data(upsampler):
    case = f"a2u_{upsampler}_128x160"
    manifest = recipe.load_manifest(GOLDEN / f"{case}.json")
    weights, inputs = recipe.make_state_dict(manifest), recipe.make_input(manifest)
    assert recipe.digest(weights) == manifest["weights_sha256"], "the recipe drifted: the golden data says nothing"
    assert recipe.digest(inputs) == manifest["inputs_sha256"], "the recipe drifted: the golden data says nothing"
    model = A2UMatting(A2UMattingConfig(upsampler=upsampler)).eval()
    model.load_state_dict({k: torch.from_numpy(v) for k, v in weights.items()}, strict=True)

    given: dict[str, torch.Tensor] = {}
    for name, module in STAGES.items():
        model.get_submodule(module).register_forward_hook(lambda _m, _i, out, name=name: given.update({name: out}))
    for name, module in (("l10", model.layer2_1), ("l20", model.layer3_1)):
        module.register_forward_hook(lambda _m, _i, out, name=name: given.update({name: out[1]}))
    given["alpha"] = model(torch.from_numpy(inputs["x"]))

    bound = tolerance("GOLDEN_FP32")
    slices = {entry["name"]: entry["slices"] for entry in manifest["outputs"]}
    with np.load(GOLDEN / f"{case}.npz") as expected:
        assert set(expected.files) == set(given)
        for name, tensor in given.items():
            np.testing.assert_allclose(
                recipe.take(tensor.numpy(), slices[name]), expected[name], atol=bound.atol, rtol=0, err_msg=name
            )


def test_the_released_model_has_the_published_size():
    bilinear = A2UMatting(A2UMattingConfig())
    fade = A2UMatting(A2UMattingConfig(upsampler="fade"))
    sizes = [sum(parameter.numel() for parameter in model.parameters()) for model in (bilinear, fade)]
    assert sizes == [8049003, 8049003 + 124008]
    assert (len(bilinear.state_dict()), len(fade.state_dict())) == (349, 377)


@pytest.mark.parametrize("activation", [True, False])
@torch.no_grad()
def test_a_norm_takes_the_absolute_weight(activation):
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 5, 3, 4))
    mean, bias = generator.standard_normal((2, 5))
    variance = generator.uniform(0.5, 2, 5)
    weight = np.array([-1.5, -1e-7, 0.0, 0.3, 2.0])  # signs of every kind
    norm = ABN(5, activation=activation).double().eval()
    norm.load_state_dict(
        {"weight": torch.tensor(weight), "bias": torch.tensor(bias), "running_mean": torch.tensor(mean),
         "running_var": torch.tensor(variance), "num_batches_tracked": torch.tensor(0)}
    )  # fmt: skip
    expected = np.empty_like(x)
    for index in np.ndindex(x.shape):
        c = index[1]
        y = (x[index] - mean[c]) / np.sqrt(variance[c] + 1e-5) * (abs(weight[c]) + 1e-5) + bias[c]
        expected[index] = y if y > 0 or not activation else 0.01 * y
    for module in (norm, folded(torch.nn.Sequential(norm))):
        np.testing.assert_allclose(module(torch.from_numpy(x)).numpy(), expected, atol=tolerance("NUMPY_FP64").atol)


@torch.no_grad()
def test_folding_leaves_a_plain_norm_and_the_original_alone():
    torch.manual_seed(0)
    model = A2UMatting(A2UMattingConfig(**TINY, upsampler="fade")).double().eval()
    for module in model.modules():
        if isinstance(module, ABN):
            torch.nn.init.normal_(module.weight)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    copy = folded(model)
    x = torch.randn(1, 4, 32, 48, dtype=torch.float64)
    torch.testing.assert_close(copy(x), model(x), rtol=0, atol=tolerance("NUMPY_FP64").atol)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    changed = {key for key, value in copy.state_dict().items() if not torch.equal(value, before[key])}
    norms = r"(.*bn\d?|layer0\.1|short\d\.1|pred\.0\.1|dconv_pp\..*\.\d)\.weight"
    assert changed
    assert all(re.fullmatch(norms, key) for key in changed)


@pytest.mark.parametrize("upsampler", sorted({*UPSAMPLERS, "bilinear"}))
def test_every_upsampler_fits_the_slots_and_learns(upsampler):
    model = A2UMatting(A2UMattingConfig(**TINY, upsampler=upsampler))
    alpha = model(torch.randn(2, 4, 32, 48))
    assert alpha.shape == (2, 1, 32, 48)
    alpha.square().sum().backward()
    unused = r".*\.bconv_DP\.1\.(weight|bias)"  # A2U's downsampling kernels: in the weights, not in this use
    for name, parameter in model.named_parameters():
        assert re.fullmatch(unused, name) or parameter.grad is not None, name
        assert parameter.grad is None or bool(parameter.grad.isfinite().all()), name


@pytest.mark.parametrize(
    ("height", "width", "legal"), [(16, 16, None), (32, 80, None), (24, 32, "32x32"), (0, 16, "16x16")]
)
def test_sizes(height, width, legal):
    model = A2UMatting(A2UMattingConfig(**TINY))
    if legal is None:
        model.check_size(height, width)
    else:
        with pytest.raises(ExportError, match=f"nearest larger size is {legal}"):
            model.check_size(height, width)
