"""Inverted residual blocks with squeeze-excite and SiLU (MobileNetV3, Howard et al. 2019)."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import silu

from whc.models.backbones import Backbone, block_plan
from whc.plugins import PluginConfig


class Config(PluginConfig):
    """`expansion`: hidden width over block width; `se_reduction`: hidden over squeezed width (0: no squeeze-excite)."""

    expansion: int = Field(4, ge=1, le=8)
    se_reduction: int = Field(8, ge=0, le=64)


class _ReluSqueezeExcite(nn.Module):
    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        reduced = max(1, channels // reduction)
        self.fc = nn.Sequential(
            nn.Conv2d(channels, reduced, 1), nn.ReLU(inplace=True), nn.Conv2d(reduced, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc(x.mean((2, 3), keepdim=True))
        return x * gate


def _conv(channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(out_channels)]


class _InvertedBlock(nn.Module):
    def __init__(self, config: Config, channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        hidden = channels * config.expansion
        layers: list[nn.Module] = []
        if config.expansion > 1:
            layers += [*_conv(channels, hidden, 1), nn.SiLU(inplace=True)]
        layers += [*_conv(hidden, hidden, 3, stride, hidden), nn.SiLU(inplace=True)]
        if config.se_reduction:
            layers.append(_ReluSqueezeExcite(hidden, config.se_reduction))
        self.block = nn.Sequential(*layers, *_conv(hidden, out_channels, 1))
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return silu(out + x if self.residual else out)


def build(config: Config, channels: int, width: int, depth: int) -> Backbone:
    """Stem of two 3x3 convolutions, the second with stride 2, then `depth` blocks."""
    stem = nn.Sequential(
        *_conv(channels, width, 3), nn.SiLU(inplace=True), *_conv(width, width, 3, 2), nn.SiLU(inplace=True)
    )
    plan = list(block_plan(width, depth))
    return Backbone(stem, nn.Sequential(*(_InvertedBlock(config, *step) for step in plan)), plan[-1][1])
