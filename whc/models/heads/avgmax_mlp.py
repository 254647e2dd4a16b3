"""Mean and maximum over space side by side, then a small multi-layer perceptron."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whc.plugins import PluginConfig

GIVES = "numbers"


class Config(PluginConfig):
    """No parameters of its own."""


class _AvgMaxMlp(nn.Module):
    def __init__(self, channels: int, dropout: float, outputs: int) -> None:
        super().__init__()
        pooled = 2 * channels
        hidden = max(16, pooled // 2)
        self.layers = nn.Sequential(
            nn.BatchNorm1d(pooled),
            nn.Dropout(dropout),
            nn.Linear(pooled, hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(hidden, outputs),
        )

    def forward(self, features: Tensor) -> Tensor:
        # Join the two while they are maps of one pixel: this form exports to faster code than two flat vectors.
        pooled = torch.cat([features.mean((2, 3), keepdim=True), features.amax((2, 3), keepdim=True)], dim=1)
        logits: Tensor = self.layers(pooled.flatten(1))
        return logits


def build(config: Config, channels: int, feature_size: tuple[int, int], dropout: float, outputs: int) -> nn.Module:
    """Fits any feature map."""
    del config, feature_size
    return _AvgMaxMlp(channels, dropout, outputs)
