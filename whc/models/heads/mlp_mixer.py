"""MLP-Mixer over a grid of tokens (Tolstikhin et al. 2021): places are mixed, then channels, by small perceptrons."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import gelu

from whc.models.tokens import TokenConfig, TokenHead

GIVES = "numbers"


class Config(TokenConfig):
    """A grid and a number of layers, nothing else."""


class _MixerLayer(nn.Module):
    """Two residual perceptrons with LayerNorm before them; each has twice as many hidden units as inputs."""

    def __init__(self, tokens: int, channels: int) -> None:
        super().__init__()
        self.norm_tokens = nn.LayerNorm(channels)
        self.token_fc1 = nn.Linear(tokens, 2 * tokens)
        self.token_fc2 = nn.Linear(2 * tokens, tokens)
        self.norm_channels = nn.LayerNorm(channels)
        self.channel_fc1 = nn.Linear(channels, 2 * channels)
        self.channel_fc2 = nn.Linear(2 * channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        places = gelu(self.token_fc1(self.norm_tokens(tokens).transpose(1, 2)))
        tokens = tokens + self.token_fc2(places).transpose(1, 2)
        out: Tensor = tokens + self.channel_fc2(gelu(self.channel_fc1(self.norm_channels(tokens))))
        return out


def build(config: Config, channels: int, feature_size: tuple[int, int], dropout: float, outputs: int) -> nn.Module:
    """Raises ValueError when the grid does not divide `feature_size`."""
    tokens = config.grid[0] * config.grid[1]
    mixer = nn.Sequential(*(_MixerLayer(tokens, channels) for _ in range(config.layers)))
    return TokenHead(mixer, channels, feature_size, config.grid, dropout, outputs)
