"""Steps that put several pictures of a batch into one: each tells what its pictures are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d

from whc.tasks.parts import Parts
from whc.training.augmentation.numbers import Floats, drawn, on
from whc.training.augmentation.partners import Numbers, chosen, others, seen_in, stay
from whc.training.augmentation.pasting import paste
from whc.training.augmentation.settings import Augmentation

Bools = NDArray[np.bool_]

LEAST_TILE = 0.25  # of the side of a picture
QUADRANTS = ((0, 0), (1, 0), (0, 1), (1, 1))  # whether right, whether low


def combine(
    images: Tensor,
    parts: Parts,
    settings: Augmentation,
    generator: torch.Generator,
    originals: Tensor,
    objects: Floats | None,
) -> Parts:
    """Take the steps that are on, in place: mosaic, then blending, then pasting.

    Args:
        images: (N, T*3, H, W).
        parts: what they are made of.
        settings: probabilities and strengths.
        generator: the only source of randomness.
        originals: the pictures before any step, from which objects are pasted.
        objects: (N, K, 4) left, top, right, bottom of these in pixels from the centre, 0 where there is none.

    Returns:
        What the pictures are made of then.
    """
    if settings.mosaic:
        parts = _mosaic(images, parts, settings, generator)
    if settings.mixup:
        parts = _mixup(images, parts, settings, generator)
    if settings.copy_paste:
        if objects is None:
            raise ValueError("copy_paste needs the objects of the pictures")
        parts = paste(images, parts, settings, generator, originals, objects)
    return parts


def _mixup(images: Tensor, parts: Parts, settings: Augmentation, generator: torch.Generator) -> Parts:
    """Blend pictures equally with another one each (Zhang 2018, with the share fixed at a half)."""
    rows = chosen(settings.mixup, len(images), generator)
    partners = others(rows, len(images), drawn(generator, len(rows)))
    index = on(images, rows)
    blended = torch.lerp(images[index], images[on(images, partners)], 0.5)
    images.index_copy_(0, index, blended)
    return parts.and_then(seen_in(parts, rows, partners, stay(len(rows)), _anywhere(images, len(rows))))


def _mosaic(images: Tensor, parts: Parts, settings: Augmentation, generator: torch.Generator) -> Parts:
    """Put four pictures of the batch side by side (Bochkovskiy 2020): whole ones at half size, or parts at full size.

    Nothing is sampled: tiles are copied, from pictures or from their halves.
    """
    rows = chosen(settings.mosaic, len(images), generator)
    numbers = drawn(generator, 14, len(rows))
    pictures = np.concatenate([rows[None], others(rows, len(images), numbers[:3])])
    is_whole = numbers[3] < np.float32(settings.mosaic_whole)
    tiles, starts = _tiles(is_whole, numbers[4:6], numbers[6:], images.shape[2:])
    if len(rows):
        images.index_copy_(0, on(images, rows), _drawn_mosaics(images, pictures, is_whole, tiles, starts))
    sides = np.array(images.shape[:1:-1], np.float32)
    moves, windows = _moves(is_whole, starts, sides), tiles - np.tile(sides / 2, 2)
    whole = seen_in(parts, rows, pictures[0], moves[0], windows[0], keeps_rest=True)
    for picture, move, window in zip(pictures[1:], moves[1:], windows[1:], strict=True):
        whole = whole.and_then(seen_in(parts, rows, picture, move, window))
    return whole


def _tiles(is_whole: Bools, seams: Floats, places: Floats, size: Sequence[int]) -> tuple[Floats, Floats]:
    """Tiles (4, M, 4) left, top, right, bottom and starts of their pictures (4, M, 2), in whole pixels from the corner.

    Args:
        is_whole: (M,) whether a mosaic has its seam in the middle, and pictures of half the size.
        seams: (2, M) drawn numbers, where it is else.
        places: (8, M) drawn numbers, where each picture lies behind its tile.
        size: height and width.
    """
    sides = np.array(size[::-1], np.float32)
    seam = np.where(is_whole, 0.5, LEAST_TILE + (1 - 2 * LEAST_TILE) * seams).T * sides // 1
    shown = np.where(is_whole[:, None], -(-sides // 2), sides)
    tiles, starts = [], []
    for quadrant, place in zip(QUADRANTS, places.reshape(4, 2, -1), strict=True):
        low, high = np.where(quadrant, seam, 0), np.where(quadrant, sides, seam)
        tiles.append(np.concatenate([low, high], 1))
        # Somewhere between the picture's end at the tile's end, and its start at the tile's start.
        starts.append(high - shown + np.floor(place.T * (shown - (high - low) + 1)).clip(0, shown - (high - low)))
    return np.array(tiles, np.float32), np.array(starts, np.float32)


def _moves(is_whole: Bools, starts: Floats, sides: Floats) -> Floats:
    """(4, M, 2, 3) of pictures that start there, at half their size or their own."""
    scale = np.where(is_whole, 0.5, 1).astype(np.float32)[:, None]
    moves = np.zeros((*starts.shape[:2], 2, 3), np.float32)
    moves[..., [0, 1], [0, 1]] = scale
    moves[..., 2] = starts + scale * sides / 2 - sides / 2
    return moves


def _drawn_mosaics(images: Tensor, pictures: Numbers, is_whole: Bools, tiles: Floats, starts: Floats) -> Tensor:
    """(M, C, H, W) mosaics of the `pictures` (4, M), as `_tiles` places them."""
    mosaics = images.new_empty((pictures.shape[1], *images.shape[1:]))
    halved = pictures[:, is_whole].T.ravel()
    halves = avg_pool2d(images.index_select(0, on(images, halved)), 2, ceil_mode=True) if len(halved) else images
    # NumPy is several times faster at copying small pieces.
    canvas, wholes, halves = (each.numpy() if each.is_cpu else each for each in (mosaics, images, halves))
    half = count(0)
    corners = np.concatenate([tiles, starts], -1).astype(int).tolist()
    for row, shrinks in enumerate(is_whole.tolist()):
        for quadrant, number in enumerate(pictures[:, row].tolist()):
            left, top, right, low, x, y = corners[quadrant][row]
            source = halves[next(half)] if shrinks else wholes[number]
            canvas[row, :, top:low, left:right] = source[:, top - y : low - y, left - x : right - x]
    return mosaics


def _anywhere(images: Tensor, number: int) -> Floats:
    """Windows (M, 4) that cut nothing."""
    height, width = images.shape[2:]
    return np.tile(np.array([-width, -height, width, height], np.float32) / 2, (number, 1))
