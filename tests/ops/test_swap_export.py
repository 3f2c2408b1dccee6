"""A network with every kind of swapped upsampler becomes one file of free sizes, equal to PyTorch in ONNX Runtime."""

from __future__ import annotations

import onnx
import torch
from torch import nn

from fade_deploy.api.export_module import export_module
from fade_deploy.ops.swap import swap_upsamplers
from fade_deploy.ops.swap_carafe import carafe_replaced
from tests.ops import published_upsamplers as published


class Everything(nn.Module):
    """All upsamplers side by side between one feature and another of half its size."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.halve = nn.Conv2d(32, 32, 2, stride=2)
        self.pack = published.CARAFEPack(32, up_kernel=3, up_group=2)
        self.yolo = published.YoloCARAFE(32)
        self.index = published.DepthwiseO2OIndexBlock(32, True, True)
        self.affinity = published.InterChannelUpDown(32)
        self.reassemble = published.CARAFE(3, 1, 2)
        self.pairs = nn.ModuleList(
            build(32)
            for build in (
                published.FADE,
                published.FADELite,
                published.SemiShiftUp,
                published.PlainHighToLowFADE,
                published.SAPA,
                lambda channels: published.SAPAExp(channels, "cat"),
                lambda channels: published.SAPAExp(channels, "gate"),
            )
        )

    def forward(self, image):
        high = self.stem(image)
        low = self.halve(high)
        shares, gates = self.index(high)
        down, up = self.affinity(high)
        out = [self.pack(low), self.yolo(low), self.reassemble(low, up), shares, gates]
        out += [pair(high, low) for pair in self.pairs]
        out.append(high - published.carafe(high, self.reassemble(up, up), 3, 1, 1))
        return torch.cat(out, 1), down


def test_a_network_with_every_swapped_upsampler_exports_and_agrees(tmp_path):
    torch.manual_seed(0)
    model = Everything().eval()
    assert len(swap_upsamplers(model)) == 12
    with carafe_replaced(model):
        result = export_module(
            model,
            {"image": torch.rand(1, 3, 16, 24)},
            tmp_path / "everything.onnx",
            outputs=("up", "down"),
            dynamic_axes={"image": {0: "batch", 2: "height", 3: "width"}},
            multiples={"height": 2, "width": 2},
        )
    assert result.passed, result.agreements
    nodes = [node.op_type for node in onnx.load(result.path).graph.node if node.domain == "fade"]
    assert sorted(set(nodes)) == [
        "FadeAccumulate",
        "FadeReassemble_k3_s1_g1",
        "FadeReassemble_k3_s2_g1",
        "FadeReassemble_k3_s2_g2",
        "FadeUpsample",
    ]
