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
from torch.nn.functional import pad

IouKind = Literal["iou", "giou", "ciou"]

NMS_CANDIDATES = 100  # of the best score, among which duplicates are looked for at least
_IOU_EPS = 1e-7
_MOST_PAIRS = 2**24  # that are compared at a time


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
    def read(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Scores of each class (N, M, C), 0..1, and boxes (N, M, 4) of all places that can give a box."""

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
    shared, union = _overlap(a, b)
    overlap = shared / (union + _IOU_EPS)
    if kind == "iou":
        return overlap
    enclosing = torch.maximum(_high(a), _high(b)) - torch.minimum(_low(a), _low(b))
    if kind == "giou":
        hull = _area(enclosing)
        return overlap - (hull - union) / (hull + _IOU_EPS)
    distance = (a[..., :2] - b[..., :2]).square().sum(-1) / (enclosing.square().sum(-1) + _IOU_EPS)
    slant = torch.atan(a[..., 2] / (a[..., 3] + _IOU_EPS)) - torch.atan(b[..., 2] / (b[..., 3] + _IOU_EPS))
    aspect = 4 / math.pi**2 * slant.square()
    with torch.no_grad():
        weight = aspect / (1 - overlap + aspect + _IOU_EPS)
    return overlap - distance - weight * aspect


def _overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """The areas that boxes share, and that they fill together."""
    shared = _area((torch.minimum(_high(a), _high(b)) - torch.maximum(_low(a), _low(b))).clamp(min=0))
    return shared, _area(a[..., 2:]) + _area(b[..., 2:]) - shared


def _low(boxes: Tensor) -> Tensor:
    return boxes[..., :2] - boxes[..., 2:] / 2


def _high(boxes: Tensor) -> Tensor:
    return boxes[..., :2] + boxes[..., 2:] / 2


def _area(sides: Tensor) -> Tensor:
    return sides[..., 0] * sides[..., 1]


def best(candidates: Tensor, max_boxes: int, nms_iou: float | None, one_class: bool = False) -> Tensor:
    """The candidates of the best scores, without duplicates.

    Args:
        candidates: (N, M, 6) score, class, cx, cy, w, h; scores are 0 or more.
        max_boxes: how many of a picture are kept at most.
        nms_iou: a candidate is a duplicate if it overlaps a better one of its class by more, which is no duplicate
            itself (greedy non-maximum suppression). They are looked for among the best `NMS_CANDIDATES`, or
            `max_boxes` if that is more. None keeps all.
        one_class: whether all candidates are of one class, which takes fewer steps in the exported file.

    Returns:
        (N, max_boxes, 6), best first; what is missing has score 0, class -1 and a box of zeros.
    """
    scores = candidates[..., 0]
    if nms_iou is not None:
        if candidates.shape[1] > (most := max(max_boxes, NMS_CANDIDATES)):
            scores, candidates = _highest(scores, candidates, most)
        scores = without_duplicates(candidates[..., 2:], scores, candidates[..., 1], nms_iou, one_class)
    scores, rows = _highest(scores, candidates, max_boxes)
    if absent := max_boxes - rows.shape[1]:
        scores, rows = pad(scores, (0, absent), value=-1.0), pad(rows, (0, 0, 0, absent))
    if nms_iou is None and not absent:
        return rows
    missing = rows.new_tensor([0.0, -1.0, 0.0, 0.0, 0.0, 0.0])
    return torch.where(scores[..., None] < 0, missing, rows)


def _highest(scores: Tensor, candidates: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` highest scores (N, M), sorted, and their candidates; all where there are fewer."""
    highest, places = scores.topk(min(count, scores.shape[1]))
    return highest, candidates.gather(1, places[..., None].expand(-1, -1, candidates.shape[2]))


@torch.library.custom_op(
    "whc::without_duplicates",
    mutates_args=(),
    schema="(Tensor boxes, Tensor scores, Tensor labels, float nms_iou, bool one_class) -> Tensor",
)
def without_duplicates(boxes: Tensor, scores: Tensor, labels: Tensor, nms_iou: float, one_class: bool) -> Tensor:
    """Scores (N, K) with -1 for duplicates of boxes (N, K, 4) of better scores, or of equal ones that come earlier.

    It is an operator of its own, because ONNX has one that takes a fifth of the time of comparing all pairs (80 boxes,
    one thread of ONNX Runtime: 40 microseconds against 200), and is exact however long a chain of duplicates is.
    """
    del one_class  # comparing labels is cheap here
    size = max(1, _MOST_PAIRS // max(1, scores.shape[1]) ** 2)
    order = scores.argsort(dim=1, descending=True, stable=True)
    sorted_boxes, sorted_labels = boxes.gather(1, order[..., None].expand_as(boxes)), labels.gather(1, order)
    parts = zip(torch.split(sorted_boxes, size), torch.split(sorted_labels, size), strict=True)
    kept = torch.cat([_kept(some, names, nms_iou) for some, names in parts])
    return torch.where(torch.zeros_like(kept).scatter(1, order, kept), scores, -1.0)


@without_duplicates.register_fake
def _(boxes: Tensor, scores: Tensor, labels: Tensor, nms_iou: float, one_class: bool) -> Tensor:
    del boxes, labels, nms_iou, one_class
    return torch.empty_like(scores)


def _kept(boxes: Tensor, labels: Tensor, nms_iou: float) -> Tensor:
    """Which boxes (N, K, 4), best first, duplicate no box that is kept (N, K).

    A box is kept if no kept one before it overlaps it: each round settles one box more at least, most of them at once.
    """
    shared, union = _overlap(boxes[:, :, None], boxes[:, None])
    is_rival = (shared > nms_iou * union.clamp(min=0)) & (labels[:, :, None] == labels[:, None])
    suppresses = is_rival.triu(1)
    kept, settled = torch.ones_like(labels, dtype=torch.bool), False
    while not settled:
        before, kept = kept, ~(suppresses & kept[:, :, None]).any(1)
        settled = torch.equal(before, kept)
    return kept


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
