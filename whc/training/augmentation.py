"""Augmentation of whole batches on tensors: every sample draws its own change, all frames of a window share it.

The few numbers that describe each sample's change are computed in numpy, which is faster than torch for so few. Pixels
are changed by tensor code on their device: each step is one operation for all samples that take it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor
from torch.nn.functional import grid_sample

from whc.config import Settings
from whc.models.color import LUMA_WEIGHTS

Floats = NDArray[np.float32]
Outside = Literal["repeat", "reflect"]

CLAHE_CLIP = 4.0
CLAHE_TILES = (4, 4)  # OpenCV's own 8x8 would leave 16 pixels to a tile of 32x32

# Three maps of RGB to RGB: to grey of the same luma, to the rest (chroma), and to chroma turned by 90 degrees of hue in
# the plane of NTSC's I and Q. Contrast, saturation and hue of any strength add a weighted sum of the three.
_RGB_TO_YIQ = np.array([LUMA_WEIGHTS, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)])
_GREY_MAP = np.tile(_RGB_TO_YIQ[0], (3, 1))
_QUARTER_TURN = np.linalg.inv(_RGB_TO_YIQ) @ np.array([[0, 0, 0], [0, 0, -1], [0, 1, 0]]) @ _RGB_TO_YIQ
_COLOR_MAPS = np.stack([_GREY_MAP, np.eye(3) - _GREY_MAP, _QUARTER_TURN]).reshape(3, 9).astype(np.float32)
_PADDING_MODES = {"repeat": "border", "reflect": "reflection"}
_IDENTITY_MAP = np.eye(3, dtype=np.float32).ravel()
_LUMA_ROW = np.array(LUMA_WEIGHTS, np.float32)


class Augmentation(Settings):
    """What a training sample may go through.

    `flip`, `affine`, `photometric` and `clahe` are the probabilities of each step. `shift` is a fraction of the side,
    `scale` of the size, `rotation_degrees` goes both ways; `brightness`, `contrast` and `saturation` are fractions of
    full range, `hue` is a fraction of a whole turn. `clahe` evens out contrast from place to place, with OpenCV.
    `outside` is what an affine step shows beyond the border: the border repeated, or the picture reflected.
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
    hue: float = Field(0.0, ge=0, le=0.5)
    clahe: float = Field(0.0, ge=0, le=1)
    outside: Outside = "repeat"


def augment(images: Tensor, settings: Augmentation, generator: torch.Generator) -> tuple[Tensor, Floats]:
    """Change a batch at random.

    Args:
        images: (N, T*3, H, W) float in 0..1, RGB frames stacked as channels; fastest when contiguous.
        settings: probabilities and strengths of the steps.
        generator: the only source of randomness, on any device; a generator on the CPU never makes a GPU wait.

    Returns:
        A new contiguous tensor of the same shape and range; and where the points of each picture moved, (N, 2, 3): x to
        the right and y down from the centre, in pixels.
    """
    chances, reaches = _limits(settings)
    random_numbers = torch.rand(12, len(images), generator=generator, device=generator.device).cpu().numpy()
    lit, flipped, moved, is_evened = random_numbers[:4] < chances
    change = (2 * random_numbers[4:] - 1) * reaches
    # The first step makes the copy that the others change in place, and lays out each channel separately in memory:
    # this makes all later steps, and the backward pass, twice as fast. A sample that is not lit goes through the
    # identity, because splitting the batch would cost as much.
    if settings.photometric:
        images = light(images, change[:4] * lit)
    else:
        images = images.clone(memory_format=torch.contiguous_format)
    _replace(images, flipped & ~moved, lambda pictures: pictures.flip(-1))
    _replace(images, moved, lambda pictures: move(pictures, flipped[moved], change[4:, moved], settings.outside))
    _replace(images, is_evened, even_out)
    return images, moves(flipped, np.where(moved, change[4:], 0), images.shape[2:])


def _replace(images: Tensor, is_chosen: NDArray[np.bool_], step: Callable[[Tensor], Tensor]) -> None:
    """Apply a step to some of the samples, in place."""
    rows = is_chosen.nonzero()[0]
    if len(rows):
        index = _on(images, rows)
        images.index_copy_(0, index, step(images.index_select(0, index)))


