"""Swapped upsamplers that no model of ours has become one file of free sizes, equal to PyTorch in ONNX Runtime."""

from __future__ import annotations

import onnx
import torch
from torch import nn

from fade_deploy.api.export.module import export_module
from fade_deploy.swap.carafe import carafe_replaced
from fade_deploy.swap.modules import swap_upsamplers
from tests.swap import published_upsamplers as published


class Network(nn.Module):
    """Groups, index maps, A2U's two kinds of masks, given masks, and the function at scale 1."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, padding=1)
        self.halve = nn.Conv2d(32, 32, 2, stride=2)
        self.pack = published.CARAFEPack(32, up_kernel=3, up_group=2)
        self.index = published.DepthwiseO2OIndexBlock(32, True, True)
        self.affinity = published.InterChannelUpDown(32)
        self.reassemble = published.CARAFE(3, 1, 2)

    def forward(self, image):
        high = self.stem(image)
        low = self.halve(high)
        down, up = self.affinity(high)
        filtered = high - published.carafe(high, up, 3, 1, 1)
        return torch.cat([self.pack(low), self.reassemble(low, up), *self.index(high), filtered], 1), down


def test_a_network_with_swapped_upsamplers_exports_and_agrees(tmp_path):
    torch.manual_seed(0)
    model = Network().eval()
    assert len(swap_upsamplers(model)) == 4
    with carafe_replaced(model):
        result = export_module(
            model,
            {"image": torch.rand(1, 3, 16, 24)},
            tmp_path / "network.onnx",
            outputs=("up", "down"),
            dynamic_axes={"image": {0: "batch", 2: "height", 3: "width"}},
            multiples={"height": 4, "width": 4},
        )
    assert result.passed, result.agreements
    nodes = [node.op_type for node in onnx.load(result.path).graph.node if node.domain == "fade"]
    assert sorted(nodes) == ["FadeReassemble_k3_s1_g1", "FadeReassemble_k3_s2_g1", "FadeReassemble_k3_s2_g2"]
