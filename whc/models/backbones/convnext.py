"""ConvNeXt blocks: 7x7 depthwise, LayerNorm, inverted bottleneck of linears (Liu et al. 2022)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from whc.models.backbones import Backbone, block_plan
from whc.plugins import PluginConfig


class Config(PluginConfig):
    """No parameters of its own."""


def _decomposed_gelu(x: Tensor) -> Tensor:
    """`gelu` written out in the order of operations that ONNX Runtime recognises, and fuses into one."""
    return x * (torch.erf(x / math.sqrt(2)) + 1) * 0.5


class _ChannelNorm(nn.Module):
    """LayerNorm over the channels of (N, C, H, W)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class _WidthChange(nn.Module):
    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.op = nn.Sequential(_ChannelNorm(channels), nn.Conv2d(channels, out_channels, stride, stride))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x)
        return out


class _ConvNextBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = _ChannelNorm(channels)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma: nn.Parameter | None = nn.Parameter(torch.full((channels,), 1e-6))
        self.activation: Callable[[Tensor], Tensor] = gelu

    def fold(self) -> None:
        """Merge the layer scale into the linear layer before it: both are linear."""
        self.activation = _decomposed_gelu
        if self.gamma is not None:
            with torch.no_grad():
                self.pwconv2.weight.mul_(self.gamma[:, None])
                self.pwconv2.bias.mul_(self.gamma)
        self.gamma = None

    def forward(self, x: Tensor) -> Tensor:
        # One permutation to channels-last serves the norm and both linear layers.
        mixed = self.norm.norm(self.dwconv(x).permute(0, 2, 3, 1))
        # Each pixel is a row: this exports as one Gemm with a bias; four dimensions would export as MatMul and Add.
        out: Tensor = self.pwconv2(self.activation(self.pwconv1(mixed.flatten(0, 2)))).view(mixed.shape)
        if self.gamma is not None:
            out = self.gamma * out
        return x + out.permute(0, 3, 1, 2)


def _stage(channels: int, out_channels: int, stride: int) -> nn.Sequential:
    if stride == 1 and channels == out_channels:
        return nn.Sequential(_ConvNextBlock(out_channels))
    return nn.Sequential(_WidthChange(channels, out_channels, stride), _ConvNextBlock(out_channels))


def build(config: Config, channels: int, width: int, depth: int) -> Backbone:
    """Stem 4x4 stride 4, then `depth` blocks."""
    del config
    stem = nn.Sequential(nn.Conv2d(channels, width, 4, 4), _ChannelNorm(width))
    plan = list(block_plan(width, depth))
    return Backbone(stem, nn.Sequential(*(_stage(*step) for step in plan)), plan[-1][1])
