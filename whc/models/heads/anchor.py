"""Boxes as changes of anchors, a few at each cell (YOLO, Redmon and Farhadi 2017), as UHD has it.

(N, A (5 + C), h, w), anchor by anchor: x, y, w, h, whether there is an object, and the logits of C classes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, one_hot, softplus

from whc.models.boxes import BoxHead, IouKind, cells, corners, iou, is_box, is_last, mean_over
from whc.plugins import PluginConfig

GIVES = "boxes"
_KMEANS_ROUNDS = 20
_MOST_PLACES = 10  # that give one box, with `simota`


class Config(PluginConfig):
    """The anchors, and how they become boxes.

    `anchors` are pairs of width and height in shares of the picture; without them `num_anchors` are found among the
    boxes of the training split. `iou` is what the loss of the boxes is 1 minus. `assigner` says which places learn a
    box: `legacy` one, by the shape of its anchor, `simota` several, by their overlap. `size` makes a positive factor
    of the raw number: `exp`, or `softplus`, which grows slower. `nms_iou` is the overlap of duplicates; None keeps
    them.
    """

    num_anchors: int = Field(3, ge=1, le=16)
    anchors: tuple[tuple[float, float], ...] = ()
    iou: IouKind = "giou"
    assigner: Literal["legacy", "simota"] = "legacy"
    size: Literal["exp", "softplus"] = "softplus"
    nms_iou: float | None = Field(0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _count(self) -> Config:
        if self.anchors and len(self.anchors) != self.num_anchors:
            raise ValueError(f"num_anchors must be the number of anchors, {len(self.anchors)}, got {self.num_anchors}")
        if any(side <= 0 for pair in self.anchors for side in pair):
            raise ValueError(f"anchors must be widths and heights above 0, got {self.anchors}; give shares")
        return self


class _Anchor(BoxHead):
    anchors: Tensor

    def __init__(self, config: Config, channels: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.classes, self.config, self.nms_iou = classes, config, config.nms_iou
        squares = [(side / 10, side / 10) for side in range(1, config.num_anchors + 1)]
        self.register_buffer("anchors", torch.tensor(config.anchors or squares))
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, config.num_anchors * (5 + classes), 1))

    def forward(self, features: Tensor) -> Tensor:
        raw: Tensor = self.layers(features)
        return raw

    def prepare(self, targets: NDArray[np.float32]) -> None:
        """Anchors of the sizes of these boxes, unless they are given."""
        sides = targets[targets[..., 4] >= 0][:, 2:4]
        if not self.config.anchors and len(sides) >= self.config.num_anchors:
            self.anchors.copy_(torch.from_numpy(auto_anchors(sides, self.config.num_anchors)))

    def loss_terms(self, raw: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`box`: 1 - IoU; `obj`: cross-entropy, a mean over all places; `cls`: cross-entropy, summed over the classes.

        `box` and `cls` are means over the places that are to give a box. With `simota` a class is to score the IoU.
        """
        rows = self._rows(raw)
        boxes = self._boxes(rows, raw.shape[2], raw.shape[3])
        with torch.no_grad():
            assign = _by_overlap if self.config.assigner == "simota" else self._by_shape
            owner = assign(boxes, targets, raw.shape[2], raw.shape[3])
        has_owner = owner >= 0
        own = targets.gather(1, owner.clamp(min=0)[..., None].expand(-1, -1, 5))
        labels = one_hot(own[..., 4].long().clamp(min=0), self.classes).to(raw.dtype)
        if self.config.assigner == "simota":
            labels = labels * iou(boxes.detach(), own[..., :4])[..., None]
        missed = binary_cross_entropy_with_logits(rows[..., 5:], labels, reduction="none").sum(2)
        return {
            "box": mean_over(1 - iou(boxes, own[..., :4], self.config.iou), has_owner),
            "obj": binary_cross_entropy_with_logits(rows[..., 4], has_owner.to(raw.dtype)),
            "cls": mean_over(missed, has_owner),
        }

    def _by_shape(self, boxes: Tensor, targets: Tensor, height: int, width: int) -> Tensor:
        """Which target's row each place is to give (N, A * cells), -1 for none: the cell of its centre decides.

        There the anchor of the nearest shape gives it. Of two targets of one place the later is given.
        """
        anchor = _shape_iou(targets[..., 2:4], self.anchors).argmax(2)
        place = anchor * (height * width) + cells(targets, height, width)[0]
        place = torch.where(is_last(place, is_box(targets)), place, boxes.shape[1])  # others go to one place more
        row = torch.arange(targets.shape[1], device=targets.device).expand_as(place)
        owner = row.new_full((len(boxes), boxes.shape[1] + 1), -1)
        return owner.scatter(1, place, row)[:, :-1]

    def read(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Of each anchor and cell."""
        rows = self._rows(raw)
        scores = rows[..., 4:].sigmoid()
        return scores[..., :1] * scores[..., 1:], self._boxes(rows, raw.shape[2], raw.shape[3])

    def decode(self, raw: Tensor) -> Tensor:
        """One candidate for each anchor and cell, of its best class."""
        rows = self._rows(raw)
        scores = rows[..., 4:].sigmoid()
        if self.classes == 1:
            label, best = torch.zeros_like(scores[..., :1]), scores[..., 1:]
        else:
            label = scores[..., 1:].argmax(2, keepdim=True).to(raw.dtype)
            best = scores[..., 1:].amax(2, keepdim=True)
        return torch.cat([scores[..., :1] * best, label, self._boxes(rows, raw.shape[2], raw.shape[3])], 2)

    def _rows(self, raw: Tensor) -> Tensor:
        """The map as one row for each anchor and cell, (N, A * cells, 5 + C)."""
        count, parts, places = len(self.anchors), 5 + self.classes, raw.shape[2] * raw.shape[3]
        return raw.reshape(-1, count, parts, places).transpose(2, 3).reshape(-1, count * places, parts)

    def _boxes(self, rows: Tensor, height: int, width: int) -> Tensor:
        """The box of each row (N, A * cells, 4)."""
        anchor = self.anchors.repeat_interleave(height * width, 0)
        corner = corners(height, width, rows).repeat(len(self.anchors), 1)
        centre = (rows[..., :2].sigmoid() + corner) / rows.new_tensor([width, height])
        factor = rows[..., 2:4].exp() if self.config.size == "exp" else softplus(rows[..., 2:4])
        return torch.cat([centre, anchor * factor], 2)


def _by_overlap(boxes: Tensor, targets: Tensor, height: int, width: int) -> Tensor:
    """As `_Anchor._by_shape`, but the places whose boxes (N, M, 4) overlap a target most give it, wherever they lie.

    They are as many as the IoUs of the best `_MOST_PLACES` sum to, 1 at least; a place that several targets ask for
    gives the one that it overlaps most. It is SimOTA (Ge et al. 2021) as UHD has it, with no cost but the overlap.
    """
    del height, width
    overlap = iou(targets[:, :, None, :4], boxes[:, None])
    best = overlap.topk(min(_MOST_PLACES, boxes.shape[1]), 2)
    count = best.values.sum(2, keepdim=True).floor().clamp(min=1)
    is_asked = torch.arange(best.values.shape[2], device=boxes.device) < count
    asks = torch.zeros_like(overlap, dtype=torch.bool).scatter(2, best.indices, is_asked & is_box(targets)[..., None])
    strongest = torch.where(asks, overlap, -1.0).max(1)
    return torch.where(strongest.values >= 0, strongest.indices, -1)


def _shape_iou(sides: Tensor, anchors: Tensor) -> Tensor:
    """IoU (N, K, A) of boxes (N, K, 2) and anchors (A, 2) with one centre."""
    shared = torch.minimum(sides[..., None, :], anchors).prod(-1)
    return shared / (sides.prod(-1)[..., None] + anchors.prod(-1) - shared).clamp(min=1e-9)


def auto_anchors(sides: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """Typical sizes by k-means with IoU as nearness (Redmon and Farhadi 2017).

    Args:
        sides: (M, 2) width and height of M boxes, at least `count`.
        count: how many sizes.

    Returns:
        (count, 2) by area.
    """
    centres: NDArray[np.float32] = sides[np.random.default_rng(0).choice(len(sides), count, replace=False)]
    for _ in range(_KMEANS_ROUNDS):
        shared = np.minimum(sides[:, None], centres).prod(2)
        nearest = (shared / (sides.prod(1)[:, None] + centres.prod(1) - shared)).argmax(1)
        groups = [sides[nearest == i] for i in range(count)]
        moved = np.stack([group.mean(0) if len(group) else old for group, old in zip(groups, centres, strict=True)])
        if np.array_equal(moved, centres):
            break
        centres = moved
    by_area: NDArray[np.float32] = centres[centres.prod(1).argsort()]
    return by_area


def build(config: Config, channels: int, feature_size: tuple[int, int], dropout: float, outputs: int) -> nn.Module:
    """Fits any feature map; `outputs` is the number of classes."""
    del feature_size
    return _Anchor(config, channels, dropout, outputs)
