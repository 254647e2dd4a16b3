"""Convolutions of stride 2 alone: pictures to tokens (Xiao et al. 2021), for heads that mix them.

A `depth` of 1 is one linear layer over overlapping patches, as UHD's transformer has it.
"""

from __future__ import annotations

from torch import nn

from whc.models.backbones import Backbone
from whc.plugins import PluginConfig


class Config(PluginConfig):
    """No parameters of its own."""


def build(config: Config, channels: int, width: int, depth: int) -> Backbone:
    """`depth` convolutions 3x3 of stride 2 with SiLU between them; no norm. The stem is the first of them."""
    del config
    later = [nn.Sequential(nn.SiLU(), nn.Conv2d(width, width, 3, 2, 1)) for _ in range(depth - 1)]
    stem = nn.Sequential(nn.Conv2d(channels, width, 3, 2, 1))
    return Backbone(stem, nn.Sequential(nn.Identity(), *later), width)
