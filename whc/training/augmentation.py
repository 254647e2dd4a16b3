"""Augmentation of whole batches on tensors: every sample draws its own change, all frames of a window share it."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from whc.config import Settings
from whc.models.color import LUMA


class Augmentation(Settings):
    """What a training sample may go through.

    `flip`, `affine` and `photometric` are the probabilities of each step. `shift` is a fraction of the side, `scale` of
    the size, `rotation_degrees` goes both ways; `brightness`, `contrast` and `saturation` are fractions of full range.
    """

    flip: float = Field(0.5, ge=0, le=1)
    affine: float = Field(0.5, ge=0, le=1)
    shift: float = Field(0.05, ge=0, le=0.5)
    scale: float = Field(0.1, ge=0, lt=1)
    rotation_degrees: float = Field(10.0, ge=0, le=180)
    photometric: float = Field(0.5, ge=0, le=1)
    brightness: float = Field(0.15, ge=0, le=1)
    contrast: float = Field(0.2, ge=0, lt=1)
    saturation: float = Field(0.2, ge=0, le=1)


def augment(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Change a batch at random.

    Args:
        images: (N, T*3, H, W) float in 0..1, RGB frames stacked as channels.
        settings: what may happen.
        generator: source of randomness, on the device of `images`.

    Returns:
        A tensor of the same shape and range.
    """
    count, device = len(images), images.device

    def chosen(probability: float) -> Tensor:
        return torch.rand(count, generator=generator, device=device) < probability

    flipped = chosen(settings.flip)[:, None, None, None]
    images = torch.where(flipped, images.flip(-1), images)
    # Written back in place: a copy would lose the channels-last layout, and the network's speed with it.
    moved = chosen(settings.affine).nonzero().squeeze(1)
    if len(moved):
        images[moved] = _affine(images[moved], settings, generator)
    lit = chosen(settings.photometric).nonzero().squeeze(1)
    if len(lit):
        images[lit] = _photometric(images[lit], settings, generator)
    return images


def _uniform(count: int, reach: float, generator: torch.Generator) -> Tensor:
    """(count,) within -reach..reach."""
    return (torch.rand(count, generator=generator, device=generator.device) * 2 - 1) * reach


def _affine(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Rotate, scale and shift about the centre; what comes in from outside repeats the border."""
    count, _, height, width = images.shape
    angle = _uniform(count, math.radians(settings.rotation_degrees), generator)
    zoom = 1 / (1 + _uniform(count, settings.scale, generator))
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    # grid_sample's coordinates run -1..1 on both axes, so a rotation must be corrected for the aspect.
    aspect = height / width
    across, down = (2 * _uniform(count, settings.shift, generator) for _ in range(2))
    top = torch.stack([cos, -sin * aspect, across], dim=1)
    bottom = torch.stack([sin / aspect, cos, down], dim=1)
    grid = affine_grid(torch.stack([top, bottom], dim=1), list(images.shape), align_corners=False)
    return grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _photometric(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Brightness, contrast about the window's mean, and saturation about each pixel's luma."""
    count = len(images)
    frames = images.view(count, -1, 3, *images.shape[2:])

    def factor(reach: float) -> Tensor:
        return _uniform(count, reach, generator).view(-1, 1, 1, 1, 1)

    luma = torch.tensor(LUMA, device=images.device).view(1, 1, 3, 1, 1)
    grey = (frames * luma).sum(2, keepdim=True)
    frames = grey + (frames - grey) * (1 + factor(settings.saturation))
    mean = frames.mean((1, 2, 3, 4), keepdim=True)
    frames = mean + (frames - mean) * (1 + factor(settings.contrast)) + factor(settings.brightness)
    return frames.clamp(0, 1).reshape(images.shape)
