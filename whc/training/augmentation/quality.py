"""Steps that make pictures worse, as lenses, sensors and codecs do; nothing moves."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from whc.training.augmentation.numbers import Floats, drawn, on
from whc.training.augmentation.settings import Augmentation

BEST_JPEG_QUALITY = 95


def blur(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Gaussian blur (N, C, H, W), the deviation drawn evenly up to `blur_sigma` pixels.

    It is a product with a matrix for each direction, whose rows add up to 1: nothing comes in from outside.
    """
    sigma = settings.blur_sigma * drawn(generator, len(images))
    return (
        on(images, _weights(sigma, images.shape[2]))[:, None]
        @ images
        @ on(images, _weights(sigma, images.shape[3])).mT[:, None]
    )


def _weights(sigma: Floats, side: int) -> Floats:
    """(N, side, side): the share of each pixel of a line in each blurred one."""
    places = np.arange(side, dtype=np.float32)
    distance = (places - places[:, None]) / np.maximum(sigma, 0.05)[:, None, None]
    weights = np.exp(-np.minimum(distance**2 / 2, 50))
    return np.asarray(weights / weights.sum(2, keepdims=True), np.float32)


def motion_blur(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Mean along a line of a random direction, up to `motion_blur_length` pixels long; the border repeats."""
    length, turn = drawn(generator, 2, len(images))
    reach = math.ceil(settings.motion_blur_length / 2)
    kernels = _lines(1 + length * (settings.motion_blur_length - 1), turn * math.pi, reach)
    count, channels, height = images.shape[:3]
    padded = pad(images, (reach,) * 4, mode="replicate").view(1, count * channels, height + 2 * reach, -1)
    each = on(images, kernels).repeat_interleave(channels, 0)[:, None]
    return conv2d(padded, each, groups=count * channels).view(images.shape)


def _lines(length: Floats, angle: Floats, reach: int) -> Floats:
    """(N, 2 reach + 1, 2 reach + 1): lines one pixel wide through the middle, with soft edges, which add up to 1."""
    places = np.arange(-reach, reach + 1, dtype=np.float32)
    cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
    along, across = cos * places + sin * places[:, None], cos * places[:, None] - sin * places
    inside = np.clip(length[:, None, None] / 2 + 0.5 - np.abs(along), 0, 1)
    weights = inside * np.clip(1 - np.abs(across), 0, 1)
    return np.asarray(weights / weights.sum((1, 2), keepdims=True), np.float32)


def noise(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Gaussian noise of every value by itself, the deviation drawn evenly up to `noise_sigma`; clipped to 0..1."""
    sigma = settings.noise_sigma * drawn(generator, len(images))
    values = torch.randn(images.shape, generator=generator, device=generator.device).to(images.device)
    return torch.addcmul(images, values, on(images, sigma)[:, None, None, None]).clamp_(0, 1)


def jpeg(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Compressed and read again by OpenCV on the CPU, at qualities drawn evenly from `jpeg_quality` to 95."""
    least = settings.jpeg_quality
    span = max(BEST_JPEG_QUALITY - least, 0)
    qualities = np.rint(least + span * drawn(generator, len(images))).astype(int).tolist()
    frames = images.view(len(images), -1, 3, *images.shape[2:]).permute(0, 1, 3, 4, 2)
    levels = (frames * 255).round().clamp(0, 255).to(torch.uint8).cpu().contiguous().numpy()
    for windows, quality in zip(levels, qualities, strict=True):
        for frame in windows:
            # OpenCV takes the channels for B, G, R; without the turn, colour would be compressed less than it is.
            _, data = cv2.imencode(".jpg", frame[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
            frame[:] = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    read = torch.from_numpy(levels).to(images.device).permute(0, 1, 4, 2, 3)
    return (read.to(images.dtype) / 255).flatten(1, 2)
