"""Recognising models: what shapes tell is read, what they don't tell is stated or refused, never guessed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from fade_deploy.checkpoints.checkpoint import Checkpoint, read_checkpoint
from fade_deploy.checkpoints.recognise import (
    assumptions,
    backbone_of,
    class_names,
    model_from_checkpoint,
    recipe_for,
)
from fade_deploy.checkpoints.recognise_backbone import backbone_name
from fade_deploy.checkpoints.recognise_matting import matting_config
from fade_deploy.checkpoints.recognise_segformer import segformer_config
from fade_deploy.checkpoints.weight_shapes import WeightShapes
from fade_deploy.errors import CheckpointError, RecipeError
from fade_deploy.models.a2u_matting import A2UMatting, A2UMattingConfig
from fade_deploy.models.mix_transformer import MIT_VARIANTS, MixTransformerConfig
from fade_deploy.models.segformer import SegFormer, SegFormerConfig
from fade_deploy.recipe import Recipe, load_recipe

TINY = MixTransformerConfig(
    widths=(16, 32, 40, 64), depths=(1, 2, 1, 1), heads=(1, 2, 5, 8), reductions=(4, 4, 2, 1), mlp_ratios=(2, 4, 3, 4)
)
FACTS: dict[str, Any] = {"heads": (1, 2, 5, 8), "block_norm_eps": 1e-6, "embed_norm_eps": 1e-5}
RECIPE = load_recipe("segformer")
TOLD = replace(RECIPE, name="told", **FACTS)
CONTENT_ENCODER = "ker_generator.content_encoder.weight"


# Upsampler -> what the weights of its published form tell.
PUBLISHED: dict[str, dict[str, int]] = {
    **{
        name: {"kernel_size": 5, "compressed": 64} for name in ("fade", "fade_scrambled", "semishift", "skip", "carafe")
    },
    **{name: {"kernel_size": 5, "compressed": 64} for name in ("encoder_only", "naive")},
    **{name: {"kernel_size": 5, "compressed": 32} for name in ("sapa", "sapa_gate", "sapa_concat")},
    "fade_lite": {"kernel_size": 5},
    "a2u": {"kernel_size": 3},
    "indexnet": {},
    "indexnet_context": {},  # as wide inside as the slot
    "bilinear": {},
}


def tiny(upsampler: str = "fade", **options: Any) -> SegFormerConfig:
    told = {**PUBLISHED[upsampler], **options}
    return SegFormerConfig(backbone=TINY, embed_width=32, classes=4, upsampler=upsampler, **told)


def weights_of(config: SegFormerConfig) -> dict[str, Tensor]:
    torch.manual_seed(0)
    state_dict = SegFormer(config).state_dict()
    return {key: value for key, value in state_dict.items() if not key.endswith("num_batches_tracked")}


def shapes_of(config: SegFormerConfig) -> dict[str, Tensor]:
    """The keys and shapes of a model, without its memory."""
    with torch.device("meta"):
        return weights_of(config)


def checkpoint(weights: dict[str, Tensor], facts: dict[str, Any] | None = None, **options: Any) -> Checkpoint:
    fields: dict[str, Any] = {"classes": (), "palette": (), "container": "plain state dict", "notes": (), **options}
    return Checkpoint(path=Path("given.pth"), sha256="", state_dict=weights, facts=facts or {}, **fields)


def refusal(read: Checkpoint, recipe: Recipe = TOLD, error: type[Exception] = CheckpointError) -> str:
    with pytest.raises(error) as raised:
        model_from_checkpoint(read, recipe)
    text = str(raised.value)
    assert text.isprintable()
    return text


def high_to_low(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names of FADE_H2L.py."""
    names = {
        "ker_generator.compressor_en.": "kernel_generator.conv1_en.",
        "ker_generator.compressor_de.": "kernel_generator.conv1_de.",
        "ker_generator.content_encoder.weight": "kernel_generator.conv2_kernels",
        "ker_generator.content_encoder.bias": "kernel_generator.conv2_bias",
    }
    pattern = re.compile("|".join(map(re.escape, names)))
    return {pattern.sub(lambda match: names[match[0]], key): value for key, value in weights.items()}


