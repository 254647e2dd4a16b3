"""Depthwise-separable residual blocks with ReLU (MobileNet, Howard et al. 2017)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import relu

from whc.models.backbones import Backbone, block_plan
from whc.plugins import PluginConfig


class Config(PluginConfig):
    """No parameters of its own."""


class _SeparableBlock(nn.Module):
    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(
            nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )
        self.pointwise = nn.Sequential(nn.Conv2d(channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(self.depthwise(x))
        return relu(out + x if self.residual else out)


def build(config: Config, channels: int, width: int, depth: int) -> Backbone:
    """Stem 3x3 stride 2, then `depth` blocks."""
    del config
    stem = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True))
    plan = list(block_plan(width, depth))
    return Backbone(stem, nn.Sequential(*(_SeparableBlock(*step) for step in plan)), plan[-1][1])
