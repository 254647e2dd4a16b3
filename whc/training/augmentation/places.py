"""Steps that move the points of pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import grid_sample

from whc.tasks.parts import chained
from whc.training.augmentation.numbers import Floats, drawn, on
from whc.training.augmentation.settings import Augmentation, Outside

_PADDING_MODES = {"repeat": "border", "reflect": "reflection", "gray": "zeros"}
GRAY_LEVEL = 114 / 255


def draw_views(settings: Augmentation, count: int, generator: torch.Generator) -> Floats | None:
    """Which part of each picture is seen, and whether upside down; None where neither step is on.

    As the random resized crop of torchvision: the area is drawn evenly, the stretch evenly on a log scale.

    Returns:
        (N, 2, 2): for x and for y, half the size of the part, and its middle; from -1 to 1. The half height is
        negative where the picture is upside down.
    """
    if not (settings.crop or settings.vertical_flip):
        return None
    numbers = drawn(generator, 6, count)
    is_cropped, is_upside_down = numbers[:2] < np.array([[settings.crop], [settings.vertical_flip]], np.float32)
    area, stretch, across, down = np.array([1 - numbers[2], *(2 * numbers[3:] - 1)])
    area = 1 - (1 - settings.crop_area) * area * is_cropped
    stretch = np.exp(stretch * is_cropped * math.log(settings.crop_stretch))
    half = np.minimum(np.sqrt([area * stretch, area / stretch]), 1)
    middle = (1 - half) * [across, down]
    half[1] *= np.where(is_upside_down, -1, 1)
    return np.asarray(np.stack([half, middle], -1).swapaxes(0, 1), np.float32)


def view_moves(views: Floats, size: Sequence[int]) -> Floats:
    """Where `views` (N, 2, 2) take the points of pictures of a size (H, W), as `moves` gives it."""
    half, middle = views[..., 0], views[..., 1]
    matrices = np.zeros((len(views), 2, 3), np.float32)
    matrices[:, [0, 1], [0, 1]] = 1 / half
    matrices[:, :, 2] = -middle / half * np.array(size[::-1], np.float32) / 2
    return matrices


def move(
    images: Tensor,
    flipped: NDArray[np.bool_],
    changes: Floats,
    outside: Outside = "repeat",
    views: Floats | None = None,
    size: Sequence[int] | None = None,
) -> Tensor:
    """Mirror, shift, then rotate and scale about the centre.

    Args:
        images: (N, T*3, H, W).
        flipped: (N,) whether left and right are swapped first.
        changes: (4, N) angle in radians, counterclockwise; growth (0.1 makes a tenth larger); shift to the right and
            down in half sides. All zero is the identity, to the last bit where both sides are powers of 2.
        outside: what is shown beyond the border: `repeat` the border, `reflect` the picture, or `gray`.
        views: (N, 2, 2) as `draw_views` gives them, the parts of the pictures that are enlarged to the whole before.
        size: height and width of the result; None is that of the images.

    Returns:
        A new tensor, sampled bilinearly, contiguous.
    """
    grid = _sources(flipped, changes, views, size or images.shape[2:], images)
    dark = GRAY_LEVEL if outside == "gray" else 0.0  # what is shown outside becomes 0, which is what comes in
    moved = grid_sample(
        images - dark if dark else images,
        grid,
        padding_mode=_PADDING_MODES[outside],
        align_corners=False,
    )
    return moved.add_(dark) if dark else moved


def _sources(
    flipped: NDArray[np.bool_], changes: Floats, views: Floats | None, size: Sequence[int], images: Tensor
) -> Tensor:
    """(N, H, W, 2): where `move` takes each pixel from, x and y from -1 to 1, on the device of the images."""
    count, (height, width) = len(flipped), size
    angle, growth, across, down = changes
    cos, sin = np.cos(angle) / (1 + growth), np.sin(angle) / (1 + growth)
    side = 1 - 2 * flipped
    # Coordinates run from -1 to 1 on both axes, so a rotation must be corrected for the aspect ratio.
    to_column = side * cos, side * sin * (-height / width), -side * across
    to_row = sin * (width / height), cos, -down
    sources = np.array([*to_column, *to_row], np.float32).T.reshape(-1, 3)
    if views is not None:
        sources = sources * views[:, :, :1].reshape(-1, 1)
        sources[:, 2] += views[:, :, 1].ravel()
    # The source of a pixel is the sum of a part that depends on its column and a part that depends on its row.
    parts = on(images, (sources @ _axes(height, width)).reshape(count, 2, -1))
    grid = parts[:, :, None, :width] + parts[:, :, width:, None]
    return grid.permute(0, 2, 3, 1)


def moves(flipped: NDArray[np.bool_], changes: Floats, size: Sequence[int], views: Floats | None = None) -> Floats:
    """Where `move` takes the points of pictures.

    Args:
        flipped: as for `move`.
        changes: as for `move`.
        size: height and width in pixels.
        views: as for `move`.

    Returns:
        (N, 2, 3): matrices from (x, y, 1) to the new (x, y); x to the right and y down from the centre, in pixels.
    """
    height, width = size
    angle, growth, across, down = changes
    cos, sin = np.cos(angle) * (1 + growth), np.sin(angle) * (1 + growth)
    side, right, low = 1 - 2 * flipped, across * width / 2, down * height / 2
    to_x = side * cos, sin, cos * right + sin * low
    to_y = -side * sin, cos, cos * low - sin * right
    moved = np.array([*to_x, *to_y], np.float32).T.reshape(-1, 2, 3)
    return moved if views is None else chained(view_moves(views, size), moved)


@cache
def _axes(height: int, width: int) -> Floats:
    """(3, W + H): x of every column, then y of every row and a one; both between -1 and 1."""
    axes = np.zeros((3, width + height), np.float32)
    axes[0, :width] = np.arange(1, 2 * width, 2) / width - 1
    axes[1, width:] = np.arange(1, 2 * height, 2) / height - 1
    axes[2, width:] = 1
    return axes