# --- read from shapes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MIT_VARIANTS)
def test_each_backbone_of_the_table_needs_no_statement(name: str) -> None:
    config = replace(tiny(), backbone=MIT_VARIANTS[name], embed_width=256, classes=150)
    assert segformer_config(WeightShapes(checkpoint(shapes_of(config))), RECIPE) == config
    assert backbone_name(config.backbone) == name


@pytest.mark.parametrize(
    "config",
    [
        tiny("bilinear"),
        tiny("fade"),
        tiny("fade", kernel_size=3, compressed=16),
        tiny("fade", kernel_size=7),
        tiny("fade", compressed=25),
        tiny("fade_lite"),
        tiny("fade_lite", kernel_size=3),
        tiny("semishift"),
        tiny("semishift", kernel_size=1, compressed=1),
        *(tiny(name) for name in PUBLISHED if name not in ("skip", "fade_scrambled")),  # those need a statement
        tiny("carafe", kernel_size=3, compressed=8),
        tiny("indexnet_context", compressed=64),
        tiny("a2u", kernel_size=5),
        tiny("sapa", compressed=16),
        tiny("naive", kernel_size=7),
        replace(tiny(), classes=1, embed_width=8),
    ],
    ids=lambda config: f"{config.upsampler}-{config.kernel_size}-{config.compressed}-{config.embed_width}",
)
def test_everything_that_shapes_tell_is_read(config: SegFormerConfig) -> None:
    assert segformer_config(WeightShapes(checkpoint(shapes_of(config))), TOLD) == config
    assert backbone_name(config.backbone) == "custom MiT"


def test_an_upsampler_that_shares_its_names_with_another_is_stated() -> None:
    given = shapes_of(tiny("skip"))
    assert segformer_config(WeightShapes(checkpoint(given)), TOLD) == tiny("semishift")
    assert segformer_config(WeightShapes(checkpoint(given, {"upsampler": "skip"})), TOLD) == tiny("skip")
    assert segformer_config(WeightShapes(checkpoint(given)), replace(TOLD, upsampler="skip")) == tiny("skip")
    scrambled = replace(TOLD, upsampler="fade_scrambled")
    read = checkpoint(shapes_of(tiny()))
    assert segformer_config(WeightShapes(read), scrambled) == tiny("fade_scrambled")
    assert "these key names alone would mean the other" in assumptions(SegFormer(tiny("fade_scrambled")), read, TOLD)[0]
    read = checkpoint(high_to_low(shapes_of(tiny())))
    assert assumptions(SegFormer(tiny("fade_scrambled")), read, TOLD) == ()


def test_a_stated_upsampler_that_the_weights_are_not_is_refused() -> None:
    given = shapes_of(tiny("fade"))
    assert "stated to have the upsampler 'carafe'" in refusal(checkpoint(given), replace(TOLD, upsampler="carafe"))
    text = refusal(checkpoint(given, {"upsampler": "fade"}), replace(TOLD, upsampler="carafe"), RecipeError)
    assert "has upsampler = 'carafe', but given.pth says 'fade'" in text
    assert "expected a name" in refusal(checkpoint(given, {"upsampler": 5}))


MATTING = load_recipe("a2u_matting")


def matting_weights(config: A2UMattingConfig) -> dict[str, Tensor]:
    with torch.device("meta"):
        state_dict = A2UMatting(config).state_dict()
    return {key: value for key, value in state_dict.items() if not key.endswith("num_batches_tracked")}


