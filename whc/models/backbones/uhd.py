"""Depthwise-separable blocks without a norm between their convolutions (UHD, Hyodo 2025), as tiny detectors use them.

The map keeps one resolution, `output_stride`; all blocks but the last have the same width. `depth` is 3 in UHD.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from whc.models.backbones import Backbone
from whc.plugins import PluginConfig

Activation = Literal["silu", "relu"]

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU}
SE_REDUCTION = 4


class Config(PluginConfig):
    """What the trunk has beside its blocks.

    `output_stride` is in pixels; blocks halve the map until it is reached. `skip` adds the outputs of all other blocks,
    averaged to the size of the last. `last_se` weighs the channels of the last map by their means: `se` through a
    narrow layer with `se_activation`, `ese` through one layer. `last_width_scale` widens the last block.
    """

    output_stride: Literal[4, 8, 16] = 16
    skip: bool = False
    activation: Activation = "silu"
    last_se: Literal["none", "se", "ese"] = "none"
    se_activation: Activation = "silu"
    last_width_scale: float = Field(1.0, ge=1, le=8)


def separable_block(channels: int, out_channels: int, stride: int, activation: str) -> nn.Sequential:
    """A depthwise 3x3 and a 1x1 convolution, normalised and activated together."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
        nn.Conv2d(channels, out_channels, 1, bias=False),
        nn.BatchNorm2d(out_channels),
        ACTIVATIONS[activation](),
    )


class _ChannelGate(nn.Module):
    """Squeeze and excitation (Hu et al. 2018), or its effective form of one layer (Lee and Park 2020)."""

    def __init__(self, config: Config, channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inner = channels
        if config.last_se == "se":
            inner = max(1, channels // SE_REDUCTION)
            layers = [nn.Conv2d(channels, inner, 1), ACTIVATIONS[config.se_activation]()]
        self.layers = nn.Sequential(*layers, nn.Conv2d(inner, channels, 1), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.layers(x.mean((2, 3), keepdim=True))
        return x * gate


class _Trunk(Backbone):
    """Stem, blocks, skips and gate: (N, channels, H, W) to (N, out_channels, h, w)."""

    def __init__(
        self, stem: nn.Sequential, blocks: nn.Sequential, skips: list[nn.Module], gate: nn.Module, out_channels: int
    ) -> None:
        super().__init__(stem, blocks, out_channels)
        self.skips = nn.ModuleList(skips)
        self.gate = gate

    def forward(self, images: Tensor) -> Tensor:
        maps = [self.stem(images)]
        for block in self.features:
            maps.append(block(maps[-1]))
        last: Tensor = maps[-1]
        for skip, earlier in zip(self.skips, maps[1:-1], strict=False):
            last = last + skip(_pooled(earlier, (last.shape[2], last.shape[3])))
        gated: Tensor = self.gate(last)
        return gated


def _pooled(x: Tensor, size: tuple[int, int]) -> Tensor:
    return x if tuple(x.shape[2:]) == size else adaptive_avg_pool2d(x, size)


def build(config: Config, channels: int, width: int, depth: int) -> Backbone:
    """Stem 3x3 stride 2, then `depth` blocks; too few of them do not reach the output stride."""
    last_width = round(width * config.last_width_scale)
    widths = [width] * depth + [last_width]  # into and out of the blocks
    stem = nn.Sequential(
        nn.Conv2d(channels, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width), ACTIVATIONS[config.activation]()
    )
    blocks, stride = nn.Sequential(), 2
    for i in range(depth):
        step = 2 if stride < config.output_stride else 1
        blocks.append(separable_block(widths[i], widths[i + 1], step, config.activation))
        stride *= step
    is_wider = last_width != width
    skips: list[nn.Module] = [
        nn.Conv2d(width, last_width, 1, bias=False) if is_wider else nn.Identity() for _ in range(depth - 1)
    ]
    gate = nn.Identity() if config.last_se == "none" else _ChannelGate(config, last_width)
    return _Trunk(stem, blocks, skips if config.skip else [], gate, last_width)
