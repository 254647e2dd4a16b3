"""Crops around boxes, as a model sees them: cut alike for the demo and for a data set."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from whc.data.preprocess import Image
from whc.records import CropRule

DEFAULT_MARGIN = 0.2

Edges = tuple[int, int, int, int]
"""Left, top, right and bottom (exclusive) in pixels; they may lie outside the picture."""


def with_margin_of(share: float) -> CropRule:
    """The rule of crops with a margin on each side, as a share of the box's longer side; negative cuts into the box."""
    return CropRule(scale=1 + 2 * share)


def crop_edges(box: Sequence[float], size: tuple[int, int], rule: CropRule, aspect: float = 1.0) -> Edges:
    """Where the crop around a box lies.

    Args:
        box: cx, cy, w, h in shares of the picture.
        size: height and width of the picture in pixels.
        rule: how much larger the crop is than the box, and where it lies. The crop covers the box at scale 1.
        aspect: width over height of the crop, that of the model's input, so that crops are not distorted.

    Returns:
        Edges of at least one pixel.
    """
    height, width = size
    cx, cy, w, h = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    tall = max(h, w / aspect)
    crop_height, crop_width = max(1.0, tall * rule.scale), max(1.0, tall * aspect * rule.scale)
    left = round(cx + rule.offset_x * tall * aspect - crop_width / 2)
    top = round(cy + rule.offset_y * tall - crop_height / 2)
    return left, top, left + round(crop_width), top + round(crop_height)


def cut(picture: Image, edges: Edges) -> Image:
    """The part of a picture (H, W, 3) between edges; outside the picture its border goes on."""
    height, width = picture.shape[:2]
    left, top, right, bottom = edges
    # At least a row and a column of the picture, from which the border can go on.
    inner_left, inner_right = min(max(left, 0), width - 1), max(min(right, width), 1)
    inner_top, inner_bottom = min(max(top, 0), height - 1), max(min(bottom, height), 1)
    inner = picture[inner_top : max(inner_bottom, inner_top + 1), inner_left : max(inner_right, inner_left + 1)]
    before = (max(0, -top), max(0, -left))
    missing_rows = (bottom - top) - inner.shape[0] - before[0]
    missing_columns = (right - left) - inner.shape[1] - before[1]
    if before == (0, 0) and missing_rows <= 0 and missing_columns <= 0:
        return inner
    padded = cv2.copyMakeBorder(
        inner, before[0], max(0, missing_rows), before[1], max(0, missing_columns), cv2.BORDER_REPLICATE
    )
    return np.asarray(padded, np.uint8)
