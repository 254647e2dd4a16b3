"""Which pictures of a batch are put together, and what is seen of each."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from whc.tasks.parts import Parts
from whc.training.augmentation.numbers import Floats, drawn

Numbers = NDArray[np.int64]


def chosen(chance: float, count: int, generator: torch.Generator) -> Numbers:
    """Numbers of the pictures that take a step."""
    return np.flatnonzero(drawn(generator, count) < np.float32(chance))


def others(pictures: Numbers, count: int, numbers: Floats) -> Numbers:
    """For each of M pictures, another one of the batch of `count`; itself where it is alone. Drawn numbers (..., M)."""
    steps = 1 + (numbers * max(count - 1, 1)).astype(np.int64)
    return np.asarray((pictures + steps) % count)


def seen_in(
    parts: Parts, rows: Numbers, pictures: Numbers, moves: Floats, windows: Floats, keeps_rest: bool = False
) -> Parts:
    """What `rows` (M,) of the pictures show of others, by moves and windows; the rest shows nothing, or itself."""
    count = len(parts)
    all_pictures, all_moves, all_windows = np.arange(count), stay(count), np.zeros((count, 4), np.float32)
    if keeps_rest:
        all_windows = parts.windows[0].copy()
    all_pictures[rows], all_moves[rows], all_windows[rows] = pictures, moves, windows
    return parts.of(all_pictures, all_moves, all_windows)


def stay(count: int) -> Floats:
    """Moves (N, 2, 3) that change nothing."""
    return np.tile(np.eye(2, 3, dtype=np.float32), (count, 1, 1))