@pytest.mark.parametrize("upsampler", [name for name in PUBLISHED if name not in ("skip", "fade_scrambled")])
def test_a_released_matting_network_needs_no_statement(upsampler: str) -> None:
    read = checkpoint(matting_weights(A2UMattingConfig(upsampler=upsampler)))
    expected = A2UMattingConfig(upsampler=upsampler, **PUBLISHED[upsampler])
    assert matting_config(WeightShapes(read), MATTING) == expected


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("upsampler", PUBLISHED)
def test_every_upsampler_in_matting_is_loaded_and_computes_the_same(upsampler: str) -> None:
    torch.manual_seed(0)
    model = A2UMatting(A2UMattingConfig(widths=(32, 32, 32, 64), blocks=(1, 1, 1), last_width=4, upsampler=upsampler))
    facts = {"skip": {"upsampler": "skip"}, "fade_scrambled": {"high_to_low": "scrambled"}}.get(upsampler, {})
    weights = {key: value for key, value in model.state_dict().items() if not key.endswith("num_batches_tracked")}
    read = checkpoint(weights, facts)
    loaded = model_from_checkpoint(read, recipe_for(read, ""))
    assert loaded.config.upsampler == upsampler
    x = torch.randn(1, 4, 32, 48)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(x), model.eval()(x), rtol=0, atol=0)


def test_the_kernel_size_of_sapa_is_stated_or_as_published_with_a_note() -> None:
    given = checkpoint(shapes_of(tiny("sapa", kernel_size=3)))
    assert segformer_config(WeightShapes(given), TOLD).kernel_size == 5
    model = SegFormer(tiny("sapa"))
    assert "SAPA's weights don't hold the kernel size: taken as published, 5" in assumptions(model, given, TOLD)[0]
    by_recipe = replace(TOLD, kernel_size=3)
    by_fact = replace(given, facts={"kernel_size": 3})
    assert segformer_config(WeightShapes(given), by_recipe).kernel_size == 3
    assert segformer_config(WeightShapes(by_fact), TOLD).kernel_size == 3
    assert assumptions(model, given, by_recipe) == assumptions(model, by_fact, TOLD) == ()
    assert assumptions(SegFormer(tiny("fade")), given, TOLD) == ()
    assert "has kernel_size = 5, but given.pth says 3" in refusal(by_fact, replace(TOLD, kernel_size=5), RecipeError)
    for wrong in (4, "3", (3,), -5):
        assert "kernel_size is stated as" in refusal(replace(given, facts={"kernel_size": wrong}))


def test_another_matting_network_is_read_from_its_shapes() -> None:
    config = A2UMattingConfig(
        widths=(8, 8, 16, 24), blocks=(1, 2, 3), last_width=4, upsampler="fade", kernel_size=3, compressed=8
    )
    read = checkpoint(matting_weights(config))
    assert matting_config(WeightShapes(read), MATTING) == config
    model = model_from_checkpoint(checkpoint(_real(read.state_dict)), recipe_for(read, ""))
    assert backbone_of(model) == "custom ResNet"
    assert backbone_of(A2UMatting(A2UMattingConfig())) == "resnet34"


@pytest.mark.parametrize("stage", ["layer1", "layer2_2", "layer3_2"])
def test_a_matting_network_without_a_whole_stage_is_refused(stage: str) -> None:
    weights = matting_weights(A2UMattingConfig())
    given = {key: value for key, value in weights.items() if not key.startswith(f"{stage}.")}
    assert "save it whole" in refusal(checkpoint(given), MATTING)


def _real(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: torch.zeros(value.shape) for key, value in weights.items()}


def test_a_recipe_for_the_other_task_is_refused() -> None:
    given = checkpoint(matting_weights(A2UMattingConfig()))
    assert "recipe 'told' is for segmentation, but given.pth is a matting model" in refusal(given, TOLD, RecipeError)
    assert "leave --recipe out, give segformer, or start yours" in refusal(
        checkpoint(shapes_of(tiny())), MATTING, RecipeError
    )


