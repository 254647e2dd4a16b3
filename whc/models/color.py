"""Colour spaces, computed inside the network so that every input stays RGB in 0..1."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

Color = Literal["rgb", "luma", "lab", "luv"]

LUMA_WEIGHTS = (0.299, 0.587, 0.114)

# Linear sRGB to CIE XYZ and the white of D65 (IEC 61966-2-1).
_TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
_WHITE_POINT = (0.95047, 1.0, 1.08883)
# Below this fraction of white, a line replaces the cube root; the values are exact, as in CIE 15:2004.
_LINEAR_LIMIT = (6 / 29) ** 3
_LINEAR_SLOPE = (29 / 6) ** 2 / 3


class _Mix(nn.Module):
    """A fixed mix of each frame's three channels, a grouped 1x1 convolution: (N, T*3, H, W) to (N, T*C, H, W)."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, frames: int, rows: Tensor, offset: Tensor | None = None) -> None:
        super().__init__()
        self.frames = frames
        self.register_buffer("weight", rows[:, :, None, None].repeat(frames, 1, 1, 1), persistent=False)
        self.register_buffer("bias", None if offset is None else offset.repeat(frames), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return conv2d(images, self.weight, self.bias, groups=self.frames)


class Luma(_Mix):
    """Luma of each frame (ITU-R BT.601): (N, T*3, H, W) to (N, T, H, W)."""

    def __init__(self, frames: int) -> None:
        super().__init__(frames, torch.tensor([LUMA_WEIGHTS]))


# Powers are written as exp and log: ONNX Runtime vectorises these but not Pow, which makes a whole network 20 % faster.


def _linear(rgb: Tensor) -> Tensor:
    """Linear light from sRGB code values, both 0..1."""
    return torch.where(rgb <= 0.04045, rgb / 12.92, (((rgb + 0.055) / 1.055).log() * 2.4).exp())


def _cube_root(fraction: Tensor) -> Tensor:
    """CIE's f: the cube root of a fraction of white, a line near black."""
    root = (fraction.clamp(min=_LINEAR_LIMIT).log() / 3).exp()
    return torch.where(fraction > _LINEAR_LIMIT, root, _LINEAR_SLOPE * fraction + 4 / 29)


class Lab(nn.Module):
    """CIE L*a*b* of each frame, L in 0..100: (N, T*3, H, W) to the same shape."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.to_white = _Mix(frames, torch.tensor(_TO_XYZ) / torch.tensor(_WHITE_POINT)[:, None])
        rows = torch.tensor([[0.0, 116.0, 0.0], [500.0, -500.0, 0.0], [0.0, 200.0, -200.0]])
        self.to_lab = _Mix(frames, rows, torch.tensor([-16.0, 0.0, 0.0]))

    def forward(self, images: Tensor) -> Tensor:
        lab: Tensor = self.to_lab(_cube_root(self.to_white(_linear(images))))
        return lab


class Luv(nn.Module):
    """CIE L*u*v* of each frame, L in 0..100: (N, T*3, H, W) to the same shape."""

    def __init__(self, frames: int) -> None:
        super().__init__()
        self.frames = frames
        # u' = 4 X / (X + 15 Y + 3 Z), v' = 9 Y / (X + 15 Y + 3 Z): one mix gives Y, the numerators and the denominator.
        x, y, z = torch.tensor(_TO_XYZ)
        self.to_parts = _Mix(frames, torch.stack([y, 4 * x, 9 * y, x + 15 * y + 3 * z]))
        total = _WHITE_POINT[0] + 15 * _WHITE_POINT[1] + 3 * _WHITE_POINT[2]
        self.white = 4 * _WHITE_POINT[0] / total, 9 * _WHITE_POINT[1] / total

    def forward(self, images: Tensor) -> Tensor:
        parts = self.to_parts(_linear(images)).unflatten(1, (self.frames, 4))
        light, u, v, total = parts.unbind(2)
        lightness = 116 * _cube_root(light) - 16
        total = total.clamp(min=1e-12)  # for black: its hue does not matter, as it is multiplied by lightness 0
        u = 13 * lightness * (u / total - self.white[0])
        v = 13 * lightness * (v / total - self.white[1])
        return torch.stack([lightness, u, v], dim=2).flatten(1, 2)


def conversion(color: Color, frames: int) -> tuple[nn.Module, int]:
    """The conversion for `frames` stacked RGB frames, and the number of channels it gives."""
    if color == "luma":
        return Luma(frames), frames
    if color == "lab":
        return Lab(frames), 3 * frames
    if color == "luv":
        return Luv(frames), 3 * frames
    return nn.Identity(), 3 * frames