@cache
def _limits(settings: Augmentation) -> tuple[Floats, Floats]:
    """(4, 1) probabilities of being lit, flipped, moved, evened out; (8, 1) largest changes."""
    chances = settings.photometric, settings.flip, settings.affine, settings.clahe
    colors = settings.brightness, settings.contrast, settings.saturation, math.tau * settings.hue
    places = math.radians(settings.rotation_degrees), settings.scale, 2 * settings.shift, 2 * settings.shift
    return np.array(chances, np.float32)[:, None], np.array(colors + places, np.float32)[:, None]


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
    matrix = _on(images, (_IDENTITY_MAP + weights.T @ _COLOR_MAPS).reshape(count, 3, 3))
    offset = torch.addcmul(_on(images, brightness), images.flatten(1).mean(1), _on(images, -contrast))[:, None, None]
    if (frames := channels // 3) > 1:
        matrix, offset = (values.repeat_interleave(frames, 0) for values in (matrix, offset))
    pixels = images.reshape(count * frames, 3, height * width)
    return torch.baddbmm(offset, matrix, pixels).clamp_(0, 1).view(images.shape)


def move(images: Tensor, flipped: NDArray[np.bool_], changes: Floats, outside: Outside = "repeat") -> Tensor:
    """Mirror, shift, then rotate and scale about the centre.

    Args:
        images: (N, T*3, H, W).
        flipped: (N,) whether left and right are swapped first.
        changes: (4, N) angle in radians, counterclockwise; growth (0.1 makes a tenth larger); shift to the right and
            down in half sides. All zero is the identity, to the last bit where both sides are powers of 2.
        outside: what is shown beyond the border: `repeat` the border, or `reflect` the picture.

    Returns:
        A new tensor of the same shape, sampled bilinearly, contiguous.
    """
    count, _, height, width = images.shape
    angle, growth, across, down = changes
    cos, sin = np.cos(angle) / (1 + growth), np.sin(angle) / (1 + growth)
    side = 1 - 2 * flipped
    # Coordinates run from -1 to 1 on both axes, so a rotation must be corrected for the aspect ratio.
    to_column = side * cos, side * sin * (-height / width), -side * across
    to_row = sin * (width / height), cos, -down
    sources = np.array([*to_column, *to_row], np.float32).T.reshape(-1, 3)
    # The source of a pixel is the sum of a part that depends on its column and a part that depends on its row.
    parts = _on(images, (sources @ _axes(height, width)).reshape(count, 2, -1))
    grid = parts[:, :, None, :width] + parts[:, :, width:, None]
    return grid_sample(images, grid.permute(0, 2, 3, 1), padding_mode=_PADDING_MODES[outside], align_corners=False)


def moves(flipped: NDArray[np.bool_], changes: Floats, size: Sequence[int]) -> Floats:
    """Where `move` takes the points of pictures.

    Args:
        flipped: as for `move`.
        changes: as for `move`.
        size: height and width in pixels.

    Returns:
        (N, 2, 3): matrices from (x, y, 1) to the new (x, y); x to the right and y down from the centre, in pixels.
    """
    height, width = size
    angle, growth, across, down = changes
    cos, sin = np.cos(angle) * (1 + growth), np.sin(angle) * (1 + growth)
    side, right, low = 1 - 2 * flipped, across * width / 2, down * height / 2
    to_x = side * cos, sin, cos * right + sin * low
    to_y = -side * sin, cos, cos * low - sin * right
    return np.array([*to_x, *to_y], np.float32).T.reshape(-1, 2, 3)


@cache
def _axes(height: int, width: int) -> Floats:
    """(3, W + H): x of every column, then y of every row and a one; both between -1 and 1."""
    axes = np.zeros((3, width + height), np.float32)
    axes[0, :width] = np.arange(1, 2 * width, 2) / width - 1
    axes[1, width:] = np.arange(1, 2 * height, 2) / height - 1
    axes[2, width:] = 1
    return axes


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


def _on(images: Tensor, numbers: NDArray[np.generic]) -> Tensor:
    """Numbers of a batch, on the device of its images."""
    return torch.from_numpy(numbers).to(images.device)
