"""Convolutions over time and space together (Tran et al. 2015): the frames are one block of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor, nn

from whc.models.color import conversion
from whc.models.sequence import FramesConfig

if TYPE_CHECKING:
    from whc.models.assemble import NetworkParts

INPUT_LAYOUT = "cnn3d"
UNUSED = ("backbone", "head", "depth", "dropout")


class Config(FramesConfig):
    """`frames`: consecutive frames in one input. `differences`: it sees each frame minus the one before."""


def frames(config: Config) -> int:
    """As configured."""
    return config.frames


def input_shape(config: Config, size: tuple[int, int]) -> tuple[int, ...]:
    """(3, T, H, W), oldest frame first."""
    return (3, config.frames, *size)


def _block(channels: int, out_channels: int) -> nn.Sequential:
    """Halves height and width, keeps time."""
    conv = nn.Conv3d(channels, out_channels, 3, (1, 2, 2), 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm3d(out_channels), nn.ReLU(inplace=True))


class _Cnn3d(nn.Module):
    """(N, 3, T, H, W) to logits (N, outputs): three blocks of widths b, 2b and 4b, mean over time and space."""

    def __init__(self, parts: NetworkParts, differences: bool) -> None:
        super().__init__()
        width = parts.config.width
        self.color, channels = conversion(parts.config.color, 1)
        self.differences = differences
        self.stem = _block(channels, width)
        self.block1 = _block(width, 2 * width)
        self.block2 = _block(2 * width, 4 * width)
        self.fc = nn.Linear(4 * width, parts.outputs)

    def forward(self, images: Tensor) -> Tensor:
        if not isinstance(self.color, nn.Identity):
            # A colour conversion works pixel by pixel, so the frames can be stacked to one tall picture.
            images = self.color(images.flatten(2, 3)).unflatten(2, images.shape[2:4])
        if self.differences:
            images = images[:, :, 1:] - images[:, :, :-1]
        features = self.block2(self.block1(self.stem(images)))
        logits: Tensor = self.fc(features.mean((2, 3, 4)))
        return logits


def build(config: Config, parts: NetworkParts) -> nn.Module:
    """Its own backbone, of `width`, and its own head; any colour space."""
    return _Cnn3d(parts, config.differences)
