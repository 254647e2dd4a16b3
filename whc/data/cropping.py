"""Crops around boxes, as a model sees them: cut alike for the demo and for a data set."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from whc.data.preprocess import Image, resize
from whc.errors import UsageError, problem
from whc.records import CropRule

DEFAULT_MARGIN = 0.2
MIN_MARGIN, MAX_MARGIN, MAX_OFFSET = -0.4, 1.5, 1.0
MEASURED_SIDE = 128  # pixels of a crop's longer side, in which a detector finds its object
MIN_FOUND = 20  # crops in which a detector must find something, for a measure that can be trusted

Edges = tuple[int, int, int, int]
"""Left, top, right and bottom (exclusive) in pixels; they may lie outside the picture."""
Find = Callable[[Image], NDArray[np.float64]]
"""From a picture to boxes (M, 5): score 0..1, cx, cy, w, h in shares of the picture, best first."""


class Followed(Protocol):
    """Finds the people of one clip, frame by frame."""

    def __call__(self, picture: Image, seconds: float) -> Sequence[tuple[int, Sequence[float]]]:
        """Each person's identity, and its box (cx, cy, w, h in shares of the picture)."""


def margin_rule(text: str | None, detector: str, aspect: float = 1.0) -> CropRule:
    """The rule of crops with a margin on each side, given as `SHARE` or `SHARE,RIGHT,DOWN`; None: DEFAULT_MARGIN.

    SHARE is the margin on each side, as a share of the side of the smallest crop that covers the box; a negative one
    cuts into the box. RIGHT and DOWN move the crop, in the same shares.

    Raises:
        UsageError: the text is not such numbers, or one of them is out of range.
    """
    if text is None:
        text = str(DEFAULT_MARGIN)
    rule = (
        f"must be a share in {MIN_MARGIN:g}..{MAX_MARGIN:g}, or with how far the crop lies to the right and down "
        f"(each within {-MAX_OFFSET:g}..{MAX_OFFSET:g})"
    )
    error = UsageError(problem("--margin", rule, text, f"write {DEFAULT_MARGIN:g}, or {DEFAULT_MARGIN:g},0,-0.05"))
    try:
        share, *offsets = [float(part) for part in text.split(",")]
    except ValueError:
        raise error from None
    if not MIN_MARGIN <= share <= MAX_MARGIN or len(offsets) not in (0, 2):
        raise error
    if not all(-MAX_OFFSET <= offset <= MAX_OFFSET for offset in offsets):
        raise error
    right, down = offsets or (0.0, 0.0)
    return CropRule(detector=detector, scale=1 + 2 * share, offset_x=right, offset_y=down, aspect=aspect)


def margin_text(rule: CropRule) -> str:
    """A rule as `--margin` takes it."""
    share = f"{(rule.scale - 1) / 2:.3g}"
    return f"{share},{rule.offset_x:.3g},{rule.offset_y:.3g}" if rule.offset_x or rule.offset_y else share


def crop_edges(box: Sequence[float], size: tuple[int, int], rule: CropRule) -> Edges:
    """Where the crop around a box lies.

    Args:
        box: cx, cy, w, h in shares of the picture.
        size: height and width of the picture in pixels.
        rule: how much larger the crop is than the box, and where it lies. The crop covers the box at scale 1.

    Returns:
        Edges of at least one pixel.
    """
    height, width = size
    cx, cy, w, h = box[0] * width, box[1] * height, box[2] * width, box[3] * height
    tall = max(h, w / rule.aspect)
    wide = tall * rule.aspect
    crop_height, crop_width = max(1.0, tall * rule.scale), max(1.0, wide * rule.scale)
    left = round(cx + rule.offset_x * wide - crop_width / 2)
    top = round(cy + rule.offset_y * tall - crop_height / 2)
    return left, top, left + round(crop_width), top + round(crop_height)


def cut(picture: Image, edges: Edges) -> Image:
    """The part of a picture (H, W, 3) between edges; outside the picture its border goes on."""
    height, width = picture.shape[:2]
    left, top, right, bottom = edges
    # At least a row and a column of the picture, from which the border can go on.
    inner_left, inner_top = min(max(left, 0), width - 1), min(max(top, 0), height - 1)
    inner_right, inner_bottom = max(min(right, width), inner_left + 1), max(min(bottom, height), inner_top + 1)
    inner = picture[inner_top:inner_bottom, inner_left:inner_right]
    missing = (inner_top - top, bottom - inner_bottom, inner_left - left, right - inner_right)
    if not any(missing):
        return inner
    before_y, after_y, before_x, after_x = (max(0, pixels) for pixels in missing)
    padded = cv2.copyMakeBorder(inner, before_y, after_y, before_x, after_x, cv2.BORDER_REPLICATE)
    return np.asarray(padded[: bottom - top, : right - left], np.uint8)


class CropMeasure(BaseModel):
    """How the crops of a data set lie around a detector's boxes.

    `rule` has the medians over the `found` of `looked` crops in which the detector finds something; None if it finds
    something in fewer than MIN_FOUND. `spread` is half the distance between the quartiles of the scale.
    """

    model_config = ConfigDict(frozen=True)

    looked: int
    found: int
    rule: CropRule | None
    spread: float


def measure(crops: Iterable[Image], find: Find, detector: str) -> CropMeasure:
    """Measure how crops were cut, from where a detector finds its object in them.

    A crop may cut its object off. So the detector sees it in the middle of a larger picture, in which its border goes
    on; the object is the box whose centre is nearest to that of the crop.
    """
    looked, rows = 0, []
    for crop in crops:
        looked += 1
        height, width = crop.shape[:2]
        scale = MEASURED_SIDE / max(height, width)
        large = resize(crop, max(1, round(height * scale)), max(1, round(width * scale)))
        down, across = large.shape[0] // 2, large.shape[1] // 2
        canvas = cut(large, (-across, -down, large.shape[1] + across, large.shape[0] + down))
        boxes = find(canvas)
        if len(boxes):
            nearest = boxes[np.abs(boxes[:, 1:3] - 0.5).max(1).argmin(), 1:]
            rows.append(_placed(nearest, (canvas.shape[0], canvas.shape[1]), large.shape[1] / large.shape[0]))
    if len(rows) < MIN_FOUND:
        return CropMeasure(looked=looked, found=len(rows), rule=None, spread=0.0)
    medians = np.median(rows, axis=0).clip((0.01, -MAX_OFFSET, -MAX_OFFSET, 0.02), (4, MAX_OFFSET, MAX_OFFSET, 50))
    scale, right, down, aspect = medians.round(3).tolist()
    quartiles = np.quantile([row[0] for row in rows], (0.25, 0.75))
    rule = CropRule(detector=detector, scale=scale, offset_x=right, offset_y=down, aspect=aspect)
    spread = float(quartiles[1] - quartiles[0]) / 2
    return CropMeasure(looked=looked, found=len(rows), rule=rule, spread=spread)


def _placed(box: NDArray[np.float64], canvas: tuple[int, int], aspect: float) -> tuple[float, float, float, float]:
    """Scale, offsets and aspect of a crop in the middle half of a canvas, for the box that was found in it."""
    height, width = canvas
    tall = max(box[3] * height, box[2] * width / aspect)
    right = (0.5 - box[0]) * width / (tall * aspect)
    return height / 2 / tall, float(right), float((0.5 - box[1]) * height / tall), aspect
