"""Steps that change what pixels look like, and move nothing: colours, and what lenses, sensors and codecs do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from whc.data.preprocess import Image
from whc.models.color import LUMA_WEIGHTS
from whc.training.augmentation.numbers import Floats, drawn, on
from whc.training.augmentation.settings import Augmentation

CLAHE_CLIP = 4.0
CLAHE_TILES = (4, 4)  # OpenCV's own 8x8 would leave 16 pixels to a tile of 32x32
BEST_JPEG_QUALITY = 95

# Three maps of RGB to RGB: to grey of the same luma, to the rest (chroma), and to chroma turned by 90 degrees of hue in
# the plane of NTSC's I and Q. Contrast, saturation and hue of any strength add a weighted sum of the three.
_RGB_TO_YIQ = np.array([LUMA_WEIGHTS, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
_GREY_MAP = np.tile(_RGB_TO_YIQ[0], (3, 1))
_QUARTER_TURN = np.linalg.inv(_RGB_TO_YIQ) @ np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ _RGB_TO_YIQ
_COLOR_MAPS = np.stack([_GREY_MAP, np.eye(3) - _GREY_MAP, _QUARTER_TURN]).reshape(3, 9).astype(np.float32)
_IDENTITY_MAP = np.eye(3, dtype=np.float32).ravel()
_LUMA_ROW = np.array(LUMA_WEIGHTS, np.float32)


def light(images: Tensor, changes: Floats, maps: Floats | None = None) -> Tensor:
    """Change hue and saturation at the same luma, contrast about the window's mean, and brightness.

    Hue turns about grey, in the plane of NTSC's I and Q. All changes but brightness are one 3x3 matrix per sample.

    Args:
        images: (N, T*3, H, W) in 0..1.
        changes: (4, N) fractions for brightness (added), contrast and saturation (each a factor of
            1 + fraction), and hue in radians; all zero is the identity, to the last bit.
        maps: (N, 3, 3) of RGB to RGB, taken after that, as `color_maps` draws them.

    Returns:
        A new tensor of the same shape, clipped to 0..1, contiguous.
    """
    count, channels, height, width = images.shape
    brightness, contrast, saturation, hue = changes
    matrix = on(images, _color_matrices(contrast, saturation, hue))
    offset = torch.addcmul(on(images, brightness), images.flatten(1).mean(1), on(images, -contrast))[:, None, None]
    if maps is not None:
        more = on(images, maps)
        matrix, offset = more @ matrix, more.sum(2, keepdim=True) * offset
    if (frames := channels // 3) > 1:
        matrix, offset = (values.repeat_interleave(frames, 0) for values in (matrix, offset))
    pixels = images.reshape(count * frames, 3, height * width)
    return torch.baddbmm(offset, matrix, pixels).clamp_(0, 1).view(images.shape)


def _color_matrices(contrast: Floats, saturation: Floats, hue: Floats) -> Floats:
    """(N, 3, 3) maps of RGB to RGB."""
    chroma = (1 + contrast) * (1 + saturation)
    weights = np.array([contrast, chroma * np.cos(hue) - 1, chroma * np.sin(hue)])
    return np.asarray((_IDENTITY_MAP + weights.T @ _COLOR_MAPS).reshape(-1, 3, 3), np.float32)


def color_maps(settings: Augmentation, count: int, generator: torch.Generator) -> Floats | None:
    """What `hsv`, `gray` and `channel_order` do to each of N samples, as maps (N, 3, 3); None if all are off."""
    maps: Floats | None = None
    for name, step in _MAP_STEPS.items():
        if chance := getattr(settings, name):
            is_chosen = drawn(generator, count) < np.float32(chance)
            chosen = np.where(is_chosen[:, None, None], step(settings, count, generator), np.eye(3, dtype=np.float32))
            maps = chosen if maps is None else chosen @ maps
    return maps


def _hsv(settings: Augmentation, count: int, generator: torch.Generator) -> Floats:
    """Hue turned, saturation and value multiplied, each drawn evenly both ways."""
    reaches = np.array([math.tau * settings.hsv_hue, settings.hsv_saturation, settings.hsv_value], np.float32)
    hue, saturation, value = (2 * drawn(generator, 3, count) - 1) * reaches[:, None]
    return np.asarray(_color_matrices(0 * hue, saturation, hue) * (1 + value)[:, None, None], np.float32)


def _gray(settings: Augmentation, count: int, generator: torch.Generator) -> Floats:
    """The luma in all three channels."""
    del settings, generator
    return np.tile(_GREY_MAP.astype(np.float32), (count, 1, 1))


def _channel_order(settings: Augmentation, count: int, generator: torch.Generator) -> Floats:
    """Red, green and blue in an order drawn for each sample, which may be their own."""
    del settings
    return np.eye(3, dtype=np.float32)[drawn(generator, count, 3).argsort(1)]


# By the name of their probability, in the order in which they are taken.
_MAP_STEPS: dict[str, Callable[[Augmentation, int, torch.Generator], Floats]] = {
    "hsv": _hsv,
    "gray": _gray,
    "channel_order": _channel_order,
}


def even_out(images: Tensor) -> Tensor:
    """CLAHE (Zuiderveld 1994) of the luma of every frame, by OpenCV on the CPU; colour differences stay, within 0..1.

    Args:
        images: (N, T*3, H, W) in 0..1, on any device.

    Returns:
        A new tensor of the same shape.
    """
    changed = images.cpu().clone(memory_format=torch.contiguous_format)
    frames = changed.view(-1, 3, *images.shape[2:]).numpy()
    luma = (_LUMA_ROW @ frames.reshape(len(frames), 3, -1)).reshape(len(frames), *images.shape[2:])
    cv2.setNumThreads(1)  # for pictures this small more threads cost time, and they may belong to other trials
    clahe = cv2.createCLAHE(CLAHE_CLIP, CLAHE_TILES)
    evened = np.stack([clahe.apply(levels) for levels in np.rint(luma * 255).astype(np.uint8)])
    frames += (evened / np.float32(255) - luma)[:, None]
    return changed.clamp_(0, 1).to(images.device)


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


def median_blur(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """The median of a square of 3, 5, .. `median_size` pixels, by OpenCV on the CPU; the border repeats."""
    steps = (settings.median_size - 1) // 2
    sides = (3 + 2 * (drawn(generator, len(images)) * steps).astype(int)).tolist()
    return _by_opencv(images, [partial(cv2.medianBlur, ksize=side) for side in sides])


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
    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    own = torch.Generator(generator.device).manual_seed(seed)  # how much is drawn from it depends on the size
    values = torch.randn(images.shape, generator=own, device=own.device).to(images.device)
    return torch.addcmul(images, values, on(images, sigma)[:, None, None, None]).clamp_(0, 1)


def jpeg(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Compressed and read again by OpenCV on the CPU, at qualities drawn evenly from `jpeg_quality` to 95."""
    least = settings.jpeg_quality
    span = max(BEST_JPEG_QUALITY - least, 0)
    qualities = np.rint(least + span * drawn(generator, len(images))).astype(int).tolist()
    return _by_opencv(images, [partial(_compressed, quality=quality) for quality in qualities])


def _compressed(picture: Image, quality: int) -> Image:
    # OpenCV takes the channels for B, G, R; without the turn, colour would be compressed less than it is.
    _, data = cv2.imencode(".jpg", picture[..., ::-1], (cv2.IMWRITE_JPEG_QUALITY, quality))
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]


def _by_opencv(images: Tensor, changes: Sequence[Callable[[Image], Any]]) -> Tensor:
    """Each of N pictures, all its frames, by its own change of bytes (H, W, 3)."""
    frames = images.view(len(images), -1, 3, *images.shape[2:]).permute(0, 1, 3, 4, 2)
    levels = (frames * 255).round().clamp(0, 255).to(torch.uint8).cpu().contiguous().numpy()
    cv2.setNumThreads(1)  # as for CLAHE
    for window, change in zip(levels, changes, strict=True):
        for frame in window:
            frame[:] = change(frame)
    changed = torch.from_numpy(levels).to(images.device).permute(0, 1, 4, 2, 3)
    return (changed.to(images.dtype) / 255).flatten(1, 2)