@pytest.mark.parametrize(
    ("key", "shape", "text"),
    [
        ("layer1.block1.convs.conv1.weight", (4, 4, 3, 3), "layer0 and layer1 have the widths 8 and 4"),
        ("layer1.block9.convs.conv1.weight", (8, 8, 3, 3), "not numbered from 1 without gaps"),
        (
            "decoder_layer4.up.kernel_gen.bconv_UP.1.weight",
            (4, 24, 1, 1),
            "no model has these shapes (kernel_",
        ),
        ("decoder_layer4.up.kernel_gen.bconv_UP.1.weight", (36, 24, 1, 1), "no model has these shapes ("),
        ("layer2_1.bilinear.conv.weight", (8,), "original A2U matting with learned downsampling"),
        (
            "short0.0.weight",
            (8, 3, 3, 3),
            "1 key is of another shape (short0.0.weight [8, 3, 3, 3], expected [8, 4, 3, 3])",
        ),
        ("pred.9.weight", (1,), "1 key is surplus (pred.9.weight [1])"),
    ],
)
def test_matting_weights_that_do_not_fit_are_refused(key: str, shape: tuple[int, ...], text: str) -> None:
    config = A2UMattingConfig(widths=(8, 8, 16, 24), blocks=(1, 1, 1), last_width=4)
    assert text in refusal(checkpoint({**matting_weights(config), key: torch.empty(shape, device="meta")}), MATTING)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Tiny layers on one thread: with several they wait for each other, for seconds on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("config", [tiny(name) for name in ("bilinear", "fade", "fade_lite", "a2u", "carafe")])
def test_the_loaded_model_computes_what_the_saved_one_did(tmp_path: Path, config: SegFormerConfig) -> None:
    torch.manual_seed(0)
    model = SegFormer(config).eval()
    torch.save({"state_dict": model.state_dict(), "meta": {"fade_deploy": FACTS}}, tmp_path / "a.pth")
    loaded = model_from_checkpoint(read_checkpoint(tmp_path / "a.pth"), RECIPE)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(loaded(image), model(image), rtol=0, atol=0)
    assert not loaded.training
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}


def test_the_model_owns_its_weights() -> None:
    read = checkpoint(weights_of(tiny()), FACTS)
    model = model_from_checkpoint(read, RECIPE)
    before = read.state_dict["decode_head.linear_pred.bias"].clone()
    with torch.no_grad():
        model.decode_head.linear_pred.bias.add_(1)
    assert torch.equal(read.state_dict["decode_head.linear_pred.bias"], before)


# --- what shapes don't tell ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("facts", "recipe"), [(FACTS, RECIPE), ({}, TOLD), (FACTS, TOLD)])
def test_heads_and_eps_come_from_the_facts_or_the_recipe(facts: dict[str, Any], recipe: Recipe) -> None:
    assert segformer_config(WeightShapes(checkpoint(shapes_of(tiny()), facts)), recipe).backbone == TINY


def test_facts_and_recipe_complete_each_other() -> None:
    recipe = replace(RECIPE, block_norm_eps=1e-6, embed_norm_eps=1e-5)
    assert (
        segformer_config(WeightShapes(checkpoint(shapes_of(tiny()), {"heads": (1, 2, 5, 8)})), recipe).backbone == TINY
    )


@pytest.mark.parametrize("left_out", [["heads"], ["block_norm_eps"], ["heads", "embed_norm_eps"], list(FACTS)])
def test_what_nobody_states_is_refused_with_the_remedy(left_out: list[str]) -> None:
    facts = {key: value for key, value in FACTS.items() if key not in left_out}
    text = refusal(checkpoint(shapes_of(tiny()), facts), RECIPE)
    assert f"don't tell {', '.join(left_out)}" in text
    assert 'extends = "segformer"' in text
    assert "--recipe" in text


@pytest.mark.parametrize(
    "changed",
    [
        {"reductions": (4, 4, 2, 1)},
        {"mlp_ratios": (4, 4, 4, 2)},
        {"depths": (2, 2, 2, 3)},
        {"widths": (32, 64, 160, 512)},
    ],
    ids=str,
)
def test_a_backbone_that_is_nearly_one_of_the_table_is_not_taken_for_it(changed: dict[str, Any]) -> None:
    backbone = replace(MIT_VARIANTS["mit_b0"], **changed)
    assert "none of mit_b0" in refusal(checkpoint(shapes_of(replace(tiny(), backbone=backbone))), RECIPE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("heads", (1, 2, 3, 8)),
        ("heads", (1, 2, 5)),
        ("heads", (1, 2, 5, 0)),
        ("heads", (-1, 2, 5, 8)),
        ("heads", (True, 2, 5, 8)),
        ("heads", (1.0, 2, 5, 8)),
        ("heads", "1258"),
        ("heads", 1),
        ("heads", {"a": 1}),
        ("block_norm_eps", "1e-6"),
        ("block_norm_eps", 0.0),
        ("embed_norm_eps", float("nan")),
        ("embed_norm_eps", float("inf")),
        ("embed_norm_eps", -1e-5),
        ("embed_norm_eps", True),
        ("high_to_low", "sideways"),
        ("high_to_low", ("exact",)),
    ],
)
def test_malformed_facts_are_refused_by_name(name: str, value: object) -> None:
    text = refusal(checkpoint(shapes_of(tiny()), {**FACTS, name: value}), RECIPE)
    assert f"meta['fade_deploy']['{name}']" in text


