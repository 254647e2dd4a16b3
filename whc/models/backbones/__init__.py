"""Backbones: one file each. A file defines `Config` and `build(config, channels, width, depth) -> Backbone`.

`width` and `depth` are the channels of the first block and the number of blocks, as `block_plan` lays them out where a
backbone has no plan of its own.
"""

from __future__ import annotations

from collections.abc import Iterator

from torch import Tensor, nn


class Backbone(nn.Module):
    """Stem and blocks: (N, channels, H, W) to (N, out_channels, h, w)."""

    def __init__(self, stem: nn.Sequential, blocks: nn.Sequential, out_channels: int) -> None:
        super().__init__()
        self.stem = stem
        self.features = blocks
        self.out_channels = out_channels

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.features(self.stem(images))
        return features


def block_plan(width: int, depth: int) -> Iterator[tuple[int, int, int]]:
    """(channels in, channels out, stride) of each block.

    Block i has stride 2 when i is even and i > 0, else 1; a stride-2 block doubles the channels, starting at `width`.
    """
    channels = width
    for i in range(depth):
        stride = 2 if i > 0 and i % 2 == 0 else 1
        yield channels, channels * stride, stride
        channels *= stride
