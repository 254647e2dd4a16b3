"""What the pictures of a training batch are made of, so that a task's targets can follow the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Parts:
    """N pictures, each made of P parts: what other pictures show within a window. Later parts lie on top.

    `rows` (P, N): which picture a part shows. `moves` (P, N, 2, 3): where the points of that picture moved, from
    (x, y, 1) to the new (x, y); x to the right and y down from the centre, in pixels. `windows` (P, N, 4): left, top,
    right and bottom of what is seen of it, in the same pixels; all 0 where a picture has fewer parts. `hides` (P,):
    whether a part hides those before it, within its window.
    """

    rows: NDArray[np.int64]
    moves: Floats
    windows: Floats
    hides: NDArray[np.bool_]

    def __len__(self) -> int:
        return int(self.rows.shape[1])

    @classmethod
    def whole(cls, moves: Floats, size: Sequence[int]) -> Self:
        """Of pictures of a size (H, W) that show nothing but themselves, moved by `moves` (N, 2, 3)."""
        height, width = size
        window = np.array([-width, -height, width, height], np.float32) / 2
        count = len(moves)
        rows = np.arange(count)[None]
        return cls(rows, moves[None], np.tile(window, (1, count, 1)), np.zeros(1, np.bool_))

    def of(self, pictures: NDArray[np.int64], moves: Floats, windows: Floats) -> Self:
        """The parts of other pictures of the batch, moved further and seen within windows.

        Args:
            pictures: (N,) which picture is shown.
            moves: (N, 2, 3) where its points moved.
            windows: (N, 4) what is seen of each, cut further by the windows that the parts have.
        """
        seen = _moved_windows(self.windows[:, pictures], moves)
        low = np.maximum(seen[..., :2], windows[:, :2])
        high = np.maximum(np.minimum(seen[..., 2:], windows[:, 2:]), low)
        return type(self)(
            self.rows[:, pictures],
            chained(self.moves[:, pictures], moves),
            np.concatenate([low, high], -1),
            self.hides,
        )

    def and_then(self, others: Self) -> Self:
        """All these parts, and others of the same pictures on top."""
        pairs = zip(vars(self).values(), vars(others).values(), strict=True)
        return type(self)(*(np.concatenate(pair) for pair in pairs))

    def between(self, start: int, end: int, shift: int = 0) -> Self:
        """Of some of the pictures in their order, with `shift` added to the numbers of all."""
        chosen = slice(start, end)
        return type(self)(self.rows[:, chosen] + shift, self.moves[:, chosen], self.windows[:, chosen], self.hides)


def chained(first: Floats, then: Floats) -> Floats:
    """One move (..., 2, 3) after another."""
    matrix = then[..., :2] @ first
    matrix[..., 2] += then[..., 2]
    return np.asarray(matrix, np.float32)


def _moved_windows(windows: Floats, moves: Floats) -> Floats:
    """Windows (..., 4) after moves (..., 2, 3) that turn nothing, but may mirror."""
    corners = windows.reshape(*windows.shape[:-1], 2, 2)
    scale = np.stack([moves[..., 0, 0], moves[..., 1, 1]], -1)[..., None, :]
    moved = corners * scale + moves[..., None, :, 2]
    return np.concatenate([moved.min(-2), moved.max(-2)], -1)
