"""Pictures inside a page, as data URIs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Stroke = tuple[tuple[float, float], tuple[float, float], tuple[int, int, int]]
"""A line from one point to another, in shares of the picture's width and height, and its colour."""

THUMBNAIL_SIDE = 96
_QUALITY = 75


def thumbnail(picture: Image | None, strokes: Sequence[Stroke] = ()) -> str:
    """A picture as the data URI of a small WebP, empty for None.

    Args:
        picture: (H, W, 3) RGB; None for what cannot be read.
        strokes: drawn over it.
    """
    if picture is None or not picture.size:
        return ""
    height, width = picture.shape[:2]
    scale = THUMBNAIL_SIDE / max(height, width)
    size = (max(1, round(scale * width)), max(1, round(scale * height)))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    for start, end, colour in strokes:
        first, last = ((round(x * (size[0] - 1)), round(y * (size[1] - 1))) for x, y in (start, end))
        small = cv2.line(small, first, last, colour, 1, cv2.LINE_AA)
    encoded = cv2.imencode(".webp", np.asarray(small)[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, _QUALITY])[1]
    return _data_uri("webp", encoded.tobytes())


def embedded(path: Path) -> str:
    """A picture file as a data URI; its suffix names its format."""
    return _data_uri(path.suffix[1:], path.read_bytes())


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
