"""Colour spaces, computed inside the network so that every input stays RGB in 0..1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

Color = Literal["rgb", "luma"]

LUMA = (0.299, 0.587, 0.114)


class Luma(nn.Module):
    """Luma of each frame (ITU-R BT.601): (N, T*3, H, W) to (N, T, H, W), a fixed 1x1 convolution."""

    weight: Tensor

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.tensor(LUMA).view(1, 3, 1, 1).repeat(frames, 1, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return conv2d(images, self.weight, groups=self.weight.shape[0])


def conversion(color: Color, frames: int) -> tuple[nn.Module, int]:
    """The conversion for `frames` stacked RGB frames, and the number of channels it gives."""
    if color == "luma":
        return Luma(frames), frames
    return nn.Identity(), 3 * frames
