"""Pillow's bilinear filter, which becomes wider as it shrinks more, without Pillow.

Weights are whole multiples of 2^-22 and each of the two passes rounds to whole levels, as in Pillow, so the result is
the same bit by bit: columns first, as up to Pillow 12. Pillow 13 takes rows first where the height shrinks by more than
twice as many pixels as the width; some levels of such pictures differ by 1.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

_ONE = 1 << 22
_BAND = 16  # rows that are computed together: their weights are zero outside a narrow band
_CACHED_SIZES = 256


def shrink(picture: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of any size at (height, width, 3); it is enlarged where that is larger."""
    narrow = cv2.transpose(_resized_rows(cv2.transpose(picture), width))
    return _resized_rows(np.asarray(narrow, np.uint8), height)


def _resized_rows(picture: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """A picture (N, ...) with `count` rows."""
    if len(picture) == count:
        return picture
    weights, starts, stops = _weights(len(picture), count)
    # In float64 every sum of these whole numbers is exact, and the product uses all of the processor.
    rows = picture.reshape(len(picture), -1).astype(np.float64)
    sums = np.empty((count, rows.shape[1]))
    for top in range(0, count, _BAND):
        start, stop = starts[top], stops[min(top + _BAND, count) - 1]
        np.matmul(weights[top : top + _BAND, start:stop], rows[start:stop], out=sums[top : top + _BAND])
    return ((sums + _ONE / 2) / _ONE).astype(np.uint8).reshape(count, *picture.shape[1:])


@lru_cache(_CACHED_SIZES)
def _weights(size: int, count: int) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Weights (count, size) of the rows of a picture, and where those of each new row start and stop (count,)."""
    scale = size / count
    reach = max(scale, 1.0)
    centres = ((np.arange(count) + 0.5) * scale)[:, None]
    starts = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    stops = np.minimum((centres + reach + 0.5).astype(np.int64), size)
    rows = np.arange(size)
    weights = np.maximum(1 - np.abs((rows - centres + 0.5) * (1 / reach)), 0)
    weights[(rows < starts) | (rows >= stops)] = 0
    weights /= np.cumsum(weights, axis=1)[:, -1:]  # summed one by one, as Pillow does
    return np.floor(weights * _ONE + 0.5), starts[:, 0], stops[:, 0]
