"""Objects of other pictures, pasted by their boxes (as Ghiasi 2021 does by masks)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from whc.tasks.parts import Parts
from whc.training.augmentation.numbers import Floats, drawn, on
from whc.training.augmentation.partners import Numbers, chosen, others, seen_in, stay
from whc.training.augmentation.settings import Augmentation

LEAST_SIDE = 2  # pixels of an object that is pasted


def paste(
    images: Tensor,
    parts: Parts,
    settings: Augmentation,
    generator: torch.Generator,
    originals: Tensor,
    objects: Floats,
) -> Parts:
    """Paste up to `paste_count` objects on top of some pictures, in place.

    Args:
        images: (N, T*3, H, W).
        parts: what they are made of.
        settings: probability and strengths.
        generator: the only source of randomness.
        originals: (N, T*3, H, W) pictures from which objects are pasted.
        objects: (N, K, 4) left, top, right, bottom of these in pixels from the centre, 0 where there is none.
    """
    count = len(images)
    rows = chosen(settings.copy_paste, count, generator)
    sources = Parts.whole(stay(count), images.shape[2:])
    sources = Parts(sources.rows, sources.moves, sources.windows, np.ones(1, np.bool_))
    numbers = drawn(generator, settings.paste_count, 5, len(rows))
    pastes = 1 + (drawn(generator, len(rows)) * settings.paste_count).astype(np.int64)
    for turn, of_turn in enumerate(numbers):
        donors = others(rows, count, of_turn[0])
        boxes = _picked(objects[donors], of_turn[1])
        is_pasted = (turn < pastes) & (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(1)
        targets, pictures = rows[is_pasted], donors[is_pasted]
        moves, windows = _place(boxes[is_pasted], of_turn[2:, is_pasted], settings.paste_scale, images)
        if len(targets):
            _draw(images, targets, originals.index_select(0, on(images, pictures)), moves, windows)
        parts = parts.and_then(seen_in(sources, targets, pictures, moves, windows))
    return parts


def _picked(objects: Floats, numbers: Floats) -> Floats:
    """One of the objects (M, K, 4) of each picture that are large enough, by drawn numbers (M,); else a small one."""
    is_large = (objects[..., 2:] - objects[..., :2] >= LEAST_SIDE).all(-1)
    ranks = (numbers * is_large.sum(1)).astype(np.int64)
    order = np.argsort(~is_large, axis=1, kind="stable")
    rows = np.arange(len(objects))
    return np.asarray(objects[rows, order[rows, ranks]])


def _place(boxes: Floats, numbers: Floats, jitter: float, images: Tensor) -> tuple[Floats, Floats]:
    """Moves (M, 2, 3) and windows (M, 4) of boxes (M, 4) at random places and sizes, both in whole pixels."""
    height, width = images.shape[2:]
    sides = np.array([width, height], np.float32)
    before = boxes[:, 2:] - boxes[:, :2]
    scale = 1 + jitter * (2 * numbers[:1].T - 1)
    after = np.clip(np.rint(before * scale), 1, sides)
    low = np.floor(numbers[1:].T * (sides - after + 1)).clip(0, sides - after) - sides / 2
    moves = np.zeros((len(boxes), 2, 3), np.float32)
    moves[:, [0, 1], [0, 1]] = after / before
    moves[:, :, 2] = low - boxes[:, :2] * after / before
    return moves, np.concatenate([low, low + after], 1).astype(np.float32)


def _draw(images: Tensor, rows: Numbers, pictures: Tensor, moves: Floats, windows: Floats) -> None:
    """Sample what the `pictures` (M, C, H, W) show in the windows, in place in the `rows` of the images."""
    height, width = images.shape[2:]
    lines, insides = [], []
    for axis, side in enumerate((width, height)):
        places = np.arange(side, dtype=np.float32) + 0.5 - side / 2
        low, high = windows[:, axis, None], windows[:, axis + 2, None]
        lines.append(on(images, ((places - moves[:, axis, 2:]) / moves[:, axis, axis, None] * 2 / side)))
        insides.append(on(images, (places > low) & (places < high)))
    grid = torch.stack([lines[0][:, None].expand(-1, height, -1), lines[1][:, :, None].expand(-1, -1, width)], -1)
    shown = grid_sample(pictures, grid, padding_mode="border", align_corners=False)
    is_inside = (insides[0][:, None] & insides[1][:, :, None])[:, None]
    index = on(images, rows)
    images.index_copy_(0, index, torch.where(is_inside, shown, images.index_select(0, index)))