@pytest.mark.parametrize(
    "changed", [{"heads": (1, 2, 3, 8)}, {"heads": (1,)}, {"block_norm_eps": -1.0}, {"embed_norm_eps": float("nan")}]
)
def test_a_recipe_that_does_not_fit_the_weights_is_refused(changed: dict[str, Any]) -> None:
    text = refusal(checkpoint(shapes_of(tiny())), replace(TOLD, **changed), RecipeError)
    assert f"recipe 'told' has {next(iter(changed))}" in text


def test_statements_that_contradict_each_other_are_refused() -> None:
    b0 = SegFormerConfig(backbone=MIT_VARIANTS["mit_b0"], embed_width=32, classes=4)
    text = refusal(checkpoint(shapes_of(b0)), replace(RECIPE, heads=(2, 4, 10, 16)))
    assert "heads is (1, 2, 5, 8) by the B0-B5 table, but stated as (2, 4, 10, 16)" in text
    assert "by the checkpoint" in refusal(checkpoint(shapes_of(tiny()), {**FACTS, "block_norm_eps": 1e-3}), TOLD)


# --- the layout of the kernel generator ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "recipe", "upsampler"),
    [
        ({"high_to_low": "exact"}, "", "fade"),
        ({"high_to_low": "scrambled"}, "", "fade_scrambled"),
        ({}, "exact", "fade"),
        ({}, "scrambled", "fade_scrambled"),
        ({"high_to_low": "scrambled"}, "scrambled", "fade_scrambled"),
    ],
)
@pytest.mark.parametrize("names", ["high-to-low", "low-to-high"])
def test_the_stated_layout_is_built(facts: dict[str, Any], recipe: str, upsampler: str, names: str) -> None:
    weights = weights_of(tiny())
    given = high_to_low(weights) if names == "high-to-low" else weights
    model = model_from_checkpoint(checkpoint(given, facts), replace(TOLD, high_to_low=recipe))
    assert model.config.upsampler == upsampler
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in weights.items())


def test_high_to_low_names_without_a_statement_are_refused() -> None:
    text = refusal(checkpoint(high_to_low(shapes_of(tiny()))))
    assert 'high_to_low = "exact" (the CUDA file) or "scrambled" (the plain PyTorch file)' in text
    assert "--recipe" in text


def test_layouts_that_contradict_each_other_are_refused() -> None:
    read = checkpoint(high_to_low(shapes_of(tiny())), {"high_to_low": "exact"})
    assert "high_to_low" in refusal(read, replace(TOLD, high_to_low="scrambled"), RecipeError)


def test_the_same_weight_under_both_names_is_refused() -> None:
    weights = shapes_of(tiny())
    read = checkpoint({**weights, **high_to_low(weights)}, {"high_to_low": "exact"})
    assert "low-to-high name of the same" in refusal(read)


@pytest.mark.parametrize("config", [tiny("semishift"), tiny("fade_lite"), tiny(compressed=18)])
def test_the_scrambled_layout_of_anything_but_fade_is_refused(config: SegFormerConfig) -> None:
    assert "scrambled" in refusal(checkpoint(shapes_of(config), {"high_to_low": "scrambled"}))


def test_bilinear_has_no_layout() -> None:
    config = tiny("bilinear")
    assert segformer_config(WeightShapes(checkpoint(shapes_of(config), {"high_to_low": "scrambled"})), TOLD) == config


