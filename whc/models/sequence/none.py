"""No sequence: one frame, one decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from whc.plugins import PluginConfig

if TYPE_CHECKING:
    from whc.models.assemble import NetworkParts

INPUT_LAYOUT = "still"
UNUSED = ()


class Config(PluginConfig):
    """No parameters of its own."""


def frames(config: Config) -> int:
    """One."""
    del config
    return 1


def input_shape(config: Config, size: tuple[int, int]) -> tuple[int, ...]:
    """(3, H, W)."""
    del config
    return (3, *size)


def build(config: Config, parts: NetworkParts) -> nn.Module:
    """The still-image network."""
    del config
    return parts.still_network(frames=1)
