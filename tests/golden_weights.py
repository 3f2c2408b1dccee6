"""Golden weights for any model of ours: the recipe of ``tests/golden`` applied to the model's own keys and shapes."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from fade_deploy.models.a2u_matting import A2UMatting, A2UMattingConfig
from fade_deploy.models.mix_transformer import MIT_VARIANTS
from fade_deploy.models.segformer import SegFormer, SegFormerConfig
from tests.golden import recipe

GOLDEN = Path(__file__).parent / "golden"


def kind_of(key: str, manifest: dict) -> str:
    """The entry of the manifest's ``kinds`` for a key; B0's keys name the kind of every block's twin."""
    twin = re.sub(r"(block\d)\.\d+\.", r"\1.0.", key)
    kinds = {name: kind for name, _, _, kind in manifest["state_dict"]}
    return kinds.get(key) or kinds[twin]


def golden_state_dict(model: torch.nn.Module, case: str) -> dict[str, torch.Tensor]:
    """Weights for ``model`` with the values that the recipe gives to its keys and shapes, of the kinds of ``case``."""
    manifest = recipe.load_manifest(GOLDEN / f"{case}.json")
    return {
        key: torch.from_numpy(
            recipe.make_tensor(
                key, tuple(value.shape), str(value.numpy().dtype), manifest["kinds"][kind_of(key, manifest)]
            )
        )
        for key, value in model.state_dict().items()
    }


def segformer(backbone: str, upsampler: str, classes: int = 150) -> SegFormer:
    """A whole SegFormer of the released sizes, with golden weights."""
    width = 256 if backbone in ("mit_b0", "mit_b1") else 768
    config = SegFormerConfig(backbone=MIT_VARIANTS[backbone], embed_width=width, classes=classes, upsampler=upsampler)
    model = SegFormer(config).eval()
    case = f"seg_b0_{upsampler}_128x160"
    model.load_state_dict(golden_state_dict(model, case))
    return model


def matting(upsampler: str) -> A2UMatting:
    """A whole A2U matting network of the released size, with golden weights."""
    model = A2UMatting(A2UMattingConfig(upsampler=upsampler)).eval()
    model.load_state_dict(golden_state_dict(model, f"a2u_{upsampler}_128x160"))
    return model