# --- keys that do not fit --------------------------------------------------------------------------------------------


def without(weights: dict[str, Tensor], *keys: str) -> dict[str, Tensor]:
    assert set(keys) <= weights.keys()
    return {key: value for key, value in weights.items() if key not in keys}


def test_missing_surplus_and_misshapen_keys_are_listed_together() -> None:
    weights = without(shapes_of(tiny()), "backbone.norm1.weight", "decode_head.linear_c2.proj.bias")
    weights["decode_head.extra"] = torch.ones(7)
    weights["decode_head.linear_fuse.bn.bias"] = torch.ones(3)
    weights["decode_head.linear_fuse.bn.weight"] = torch.ones(32, dtype=torch.int64)
    text = refusal(checkpoint(weights))
    assert "custom MiT, fade, 4 classes" in text
    assert "2 keys are missing (backbone.norm1.weight [16]; decode_head.linear_c2.proj.bias [32])" in text
    assert "1 key is surplus (decode_head.extra [7])" in text
    assert "1 key is of another shape (decode_head.linear_fuse.bn.bias [3], expected [32])" in text
    assert "1 key is of another type (decode_head.linear_fuse.bn.weight torch.int64, expected torch.float32)" in text
    assert "re-save" in text


def test_of_many_keys_the_first_few_are_listed() -> None:
    weights = {**shapes_of(tiny()), **{f"decode_head.extra{i}": torch.ones(1) for i in range(40)}}
    text = refusal(checkpoint(weights))
    assert "40 keys are surplus (decode_head.extra0 [1]; decode_head.extra1 [1]; decode_head.extra2 [1]; ...)" in text


@pytest.mark.parametrize(
    "key",
    [
        "backbone.patch_embed3.proj.weight",
        "backbone.block2.0.mlp.fc1.weight",
        "decode_head.linear_c1.proj.weight",
        "decode_head.linear_pred.weight",
        f"decode_head.upsamplers.0.{CONTENT_ENCODER}",
        "decode_head.upsamplers.0.ker_generator.compressor_en.weight",
    ],
)
def test_a_missing_key_that_tells_the_architecture_is_named(key: str) -> None:
    assert f"lacks the key '{key}'" in refusal(checkpoint(without(shapes_of(tiny()), key)))


@pytest.mark.parametrize(
    ("key", "shape", "says"),
    [
        ("backbone.patch_embed1.proj.weight", (16,), "expected 4 dimensions"),
        ("backbone.patch_embed1.proj.weight", (0, 3, 7, 7), "expected 4 dimensions"),
        ("backbone.block1.0.mlp.fc1.weight", (33, 16), "not a multiple of the width"),
        ("backbone.block1.0.attn.sr.weight", (16, 16, 2, 3), "another shape"),
        ("backbone.block9.0.norm1.weight", (16,), "surplus"),
        ("backbone.block1.7.norm1.weight", (16,), "not numbered from 0 without gaps"),
        ("backbone.block1.x.norm1.weight", (16,), "not numbered from 0 without gaps"),
        (f"decode_head.upsamplers.0.{CONTENT_ENCODER}", (24, 64, 3, 3), "predict 24 weights per pixel"),
        (f"decode_head.upsamplers.0.{CONTENT_ENCODER}", (16, 64, 3, 3), "predict 16 weights per pixel"),
        (f"decode_head.upsamplers.0.{CONTENT_ENCODER}", (81, 64, 3, 3), "predict 81 weights per pixel"),
        (f"decode_head.upsamplers.3.{CONTENT_ENCODER}", (49, 64, 3, 3), "another shape"),
        ("decode_head.upsamplers.6.gate_generator.conv.bias", (1,), "surplus"),
        ("decode_head.upsamplers.0.channel_compressor.weight", (64, 32, 1, 1), "1 key is surplus"),
    ],
)
def test_shapes_that_no_segformer_has_are_refused(key: str, shape: tuple[int, ...], says: str) -> None:
    assert says in refusal(checkpoint({**shapes_of(tiny()), key: torch.empty(shape)}))


