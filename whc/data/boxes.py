"""Boxes cx, cy, w, h in shares of a picture: their areas, and how much they overlap."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating]


def areas(boxes: Boxes) -> NDArray[np.float64]:
    """Areas (...) of boxes (..., 4), as shares of the picture; 0 where a side is negative."""
    sides = np.maximum(boxes[..., 2:].astype(np.float64), 0)
    return np.asarray(sides[..., 0] * sides[..., 1])


def overlaps(ours: Boxes, theirs: Boxes) -> NDArray[np.float64]:
    """Intersection over union (..., K, T) of boxes (..., K, 4) with boxes (..., T, 4)."""
    a, b = ours[..., :, None, :].astype(np.float64), theirs[..., None, :, :].astype(np.float64)
    half_a, half_b = np.maximum(a[..., 2:], 0) / 2, np.maximum(b[..., 2:], 0) / 2
    ends = np.minimum(a[..., :2] + half_a, b[..., :2] + half_b)
    sides = np.maximum(ends - np.maximum(a[..., :2] - half_a, b[..., :2] - half_b), 0)
    common = sides[..., 0] * sides[..., 1]
    union = areas(ours)[..., :, None] + areas(theirs)[..., None, :] - common
    return np.asarray(common / np.where(union > 0, union, 1))
