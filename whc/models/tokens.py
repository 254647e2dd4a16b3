"""A feature map as a small grid of tokens, for heads that mix information between places."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BeforeValidator, Field, PlainSerializer
from torch import Tensor, nn

from whc.errors import shown
from whc.plugins import PluginConfig


def _parse_grid(value: object) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d?)x([1-9]\d?)", str(value))
    if not match:
        raise ValueError(f"must be ROWSxCOLUMNS, each within 1 and 99, got {shown(value)}; write 2x3")
    return int(match[1]), int(match[2])


def _dump_grid(grid: tuple[int, int]) -> str:
    return "{}x{}".format(*grid)


Grid = Annotated[tuple[int, int], BeforeValidator(_parse_grid), PlainSerializer(_dump_grid)]


class TokenConfig(PluginConfig):
    """`grid`: rows x columns of tokens, which must divide the feature map; `layers`: how often they are mixed."""

    grid: Grid = (2, 3)
    layers: int = Field(2, ge=1, le=16)


class TokenHead(nn.Module):
    """Average-pool to tokens, mix them, mean over them, normalise, one linear layer.

    (N, channels, h, w) to (N, outputs); `mixer` maps (N, tokens, channels) to the same shape.
    """

    def __init__(
        self,
        mixer: nn.Module,
        channels: int,
        feature_size: tuple[int, int],
        grid: tuple[int, int],
        dropout: float,
        outputs: int,
    ) -> None:
        super().__init__()
        kernel = pooling_kernel(feature_size, grid)
        self.pool = nn.Identity() if kernel == (1, 1) else nn.AvgPool2d(kernel)
        self.mixer = mixer
        self.final_norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(channels, outputs)

    def forward(self, features: Tensor) -> Tensor:
        tokens = self.mixer(self.pool(features).flatten(2).transpose(1, 2))
        logits: Tensor = self.fc(self.dropout(self.final_norm(tokens.mean(1))))
        return logits


def pooling_kernel(feature_size: tuple[int, int], grid: tuple[int, int]) -> tuple[int, int]:
    """Height and width of the part of a feature map that becomes one token.

    Raises:
        ValueError: the grid does not divide the feature map; the message lists the grids that do.
    """
    if any(side % parts for side, parts in zip(feature_size, grid, strict=True)):
        rows, columns = (
            ", ".join(str(parts) for parts in range(1, side + 1) if side % parts == 0) for side in feature_size
        )
        raise ValueError(
            f"grid must divide the feature map of {feature_size[0]}x{feature_size[1]}, got {_dump_grid(grid)}; "
            f"rows that fit: {rows}, columns: {columns}"
        )
    return feature_size[0] // grid[0], feature_size[1] // grid[1]
