"""Two networks that fade-deploy has never seen: their upsamplers swapped for ours, and both exported."""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fade_deploy import carafe_replaced, export_module, swap_upsamplers
from fade_deploy.models.segnet import SegNet, SegNetConfig
from fade_deploy.ops.fade import FADE

# --- a U-Net as found in the wild: nothing in it is ours ------------------------------------------------------


def carafe(features: Tensor, masks: Tensor, kernel_size: int, group: int = 1, scale: int = 1) -> Tensor:
    """Everybody's CARAFE without mmcv. It unfolds: K*K times the memory of the upsampled feature."""
    n, c, h, w = features.shape
    seen = F.unfold(features, kernel_size, padding=kernel_size // 2).view(n, -1, h, w)
    seen = F.interpolate(seen, scale_factor=scale).view(n, group, c // group, -1, scale * h, scale * w)
    return (seen * masks.view(n, group, 1, -1, scale * h, scale * w)).sum(3).flatten(1, 2)


class CARAFEPack(nn.Module):
    """Names and attributes are mmcv's: that is how it is recognised."""

    def __init__(self, channels: int, scale_factor: int = 2, up_kernel: int = 5, up_group: int = 1) -> None:
        super().__init__()
        self.scale_factor, self.up_kernel, self.up_group = scale_factor, up_kernel, up_group
        self.channel_compressor = nn.Conv2d(channels, 16, 1)
        self.content_encoder = nn.Conv2d(16, up_group * (up_kernel * scale_factor) ** 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        masks = F.pixel_shuffle(self.content_encoder(self.channel_compressor(x)), self.scale_factor)
        masks = masks.unflatten(1, (self.up_group, -1)).softmax(2).flatten(1, 2)
        return carafe(x, masks, self.up_kernel, self.up_group, self.scale_factor)


class Sharpen(nn.Module):
    """As in FreqFusion: a feature minus its low-pass. It calls the function, so there is no module to swap."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernels = nn.Conv2d(channels, 9, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x - carafe(x, self.kernels(x).softmax(1), kernel_size=3)


class UNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.coarse = nn.Sequential(nn.Conv2d(16, 32, 3, stride=2, padding=1), nn.ReLU())
        self.up = CARAFEPack(32)
        self.sharpen = Sharpen(16)
        self.head = nn.Conv2d(48, 4, 1)

    def forward(self, image: Tensor) -> Tensor:
        fine = self.fine(image)
        return self.head(torch.cat([self.sharpen(fine), self.up(self.coarse(fine))], 1))


# --- what you do with yours -----------------------------------------------------------------------------------


def export_unet() -> None:
    model = UNet().eval()
    image = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        before = model(image)

    for swapped in swap_upsamplers(model):  # modules: in place, with their weights
        print(f"{swapped.name}: {swapped.old} -> {swapped.new}")
    with carafe_replaced(model) as places:  # the function: only inside this block
        print(f"function: {', '.join(places)}")
        with torch.no_grad():
            print(f"largest difference to the network as it was: {(model(image) - before).abs().max():.1e}")
        export(model, image, "unet.onnx")


def export_segnet() -> None:
    # TIP: leave widths and convs out for the published size.
    model = SegNet(SegNetConfig(outputs=4, widths=(16, 32), convs=(1, 1))).eval()
    for i, width in enumerate((32, 16)):  # coarsest first
        print(f"upsamplers.{i}: {type(model.upsamplers[i]).__name__} -> FADE({width})")
        model.upsamplers[i] = FADE(width).eval()
    # Max-unpooling has no weights to take over: here you would train. The export needs none of that.
    export(model, torch.rand(1, 3, 64, 96), "segnet.onnx")


def export(model: nn.Module, image: Tensor, output: str) -> None:
    result = export_module(
        model,
        inputs={"image": image},
        output=output,
        dynamic_axes={"image": {0: "batch", 2: "height", 3: "width"}},
        multiples={"height": 4, "width": 4},  # both networks halve twice or less
    )
    for agreement in result.agreements:
        print(f"  {agreement.shape}, {agreement.candidate}: at most {agreement.max_error:.1e} from PyTorch")
    print("PASSED" if result.passed else "FAILED", result.path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=["unet", "segnet"])
    torch.manual_seed(0)
    {"unet": export_unet, "segnet": export_segnet}[parser.parse_args().network]()
