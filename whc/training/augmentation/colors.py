"""Steps that change colours; nothing moves."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from whc.models.color import LUMA_WEIGHTS
from whc.training.augmentation.numbers import Floats, drawn, on
from whc.training.augmentation.settings import Augmentation

CLAHE_CLIP = 4.0
CLAHE_TILES = (4, 4)  # OpenCV's own 8x8 would leave 16 pixels to a tile of 32x32

# Three maps of RGB to RGB: to grey of the same luma, to the rest (chroma), and to chroma turned by 90 degrees of hue in
# the plane of NTSC's I and Q. Contrast, saturation and hue of any strength add a weighted sum of the three.
_RGB_TO_YIQ = np.array([LUMA_WEIGHTS, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
_GREY_MAP = np.tile(_RGB_TO_YIQ[0], (3, 1))
_QUARTER_TURN = np.linalg.inv(_RGB_TO_YIQ) @ np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ _RGB_TO_YIQ
_COLOR_MAPS = np.stack([_GREY_MAP, np.eye(3) - _GREY_MAP, _QUARTER_TURN]).reshape(3, 9).astype(np.float32)
_IDENTITY_MAP = np.eye(3, dtype=np.float32).ravel()
_LUMA_ROW = np.array(LUMA_WEIGHTS, np.float32)


def light(images: Tensor, changes: Floats) -> Tensor:
    """Change hue and saturation at the same luma, contrast about the window's mean, and brightness.

    Hue turns about grey, in the plane of NTSC's I and Q. All changes but brightness are one 3x3 matrix per sample.

    Args:
        images: (N, T*3, H, W) in 0..1.
        changes: (4, N) fractions for brightness (added), contrast and saturation (each a factor of
            1 + fraction), and hue in radians; all zero is the identity, to the last bit.

    Returns:
        A new tensor of the same shape, clipped to 0..1, contiguous.
    """
    count, channels, height, width = images.shape
    brightness, contrast, saturation, hue = changes
    chroma = (1 + contrast) * (1 + saturation)
    weights = np.array([contrast, chroma * np.cos(hue) - 1, chroma * np.sin(hue)])
    matrix = on(images, (_IDENTITY_MAP + weights.T @ _COLOR_MAPS).reshape(count, 3, 3))
    offset = torch.addcmul(on(images, brightness), images.flatten(1).mean(1), on(images, -contrast))[:, None, None]
    if (frames := channels // 3) > 1:
        matrix, offset = (values.repeat_interleave(frames, 0) for values in (matrix, offset))
    pixels = images.reshape(count * frames, 3, height * width)
    return torch.baddbmm(offset, matrix, pixels).clamp_(0, 1).view(images.shape)


def gray(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """The luma in all three channels."""
    del settings, generator
    no_color = np.array([0, 0, -1, 0], np.float32)[:, None]
    return light(images, no_color.repeat(len(images), 1))


def channel_order(images: Tensor, settings: Augmentation, generator: torch.Generator) -> Tensor:
    """Red, green and blue in an order drawn for each sample, which may be their own."""
    del settings
    order = drawn(generator, len(images), 3).argsort(1)
    frames = images.view(len(images), -1, 3, *images.shape[2:])
    index = on(images, order)[:, None, :, None, None].expand(frames.shape)
    return frames.gather(2, index).view(images.shape)


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
