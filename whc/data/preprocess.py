"""From a picture to a network's input: the one function that the trainer and the demo share.

Pictures are RGB uint8 (height, width, 3) throughout; the network takes float32 in 0..1.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]

RESIZE = "stretch"
INTERPOLATION = "area"


def decode(encoded: bytes) -> Image | None:
    """Decode an image file (JPEG, PNG ...) to RGB (height, width, 3), or None when it cannot be read."""
    if not encoded:
        return None
    try:
        picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:
        return None
    return None if picture is None else np.asarray(picture, np.uint8)


def resize(picture: Image, height: int, width: int) -> Image:
    """Stretch a picture to (height, width, 3): area averaging when it shrinks, bilinear when it grows."""
    if picture.shape[:2] == (height, width):
        return picture
    shrinks = picture.shape[0] >= height and picture.shape[1] >= width
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (width, height), interpolation=method), np.uint8)


def _still(windows: Image) -> Image:
    return windows[:, 0].transpose(0, 3, 1, 2)


def _frame_stack(windows: Image) -> Image:
    count, frames, height, width, channels = windows.shape
    return windows.transpose(0, 1, 4, 2, 3).reshape(count, frames * channels, height, width)


LAYOUTS: dict[str, Callable[[Image], Image]] = {"still": _still, "frame_stack": _frame_stack}


def pack(windows: Image, layout: str) -> Image:
    """Arrange windows of frames as a network's input, still uint8 (training moves bytes, not floats).

    Args:
        windows: (N, T, H, W, 3), oldest frame first.
        layout: `still` gives (N, 3, H, W) and needs T = 1; `frame_stack` gives (N, T*3, H, W).
    """
    return np.ascontiguousarray(LAYOUTS[layout](windows))


def to_input(windows: Image, layout: str) -> NDArray[np.float32]:
    """The network's input: `pack`, as float32 in 0..1."""
    return pack(windows, layout).astype(np.float32) / np.float32(255)
