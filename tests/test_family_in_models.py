"""Every upsampler in the slots of both models: recognised from its weights, exported, verified, run by OpenVINO."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from fade_deploy.api.export.export import export
from fade_deploy.api.export.options import ExportOptions
from fade_deploy.models.a2u_matting import A2UMatting, A2UMattingConfig
from fade_deploy.models.mix_transformer import MixTransformerConfig
from fade_deploy.models.segformer import SegFormer, SegFormerConfig
from fade_deploy.ops.registry import UPSAMPLERS
from fade_deploy.recipe import Shape
from tests.in_openvino import openvino_agrees

BACKBONE = MixTransformerConfig(widths=(8, 16, 20, 32), depths=(1, 1, 1, 1), heads=(1, 2, 5, 8))
STATED = {"heads": [1, 2, 5, 8], "block_norm_eps": 1e-6, "embed_norm_eps": 1e-5}
SHARE_NAMES = {"skip": {"upsampler": "skip"}, "fade_scrambled": {"high_to_low": "scrambled"}}
# The rows of the papers' tables, exported with dynamic sizes; the others, whose modules tests/graph exports so, are
# exported in SegFormer at one fixed size: six slots of symbolic shapes take half a minute each.
PAPERS = ("bilinear", "carafe", "indexnet", "indexnet_context", "a2u", "sapa", "fade", "fade_lite")
WIDTH = 64  # A2U norms 32 groups of channels, and one pixel of one channel is no group


def exported(model: nn.Module, folder: Path, facts: dict, shape: Shape | None = None) -> dict:
    for module in model.modules():  # as after training: norms that do something
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
    torch.save({"meta": {"fade_deploy": facts}, "state_dict": model.state_dict()}, folder / "model.pth")
    result = export(folder / "model.pth", folder / "model.onnx", ExportOptions(full_verification=False, shape=shape))
    assert result.passed, result.agreements
    return json.loads((folder / "model.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("upsampler", UPSAMPLERS)
def test_in_segformer(upsampler: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = SegFormer(SegFormerConfig(backbone=BACKBONE, embed_width=WIDTH, classes=4, upsampler=upsampler))
    shape = None if upsampler in PAPERS else Shape(2, 64, 96)
    manifest = exported(model, tmp_path, {**STATED, **SHARE_NAMES.get(upsampler, {})}, shape)
    assert (manifest["model"], manifest["upsampler"]) == ("SegFormer", upsampler)
    openvino_agrees(tmp_path / "model.onnx", *([shape] if shape else [Shape(1, 64, 64), Shape(2, 96, 128)]))


@pytest.mark.slow
@pytest.mark.parametrize("upsampler", PAPERS)
def test_in_matting(upsampler: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = A2UMattingConfig(widths=(32, 32, 32, 64), blocks=(1, 1, 1), last_width=8, upsampler=upsampler)
    manifest = exported(A2UMatting(config), tmp_path, SHARE_NAMES.get(upsampler, {}))
    assert (manifest["model"], manifest["upsampler"]) == ("A2U matting", upsampler)
    openvino_agrees(tmp_path / "model.onnx", Shape(1, 64, 64), Shape(2, 96, 128))
