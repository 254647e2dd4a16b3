"""A network together with its task's decoding, for export."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn


class Decoded(nn.Module):
    """A network whose outputs are decoded."""

    def __init__(self, network: nn.Module, decode: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.network = network
        self.decode = decode

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, ...) to outputs (N, ...)."""
        return self.decode(self.network(images))
