"""Mean over space, then one linear layer."""

from __future__ import annotations

from torch import Tensor, nn

from whc.plugins import PluginConfig

GIVES = "numbers"


class Config(PluginConfig):
    """No parameters of its own."""


class _Avg(nn.Module):
    def __init__(self, channels: int, dropout: float, outputs: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.BatchNorm1d(channels), nn.Dropout(dropout), nn.Linear(channels, outputs))

    def forward(self, features: Tensor) -> Tensor:
        logits: Tensor = self.layers(features.mean((2, 3)))
        return logits


def build(config: Config, channels: int, feature_size: tuple[int, int], dropout: float, outputs: int) -> nn.Module:
    """Fits any feature map."""
    del config, feature_size
    return _Avg(channels, dropout, outputs)
