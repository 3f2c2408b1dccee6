"""Stand-ins for the public upsampler classes: their names, keys, attributes and calls, written from REFERENCE's facts.

Plain and slow: unfold, loops over images. ``carafe`` raises, as mmcv's compiled function does without a GPU; where a
test needs results, :func:`unfolded` computes them.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn


def carafe(features, masks, kernel_size, group_size, scale_factor):
    raise RuntimeError("carafe_forward_impl: implementation for device cpu not found")


def windows(x, kernel_size):
    """[N, C, H, W] -> [N, C, K*K, H, W], zeros outside."""
    n, c, h, w = x.shape
    return F.unfold(x, kernel_size, padding=kernel_size // 2).view(n, c, -1, h, w)


def unfolded(features, masks, kernel_size, group_size, scale_factor):
    """CARAFE's function by unfolding."""
    n, c = features.shape[:2]
    seen = windows(features, kernel_size).repeat_interleave(scale_factor, 3).repeat_interleave(scale_factor, 4)
    kernels = masks.view(n, group_size, -1, *masks.shape[2:]).repeat_interleave(c // group_size, 1)
    return (seen * kernels).sum(2)


def named(name):
    """Give a class the public name that another class of this file bears too."""

    def rename(cls):
        cls.__name__ = cls.__qualname__ = name
        return cls

    return rename


# --- mmcv ---------------------------------------------------------------------------------------------------


class CARAFE(nn.Module):
    def __init__(self, kernel_size, group_size, scale_factor):
        super().__init__()
        self.kernel_size, self.group_size, self.scale_factor = kernel_size, group_size, scale_factor

    def forward(self, features, masks):
        return carafe(features, masks, self.kernel_size, self.group_size, self.scale_factor)


class CARAFENaive(CARAFE):
    pass


class CARAFEPack(nn.Module):
    def __init__(self, channels, scale_factor=2, up_kernel=5, up_group=1, encoder_dilation=1, compressed_channels=64):
        super().__init__()
        self.scale_factor, self.up_kernel, self.up_group = scale_factor, up_kernel, up_group
        outputs = up_group * (up_kernel * scale_factor) ** 2
        self.channel_compressor = nn.Conv2d(channels, compressed_channels, 1)
        self.content_encoder = nn.Conv2d(
            compressed_channels, outputs, 3, padding=encoder_dilation, dilation=encoder_dilation
        )

    def forward(self, x):
        masks = F.pixel_shuffle(self.content_encoder(self.channel_compressor(x)), self.scale_factor)
        n, _, h, w = masks.shape
        masks = masks.view(n, self.up_group, -1, h, w).softmax(2).view(n, -1, h, w)
        return carafe(x, masks, self.up_kernel, self.up_group, self.scale_factor)


# --- YOLO repositories --------------------------------------------------------------------------------------


@named("CARAFE")
class YoloCARAFE(nn.Module):
    def __init__(self, channels, k_enc=3, k_up=5, c_mid=16, scale=2):
        super().__init__()
        self.scale = scale
        self.comp = nn.Sequential(nn.Conv2d(channels, c_mid, 1, bias=False), nn.BatchNorm2d(c_mid), nn.SiLU())
        outputs = (scale * k_up) ** 2
        self.enc = nn.Sequential(nn.Conv2d(c_mid, outputs, k_enc, padding=k_enc // 2), nn.BatchNorm2d(outputs))
        self.pix_shf = nn.PixelShuffle(scale)
        self.upsmp = nn.Upsample(scale_factor=scale, mode="nearest")
        self.unfold = nn.Unfold(kernel_size=k_up, dilation=scale, padding=k_up // 2 * scale)

    def forward(self, x):
        weights = self.pix_shf(self.enc(self.comp(x))).softmax(1)
        n, _, h, w = weights.shape
        seen = self.unfold(self.upsmp(x)).view(n, x.shape[1], -1, h, w)
        return (seen * weights.unsqueeze(1)).sum(2)


# --- FADE ---------------------------------------------------------------------------------------------------


class GateGenerator(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, 1)

    def forward(self, x):
        return torch.sigmoid(F.interpolate(self.conv(x), scale_factor=2))


class SemiShift(nn.Module):
    mode = "nearest"

    def __init__(self, channels_en, channels_de, taps, width, groups=1):
        super().__init__()
        self.compressor_en = nn.Conv2d(channels_en, width, 1)
        self.compressor_de = nn.Conv2d(channels_de, width, 1, bias=False)
        self.content_encoder = nn.Conv2d(width, taps, 3, padding=1, groups=groups)

    def forward(self, en, de):
        low = self.content_encoder(self.compressor_de(de))
        return self.content_encoder(self.compressor_en(en)) + F.interpolate(low, scale_factor=2, mode=self.mode)


class SemiShiftUp(nn.Module):
    def __init__(self, in_channels_en, in_channels_de=None, scale=2, up_kernel_size=5):
        super().__init__()
        self.scale, self.up_kernel_size = scale, up_kernel_size
        self.ker_generator = SemiShift(in_channels_en, in_channels_de or in_channels_en, up_kernel_size**2, 64)

    def forward(self, en, de):
        return carafe(de, self.ker_generator(en, de).softmax(1), self.up_kernel_size, 1, self.scale)


class FADE(SemiShiftUp):
    def __init__(self, in_channels_en, in_channels_de=None, scale=2, up_kernel_size=5):
        super().__init__(in_channels_en, in_channels_de, scale, up_kernel_size)
        self.gate_generator = GateGenerator(in_channels_de or in_channels_en)

    def forward(self, en, de):
        gate = self.gate_generator(de)
        return gate * en + (1 - gate) * super().forward(en, de)


class FADELite(FADE):
    def __init__(self, in_channels_en, in_channels_de=None, scale=2, up_kernel_size=5):
        super().__init__(in_channels_en, in_channels_de, scale, up_kernel_size)
        taps = up_kernel_size**2
        self.ker_generator = SemiShift(in_channels_en, in_channels_de or in_channels_en, taps, taps, groups=taps)


class HighToLowSemiShift(nn.Module):
    scrambled = False

    def __init__(self, channels):
        super().__init__()
        self.conv2_kernels = nn.Parameter(torch.randn(25, 64, 3, 3) / 24)
        self.conv2_bias = nn.Parameter(torch.randn(25))
        self.conv1_en = nn.Conv2d(channels, 64, 1)
        self.conv1_de = nn.Conv2d(channels, 64, 1, bias=False)

    def forward(self, en, de):
        n, _, h, w = de.shape
        compressed = self.conv1_en(en)
        shifted = [F.pad(compressed, [1 - dx, dx, 1 - dy, dy]) for dy in (0, 1) for dx in (0, 1)]
        stack = torch.cat(shifted, 1)
        if self.scrambled:
            stack = stack.view(n, 64, 4, 2 * h + 1, 2 * w + 1).transpose(1, 2).reshape(4 * n, 64, 2 * h + 1, -1)
        else:
            stack = stack.view(4 * n, 64, 2 * h + 1, 2 * h + 1)  # the public file's mistake: square images only
        high = F.conv2d(stack, self.conv2_kernels, self.conv2_bias, stride=2).view(n, 4, 25, h, w)
        low = F.conv2d(self.conv1_de(de), self.conv2_kernels, self.conv2_bias, padding=1)
        return F.pixel_shuffle((high + low.unsqueeze(1)).transpose(1, 2).reshape(n, 100, h, w), 2)


class ScrambledSemiShift(HighToLowSemiShift):
    scrambled = True


@named("FADE")
class HighToLowFADE(nn.Module):
    def __init__(self, in_channels_en):
        super().__init__()
        self.scale, self.up_kernel_size = 2, 5
        self.gate_generator = GateGenerator(in_channels_en)
        self.kernel_generator = HighToLowSemiShift(in_channels_en)

    def forward(self, en, de):
        gate = self.gate_generator(de)
        return gate * en + (1 - gate) * carafe(de, self.kernel_generator(en, de).softmax(1), 5, 1, 2)


@named("CARAFE")
class PlainCARAFE(nn.Module):
    def forward(self, x, kernel, kernel_size=5, ratio=2):
        return unfolded(x, kernel, kernel_size, 1, ratio)


@named("FADE")
class PlainHighToLowFADE(HighToLowFADE):
    def __init__(self, in_channels_en):
        super().__init__(in_channels_en)
        self.kernel_generator = ScrambledSemiShift(in_channels_en)
        self.carafe = PlainCARAFE()

    def forward(self, en, de):
        gate = self.gate_generator(de)
        return gate * en + (1 - gate) * self.carafe(de, self.kernel_generator(en, de).softmax(1), 5, 2)


# --- IndexNet -----------------------------------------------------------------------------------------------


def index_branch(inputs, outputs, nonlinear, context, groups):
    size, padding = (4, 1) if context else (2, 0)
    first = nn.Conv2d(inputs, inputs if nonlinear else outputs, size, 2, padding, groups=groups, bias=False)
    if not nonlinear:
        return nn.Sequential(first)
    last = nn.Conv2d(inputs, outputs, 1, groups=groups, bias=False)
    return nn.Sequential(first, nn.BatchNorm2d(inputs), nn.ReLU6(inplace=True), last)


class DepthwiseM2OIndexBlock(nn.Module):
    groups = 1

    def __init__(self, inp, use_nonlinear=False, use_context=False):
        super().__init__()
        for i in range(1, 5):
            self.add_module(f"indexnet{i}", index_branch(inp, inp, use_nonlinear, use_context, self.groups or inp))

    def forward(self, x):
        n, c, h, w = x.shape
        gates = torch.stack([branch(x) for branch in self.children()], 2).sigmoid()
        shares = gates.softmax(2)
        return tuple(F.pixel_shuffle(maps.view(n, 4 * c, h // 2, w // 2), 2) for maps in (shares, gates))


class DepthwiseO2OIndexBlock(DepthwiseM2OIndexBlock):
    groups = None  # one for each channel


class HolisticIndexBlock(nn.Module):
    def __init__(self, inp):
        super().__init__()
        self.indexnet = nn.Conv2d(inp, 4, 2, stride=2, bias=False)

    def forward(self, x):
        gates = self.indexnet(x).sigmoid()
        return F.pixel_shuffle(gates.softmax(1), 2), F.pixel_shuffle(gates, 2)


# --- A2U ----------------------------------------------------------------------------------------------------


class InterChannelUpDown(nn.Module):
    def __init__(self, c, share=True):
        super().__init__()
        self.s, self.k, self.group, self.share = 3, 6, 1, share
        self.bnu = nn.Sequential(nn.GroupNorm(32, c), nn.LeakyReLU())
        self.bnv = nn.Sequential(nn.GroupNorm(32, c), nn.LeakyReLU())
        windows = 1 if share else c
        for name, cells, outputs in (("UP", 1, 36), ("DP", 1, 36), ("U", 6, windows), ("V", 6, windows)):
            pooled = nn.Sequential(nn.AdaptiveAvgPool2d(cells), nn.Conv2d(c, outputs, 1))
            self.add_module(f"bconv_{name}", pooled)

    def forward(self, x):
        up, down = [], []
        for image in x.split(1):
            channels = image.transpose(0, 1)
            u = self.bnu(F.conv2d(channels, self.bconv_U(image), stride=2, padding=2).transpose(0, 1))
            v = self.bnv(F.conv2d(channels, self.bconv_V(image), stride=2, padding=2).transpose(0, 1))
            affinity = (u * v).sum(1, keepdim=True) / math.sqrt(x.shape[1])
            down.append((self.bconv_DP(image) * affinity).softmax(1))
            up.append(F.pixel_shuffle(self.bconv_UP(image) * affinity, 2).sigmoid().softmax(1))
        return torch.cat(down), torch.cat(up)


# --- SAPA ---------------------------------------------------------------------------------------------------


def twice(x):
    """Nearest upsampling of [N, h, w, C]."""
    return x.repeat_interleave(2, 1).repeat_interleave(2, 2)


def sim(q, k, kernel_size):
    """[N, 2h, 2w, d], [N, h, w, d] -> scores [N, K*K, 2h, 2w]; keys outside are zero."""
    keys = windows(k.permute(0, 3, 1, 2), kernel_size).repeat_interleave(2, 3).repeat_interleave(2, 4)
    return (q.permute(0, 3, 1, 2).unsqueeze(2) * keys).sum(1)


class SAPA(nn.Module):
    def __init__(self, dim_y, up_factor=2, up_kernel_size=5, embedding_dim=64, qkv_bias=True):
        super().__init__()
        self.up_factor, self.up_kernel_size, self.embedding_dim = up_factor, up_kernel_size, embedding_dim
        self.norm_y, self.norm_x = nn.LayerNorm(dim_y), nn.LayerNorm(dim_y)
        self.q = nn.Linear(dim_y, embedding_dim, bias=qkv_bias)
        self.k = nn.Linear(dim_y, embedding_dim, bias=qkv_bias)

    def query(self, y, x, normed):
        return self.q(y)

    def forward(self, y, x):
        low = x.permute(0, 2, 3, 1)
        normed = self.norm_x(low)
        q = self.query(self.norm_y(y.permute(0, 2, 3, 1)), low, normed)
        masks = sim(q, self.k(normed), self.up_kernel_size).softmax(1)
        return unfolded(x, masks, self.up_kernel_size, 1, 2)


class SAPAExp(SAPA):
    def __init__(self, dim_y, q_mode="encoder_only", up_kernel_size=5, embedding_dim=64, qkv_bias=True):
        super().__init__(dim_y, 2, up_kernel_size, embedding_dim, qkv_bias)
        self.q_mode = q_mode
        if q_mode == "cat":
            self.q = nn.Linear(2 * dim_y, embedding_dim, bias=qkv_bias)
        elif q_mode == "gate":
            del self.q
            self.qy = nn.Linear(dim_y, embedding_dim, bias=qkv_bias)
            self.qx = nn.Linear(dim_y, embedding_dim, bias=qkv_bias)
            self.gate = nn.Linear(dim_y, 1, bias=qkv_bias)

    def query(self, y, x, normed):
        if self.q_mode == "cat":
            return self.q(torch.cat([y, twice(x)], -1))
        if self.q_mode == "gate":
            gate = twice(self.gate(normed).sigmoid())
            return gate * self.qy(y) + (1 - gate) * self.qx(twice(x))
        return self.q(y)
