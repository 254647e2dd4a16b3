"""EfficientNet-B0's blocks: inverted residuals with squeeze-excite and SiLU, of two kernel sizes (Tan and Le 2019).

`width` is the channels of the stem, by which all others scale, rounded to multiples of 8; `depth` is how many of B0's
blocks there are, from the first. A width of 32 and a depth of 16 are B0 itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from whc.models.backbones import Backbone
from whc.plugins import PluginConfig

B0_WIDTH = 32
B0_STAGES = (  # kernel, stride of the first block, channels, blocks
    (3, 1, 16, 1),
    (3, 2, 24, 2),
    (5, 2, 40, 2),
    (3, 2, 80, 3),
    (5, 1, 112, 3),
    (5, 2, 192, 4),
    (3, 1, 320, 1),
)
TOP_EXPANSION = 4  # of the last convolution: 1280 channels from B0's 320
NORM_EPS = 1e-3  # of the original, in TensorFlow
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Config(PluginConfig):
    """Which of B0's habits a network has.

    `expansion` is hidden width over block width, from the second block on. `padding` is that of convolutions with
    stride 2: `same_tensorflow` adds more below and to the right, as the original does. `normalize` shifts and scales
    RGB by ImageNet's mean and standard deviation first.
    """

    expansion: int = Field(6, ge=1, le=8)
    padding: Literal["symmetric", "same_tensorflow"] = "symmetric"
    normalize: Literal["none", "imagenet"] = "none"


class _ImageNetNormalization(nn.Module):
    """RGB frames to mean 0 and deviation 1 of ImageNet: (N, T*3, H, W) to the same shape.

    It is an operation of its own: the zeros that pad the first convolution stand for ImageNet's mean colour, so it
    cannot be part of that convolution.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        if channels % 3:
            raise ValueError(f"normalize: imagenet needs RGB, got {channels} channels; use color rgb")
        for name, numbers in (("mean", IMAGENET_MEAN), ("std", IMAGENET_STD)):
            self.register_buffer(name, torch.tensor(numbers).repeat(channels // 3)[:, None, None], persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


class _SamePadding(nn.Module):
    """TensorFlow's padding before a convolution with stride 2; an odd number of pixels has one more at the end."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        height, width = (self.kernel - 2 + side % 2 for side in x.shape[2:])
        return pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


class _SiluSqueezeExcite(nn.Module):
    def __init__(self, channels: int, reduced: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Conv2d(channels, reduced, 1), nn.SiLU(inplace=True), nn.Conv2d(reduced, channels, 1), nn.Sigmoid()
        )

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.fc(x.mean((2, 3), keepdim=True))
        return x * gate


def _conv(
    config: Config, channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    is_padded = stride > 1 and config.padding == "same_tensorflow"
    conv = nn.Conv2d(channels, out_channels, kernel, stride, 0 if is_padded else kernel // 2, groups=groups, bias=False)
    return [*([_SamePadding(kernel)] if is_padded else []), conv, nn.BatchNorm2d(out_channels, eps=NORM_EPS)]


class _Block(nn.Module):
    def __init__(
        self, config: Config, kernel: int, stride: int, channels: int, out_channels: int, expansion: int
    ) -> None:
        super().__init__()
        hidden = channels * expansion
        layers: list[nn.Module] = []
        if expansion > 1:
            layers += [*_conv(config, channels, hidden, 1), nn.SiLU(inplace=True)]
        layers += [*_conv(config, hidden, hidden, kernel, stride, hidden), nn.SiLU(inplace=True)]
        layers.append(_SiluSqueezeExcite(hidden, max(1, channels // 4)))
        self.block = nn.Sequential(*layers, *_conv(config, hidden, out_channels, 1))
        self.residual = stride == 1 and channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.block(x)
        return out + x if self.residual else out


class _EfficientNet(Backbone):
    """Stem, blocks and a last 1x1 convolution: (N, channels, H, W) to (N, out_channels, h, w)."""

    def __init__(self, stem: nn.Sequential, blocks: nn.Sequential, top: nn.Sequential, out_channels: int) -> None:
        super().__init__(stem, blocks, out_channels)
        self.top = top

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.top(super().forward(images))
        return features


def _scaled(channels: int, width: int) -> int:
    """B0's channels at another width: the nearest multiple of 8 that is not a tenth too small (Tan and Le 2019)."""
    exact = channels * width / B0_WIDTH
    rounded = max(8, int(exact + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * exact else rounded + 8


def _b0_blocks(width: int) -> Iterator[tuple[int, int, int]]:
    """(kernel, stride, channels out) of each of the 16 blocks."""
    for kernel, first_stride, channels, repeats in B0_STAGES:
        for i in range(repeats):
            yield kernel, first_stride if i == 0 else 1, _scaled(channels, width)


def build(config: Config, channels: int, width: int, depth: int) -> Backbone:
    """Stem 3x3 stride 2, the first `depth` of B0's blocks, and a 1x1 convolution to four times their channels."""
    normalization = [_ImageNetNormalization(channels)] if config.normalize == "imagenet" else []
    stem = nn.Sequential(*normalization, *_conv(config, channels, width, 3, 2), nn.SiLU(inplace=True))
    blocks, last = nn.Sequential(), width
    for (kernel, stride, out_channels), i in zip(_b0_blocks(width), range(depth), strict=False):
        blocks.append(_Block(config, kernel, stride, last, out_channels, config.expansion if i else 1))
        last = out_channels
    top = nn.Sequential(*_conv(config, last, TOP_EXPANSION * last, 1), nn.SiLU(inplace=True))
    return _EfficientNet(stem, blocks, top, TOP_EXPANSION * last)
