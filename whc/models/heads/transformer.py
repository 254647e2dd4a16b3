"""Pre-norm Transformer encoder over a grid of tokens (Vaswani et al. 2017; Xiong et al. 2020)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from whc.models.tokens import TokenConfig, TokenHead

GIVES = "numbers"


class Config(TokenConfig):
    """A grid and a number of layers, nothing else."""


class _Attention(nn.Module):
    """Self-attention with the weights of nn.MultiheadAttention; it exports to a third fewer operations."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = max(heads for heads in range(1, 9) if channels % heads == 0)
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, tokens: Tensor) -> Tensor:
        count, channels = tokens.shape[1:]
        projected = linear(tokens, self.in_proj_weight, self.in_proj_bias)
        parts = projected.view(-1, count, 3, self.heads, channels // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = (parts[i] for i in range(3))  # unpacking would export as slices
        scores = query @ key.transpose(2, 3) * (channels // self.heads) ** -0.5
        attended = scores.softmax(-1) @ value
        out: Tensor = self.out_proj(attended.transpose(1, 2).reshape(-1, count, channels))
        return out


class _EncoderLayer(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = max(128, 2 * channels)
        self.self_attn = _Attention(channels)
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self.self_attn(self.norm1(tokens))
        out: Tensor = tokens + self.linear2(gelu(self.linear1(self.norm2(tokens))))
        return out


class _Encoder(nn.Module):
    def __init__(self, channels: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(_EncoderLayer(channels) for _ in range(layers)))

    def forward(self, tokens: Tensor) -> Tensor:
        mixed: Tensor = self.layers(tokens)
        return mixed


def build(config: Config, channels: int, feature_size: tuple[int, int], dropout: float, outputs: int) -> nn.Module:
    """Raises ValueError when the grid does not divide `feature_size`."""
    mixer = _Encoder(channels, config.layers)
    return TokenHead(mixer, channels, feature_size, config.grid, dropout, outputs)
