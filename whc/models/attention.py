"""Encoder and decoder layers of the first Transformer (Vaswani et al. 2017), each normalised after its parts.

Weights have the names of PyTorch's own layers, which export to more operations.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

ACTIVATIONS: dict[str, type[nn.Module]] = {"silu": nn.SiLU, "relu": nn.ReLU}


class Attention(nn.Module):
    """Multi-head attention of queries (N, Q, channels) to memory (N, M, channels)."""

    def __init__(self, channels: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        channels = queries.shape[2]
        query = linear(queries, self.in_proj_weight[:channels], self.in_proj_bias[:channels])
        pairs = linear(memory, self.in_proj_weight[channels:], self.in_proj_bias[channels:])
        query, key, value = (self._by_head(part) for part in (query, pairs[..., :channels], pairs[..., channels:]))
        attended = scaled_dot_product_attention(query, key, value, dropout_p=self.dropout if self.training else 0.0)
        out: Tensor = self.out_proj(attended.transpose(1, 2).flatten(2))
        return out

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, T, channels) to (N, heads, T, channels / heads)."""
        return x.reshape(-1, x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class _FeedForward(nn.Module):
    """Two linear layers, whose parameters are `linear1` and `linear2` of the layer that is a subclass."""

    def __init__(self, channels: int, hidden: int, dropout: float, activation: str) -> None:
        super().__init__()
        self.linear1 = nn.Linear(channels, hidden)
        self.linear2 = nn.Linear(hidden, channels)
        self.activation = ACTIVATIONS[activation]()
        self.dropout = nn.Dropout(dropout)

    def feed_forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.linear2(self.dropout(self.activation(self.linear1(x)))))
        return out


class EncoderLayer(_FeedForward):
    """Tokens (N, T, channels) to the same shape."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float, activation: str) -> None:
        super().__init__(channels, hidden, dropout, activation)
        self.self_attn = Attention(channels, heads, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = self.norm1(tokens + self.dropout(self.self_attn(tokens, tokens)))
        out: Tensor = self.norm2(tokens + self.feed_forward(tokens))
        return out


class DecoderLayer(_FeedForward):
    """Queries (N, Q, channels) to the same shape, after a look at each other and at the memory (N, M, channels)."""

    def __init__(self, channels: int, heads: int, hidden: int, dropout: float, activation: str) -> None:
        super().__init__(channels, hidden, dropout, activation)
        self.self_attn = Attention(channels, heads, dropout)
        self.multihead_attn = Attention(channels, heads, dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(channels) for _ in range(3))

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        queries = self.norm1(queries + self.dropout(self.self_attn(queries, queries)))
        queries = self.norm2(queries + self.dropout(self.multihead_attn(queries, memory)))
        out: Tensor = self.norm3(queries + self.feed_forward(queries))
        return out


def position_code(features: Tensor) -> Tensor:
    """Sines and cosines of column, then row, (channels, h, w), of the map (N, channels, h, w)."""
    channels, height, width = features.shape[1:]
    options: dict[str, Any] = {"dtype": features.dtype, "device": features.device}
    frequencies = 10000 ** (-torch.arange(channels // 4, **options) / (channels // 2))
    columns = torch.arange(width, **options) * frequencies[:, None]
    rows = torch.arange(height, **options) * frequencies[:, None]
    waves = [columns.sin(), columns.cos(), rows.sin(), rows.cos()]
    across = [wave[:, None, :].expand(-1, height, -1) for wave in waves[:2]]
    return torch.cat(across + [wave[:, :, None].expand(-1, -1, width) for wave in waves[2:]])
