"""Whole models: exact, what is saved, what is said of it."""

from __future__ import annotations

import pytest
import torch

from fade_deploy.models.complexity import count
from fade_deploy.models.fusion.fuse import rewritten
from fade_deploy.models.fusion.replaced import replaced_modules
from fade_deploy.models.mix_transformer import MIT_VARIANTS
from fade_deploy.models.segformer import SegFormer, SegFormerConfig
from fade_deploy.ops.registry import UPSAMPLERS
from fade_deploy.tolerances import tolerance
from tests.golden_weights import matting, segformer

FUSED = ("fade", "fade_lite", "semishift", "bilinear")
# B2 to B5 have one head, of 768 channels, and differ in the number of blocks alone.
LARGE = [("mit_b2", upsampler) for upsampler in FUSED] + [(f"mit_b{i}", "fade") for i in (3, 4, 5)]


@pytest.mark.parametrize(
    ("backbone", "upsampler"),
    [
        *((backbone, upsampler) for backbone in ("mit_b0", "mit_b1") for upsampler in FUSED),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in LARGE),
    ],
)
@torch.no_grad()
def test_a_fused_segformer_is_exact(backbone, upsampler):
    model = segformer(backbone, upsampler, classes=19).double()
    image = torch.randn(2, 3, 61, 32, generator=torch.Generator().manual_seed(0)).double()
    expected = model(image)
    exported, _ = rewritten(model)
    assert float((exported(image) - expected).abs().max() / expected.std()) <= tolerance("FUSION_FP64").atol


def test_what_fade_costs_in_segformer_b1():
    """512x512, without the blend: 18.50 GMACs become 14.51, where the bilinear model has 15.88."""
    _, rewrites = rewritten(segformer("mit_b1", "fade"))
    assert rewrites[0].macs_before == 18_501_353_472
    assert rewrites[-1].macs_after <= 14_510_000_000
    assert [rewrite.macs_after for rewrite in rewrites[:-1]] == [rewrite.macs_before for rewrite in rewrites[1:]]
    exported, rewrites = rewritten(segformer("mit_b1", "bilinear"))
    assert rewrites[0].macs_before == 15_878_062_080
    assert rewrites[-1].macs_after == count(exported, height=512, width=512).macs == 11_583_094_784


def test_what_fade_costs_in_matting():
    _, rewrites = rewritten(matting("fade"))
    assert rewrites[-1].macs_after < rewrites[0].macs_before


def test_the_model_is_left_as_it_is():
    model = segformer("mit_b0", "fade", classes=3)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    exported, _ = rewritten(model)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert {parameter.dtype for parameter in exported.parameters()} == {torch.float32}
    assert not exported.training


def test_not_fusing_leaves_every_module():
    model = segformer("mit_b0", "fade", classes=3)
    exported, rewrites = rewritten(model, fuse=False)
    assert exported is model
    assert rewrites == []
    assert [rewrite.name for rewrite in rewritten(matting("fade"), fuse=False)[1]] == ["activated norms to plain ones"]


@pytest.mark.parametrize("upsampler", sorted(set(UPSAMPLERS) - set(FUSED)))
def test_an_upsampler_without_an_exact_form_stays(upsampler):
    config = SegFormerConfig(backbone=MIT_VARIANTS["mit_b0"], embed_width=32, classes=3, upsampler=upsampler)
    model = SegFormer(config).eval()
    exported, rewrites = rewritten(model, height=64, width=64)
    assert [rewrite.name for rewrite in rewrites] == ["tokens in pixel order"]
    assert type(exported.decode_head) is type(model.decode_head)


def test_upsamplers_of_several_kinds_in_one_head_stay():
    model = segformer("mit_b0", "fade", classes=3)
    model.decode_head.upsamplers[4] = segformer("mit_b0", "semishift", classes=3).decode_head.upsamplers[4]
    exported, _ = rewritten(model, height=64, width=64)
    assert type(exported.decode_head) is type(model.decode_head)


def test_unchanged_weights_are_shared():
    model = segformer("mit_b0", "fade", classes=3)
    exported, _ = rewritten(model, height=64, width=64)
    assert exported.backbone.block1[0].attn.q.weight is model.backbone.block1[0].attn.q.weight


@pytest.mark.parametrize("upsampler", ["fade", "fade_lite", "semishift", "bilinear", "matting"])
def test_what_a_fused_module_replaces_is_in_the_users_model(upsampler):
    model = matting("fade") if upsampler == "matting" else segformer("mit_b0", upsampler, classes=3)
    exported, _ = rewritten(model, height=64, width=64)
    modules = dict(model.named_modules())
    replaced = replaced_modules(exported)
    new = {name for name, module in exported.named_modules() if list(module.parameters(recurse=False))} - set(modules)
    assert new
    assert new <= set(replaced)  # nothing new without a note
    if upsampler != "matting":
        assert "decode_head.linear_fuse" in replaced["decode_head"]  # what the head computes outside its layers, too
    assert {name for names in replaced.values() for name in names} <= set(modules)
    gone = set(modules) - set(dict(exported.named_modules()))
    covered = {name for names in replaced.values() for name in names}
    assert all(any(f"{name}.".startswith(f"{whole}.") for whole in covered) for name in gone if name.count(".") > 1)
