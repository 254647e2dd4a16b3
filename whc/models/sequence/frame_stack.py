"""Frames stacked as input channels of the backbone: the cheapest way to see motion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field
from torch import nn

from whc.models.sequence import FramesConfig

if TYPE_CHECKING:
    from whc.models.assemble import NetworkParts

INPUT_LAYOUT = "frame_stack"
UNUSED = ()


class Config(FramesConfig):
    """`frames`: consecutive frames in one input. `differences`: it sees each frame minus the one before."""

    frames: int = Field(4, ge=2, le=64)


def frames(config: Config) -> int:
    """As configured."""
    return config.frames


def input_shape(config: Config, size: tuple[int, int]) -> tuple[int, ...]:
    """(T*3, H, W), oldest frame first."""
    return (3 * config.frames, *size)


def build(config: Config, parts: NetworkParts) -> nn.Module:
    """The still-image network with a wider first convolution."""
    return parts.still_network(config.frames, config.differences)
