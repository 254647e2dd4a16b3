"""No sequence: one frame, one decision."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from whc.plugins import PluginConfig

if TYPE_CHECKING:
    from whc.models.assemble import Parts

LAYOUT = "still"
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


def build(config: Config, parts: Parts) -> nn.Module:
    """Colour, backbone and head, one after another."""
    del config
    return parts.classifier(frames=1)
