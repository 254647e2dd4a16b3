"""Boxes: what a head that gives them can do, how they overlap, and which of them are kept.

A box is cx, cy, w, h in shares of the picture's width and height. Targets are (N, K, 5): boxes with their class, rows
of -1 where a picture has fewer. Candidates are (N, M, 6): score, class, box.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

IouKind = Literal["iou", "giou", "ciou"]

_IOU_EPS = 1e-7


class BoxHead(nn.Module, ABC):
    """A head that gives boxes: it has its own loss and its own decoding.

    `nms_iou` is the overlap from which the lower of two candidates of one class is a duplicate, None where candidates
    have no duplicates to remove. `LOSS_WEIGHTS` weigh the terms of the loss, 1 where a term is not named.
    """

    nms_iou: float | None = None
    LOSS_WEIGHTS: ClassVar[Mapping[str, float]] = {}

    @abstractmethod
    def loss_terms(self, raw: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """The parts of the loss by name, scalars; `raw` is what the head gave, targets (N, K, 5) on its device."""

    def loss(self, raw: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum of the loss's terms, a scalar."""
        terms = self.loss_terms(raw, targets)
        return torch.stack([self.LOSS_WEIGHTS.get(name, 1.0) * term for name, term in terms.items()]).sum()

    @abstractmethod
    def decode(self, raw: Tensor) -> Tensor:
        """All candidates (N, M, 6) of what the head gave, in no order and of any score."""

    def prepare(self, targets: NDArray[np.float32]) -> None:
        """Look at the targets (N, K, 5) of the training split, once before the training."""
        del targets


def is_box(targets: Tensor) -> Tensor:
    """Which rows of targets (N, K, 5) hold a box (N, K)."""
    return targets[..., 4] >= 0


def iou(a: Tensor, b: Tensor, kind: IouKind = "iou") -> Tensor:
    """Intersection over union of boxes (..., 4) and (..., 4), pair by pair.

    Args:
        a: boxes.
        b: boxes, of a shape that broadcasts to that of `a`.
        kind: `giou` subtracts the share of the enclosing box that neither fills (Rezatofighi et al. 2019), `ciou` the
            squared distance of the centres and the difference of the aspect ratios (Zheng et al. 2020).

    Returns:
        (...), 0..1; down to -1 for `giou` and to about -1.5 for `ciou`.
    """
    a_low, a_high = a[..., :2] - a[..., 2:] / 2, a[..., :2] + a[..., 2:] / 2
    b_low, b_high = b[..., :2] - b[..., 2:] / 2, b[..., :2] + b[..., 2:] / 2
    shared = _area((torch.minimum(a_high, b_high) - torch.maximum(a_low, b_low)).clamp(min=0))
    union = _area(a[..., 2:]) + _area(b[..., 2:]) - shared
    overlap = shared / (union + _IOU_EPS)
    if kind == "iou":
        return overlap
    enclosing = torch.maximum(a_high, b_high) - torch.minimum(a_low, b_low)
    if kind == "giou":
        hull = _area(enclosing)
        return overlap - (hull - union) / (hull + _IOU_EPS)
    distance = (a[..., :2] - b[..., :2]).square().sum(-1) / (enclosing.square().sum(-1) + _IOU_EPS)
    slant = torch.atan(a[..., 2] / (a[..., 3] + _IOU_EPS)) - torch.atan(b[..., 2] / (b[..., 3] + _IOU_EPS))
    aspect = 4 / math.pi**2 * slant.square()
    with torch.no_grad():
        weight = aspect / (1 - overlap + aspect + _IOU_EPS)
    return overlap - distance - weight * aspect


def _area(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]


def corners(height: int, width: int, like: Tensor) -> Tensor:
    """Column and row (height * width, 2) of each cell of a map, row by row."""
    options: dict[str, Any] = {"dtype": like.dtype, "device": like.device}
    columns, rows = torch.arange(width, **options), torch.arange(height, **options)
    return torch.stack([columns.repeat(height), rows.repeat_interleave(width)], 1)


def cells(targets: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Where the centres of targets (N, K, 5) lie on a map: their cells (N, K), and where in the cell (N, K, 2), 0..1.

    Cells are counted row by row; a missing target lies in cell 0.
    """
    sides = targets.new_tensor([width, height])
    places = targets[..., :2].clamp(min=0) * sides
    corner = torch.minimum(places.floor(), sides - 1)
    return (corner[..., 1] * width + corner[..., 0]).long(), places - corner


def is_last(keys: Tensor, is_present: Tensor) -> Tensor:
    """Which present rows (N, K) have no present row after them with the same key (N, K): one of equals is chosen."""
    is_later = torch.ones(2 * (keys.shape[1],), dtype=torch.bool, device=keys.device).triu(1)
    is_same = (keys[:, :, None] == keys[:, None, :]) & is_present[:, None, :]
    return is_present & ~(is_same & is_later).any(2)


def mean_over(values: Tensor, is_counted: Tensor) -> Tensor:
    """The mean of those values (N, K) that count (N, K), a scalar; 0 where none does."""
    return (values * is_counted).sum() / is_counted.sum().clamp(min=1)


def best(candidates: Tensor, max_boxes: int, nms_iou: float | None) -> Tensor:
    """TEMPORARY."""
    count = min(max_boxes * 2 if nms_iou else max_boxes, candidates.shape[1])
    order = candidates[..., 0].topk(count, 1).indices
    top = candidates.gather(1, order[..., None].expand(-1, -1, 6))
    if nms_iou:
        boxes = top[..., 2:]
        over = (iou(boxes[:, :, None], boxes[:, None]) > nms_iou) & (top[:, :, None, 1] == top[:, None, :, 1])
        over = (over & torch.ones(count, count, dtype=torch.bool, device=top.device).triu(1)).to(top.dtype)
        keep = top.new_ones(top.shape[:2])
        for _ in range(4):
            keep = ((keep[:, None] @ over)[:, 0] == 0).to(top.dtype)
        score = top[..., 0] * keep
        score, order = score.topk(min(max_boxes, count), 1)
        top = torch.cat([score[..., None], top.gather(1, order[..., None].expand(-1, -1, 6))[..., 1:]], 2)
    is_kept = (top[..., :1] > 0).to(top.dtype)
    top = top * is_kept - torch.nn.functional.pad(1 - is_kept, (1, 4))
    return torch.nn.functional.pad(top, (0, 0, 0, max_boxes - top.shape[1])) if top.shape[1] < max_boxes else top