def test_fade_lite_without_a_gate_is_refused() -> None:
    weights = {key: value for key, value in shapes_of(tiny("fade_lite")).items() if "gate_generator" not in key}
    assert "FADE-Lite without a gate is not supported" in refusal(checkpoint(weights))


def test_a_gate_in_some_slots_only_is_refused() -> None:
    weights = without(shapes_of(tiny()), "decode_head.upsamplers.2.gate_generator.conv.weight")
    assert "1 key is missing" in refusal(checkpoint(weights))


# --- weights of something else ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["layer0.0.weight", "bilinear0.conv.weight"], "original A2U matting with learned downsampling"),
        (["decoder_layer4.dconv.dep_sep_conv.conv1.weight"], "A2U matting"),
        (["patch_embed1.proj.weight", "block1.0.norm1.weight", "head.weight"], "a backbone alone"),
        (["backbone.patch_embed1.proj.weight"], "a backbone alone"),
        (["segformer.encoder.block.0.0.layer_norm_1.weight"], "key names of transformers"),
        (["backbone.layers.0.0.projection.weight", "decode_head.conv_seg.weight"], "mmsegmentation's own key names"),
        (["decode_head.upsamplers.0.selector.conv.weight"], "names of the authors' training logs"),
        (["decode_head.upsamplers.0.up.conv1_g.weight"], "names of the authors' training logs"),
        (["decode_head.upsamplers.0.ker_generator.conv.compressor_en.weight"], "names of the authors' training logs"),
        (
            ["fc.weight", "conv\n1.weight", "a", "b"],
            "is no model that we know: it holds fc.weight, 'conv\\n1.weight', a (4 keys)",
        ),
        ([], "is no model that we know: it holds no weights"),
    ],
)
def test_weights_of_something_else_are_called_by_their_name(keys: list[str], says: str) -> None:
    text = refusal(checkpoint({key: torch.ones(1) for key in keys}))
    assert says in text
    assert "expected a SegFormer" in text


# --- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("in_checkpoint", "in_recipe", "expected"),
    [
        (("a", "b"), (), ("a", "b")),
        (("a", "b"), ("c", "d"), ("a", "b")),
        ((), ("c", "d"), ("c", "d")),
        (("a", "b", "c"), ("c", "d"), ("c", "d")),
        ((), (), ("class 0", "class 1")),
    ],
)
def test_class_names_come_from_the_checkpoint_then_the_recipe(
    in_checkpoint: tuple[str, ...], in_recipe: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    assert class_names(checkpoint({}, classes=in_checkpoint), replace(RECIPE, classes=in_recipe), 2) == expected


def test_a_wrong_number_of_class_names_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"names 3 classes, but has 2 outputs.*--recipe"):
        class_names(checkpoint({}, classes=("a", "b", "c")), RECIPE, 2)
    for in_checkpoint in ((), ("a", "b")):  # a list that was stated is never dropped without a word
        with pytest.raises(RecipeError, match=r"names 1 classes, given.pth has 2 outputs"):
            class_names(checkpoint({}, classes=in_checkpoint), replace(RECIPE, classes=("a",)), 2)


def test_the_recipe_is_the_asked_one_then_the_checkpoints_then_segformer(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text('extends = "segformer"\nclasses = ["a"]\n')
    assert recipe_for(checkpoint(shapes_of(tiny())), "") == RECIPE
    assert recipe_for(checkpoint(matting_weights(A2UMattingConfig())), "") == MATTING
    assert recipe_for(checkpoint({}, {"recipe": "segformer"}), "") == RECIPE
    assert recipe_for(checkpoint({}, {"recipe": "none"}), str(own)).classes == ("a",)


@pytest.mark.parametrize("stated", ["none", "/etc/passwd.toml", ("segformer",), 3])
def test_a_checkpoint_can_not_choose_a_file_as_its_recipe(stated: object) -> None:
    with pytest.raises(CheckpointError, match="expected one of a2u_matting, segformer"):
        recipe_for(checkpoint({}, {"recipe": stated}), "")
