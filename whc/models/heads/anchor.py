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


class Config(PluginConfig):
    """The anchors, and how they become boxes.

    `anchors` are pairs of width and height in shares of the picture; without them `num_anchors` are found among the
    boxes of the training split. `iou` is what the loss of the boxes is 1 minus. `size` makes a positive factor of the
    raw number: `exp`, or `softplus`, which grows slower. `nms_iou` is the overlap of duplicates; None keeps them.
    """

    num_anchors: int = Field(3, ge=1, le=16)
    anchors: tuple[tuple[float, float], ...] = ()
    iou: IouKind = "giou"
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
        """`box`: 1 - IoU, a mean over boxes; `obj`: cross-entropy, a mean over all; `cls`: summed over the classes.

        A box belongs to the cell of its centre and to the anchor of the nearest shape. A later one takes its place.
        """
        height, width = raw.shape[2:]
        rows = self._rows(raw)
        anchor = _shape_iou(targets[..., 2:4], self.anchors).argmax(2)
        cell, _ = cells(targets, height, width)
        place = anchor * (height * width) + cell
        owns = is_last(place, is_box(targets))
        at_places = rows.gather(1, place[..., None].expand(-1, -1, rows.shape[2]))
        boxes = self._boxes(at_places[..., :4], self.anchors[anchor], corners(height, width, raw)[cell], height, width)
        labels = one_hot(targets[..., 4].long().clamp(min=0), self.classes).to(raw.dtype)
        missed = binary_cross_entropy_with_logits(at_places[..., 5:], labels, reduction="none").sum(2)
        objects = torch.zeros_like(rows[..., 4]).scatter_add(1, place, owns.to(raw.dtype))
        return {
            "box": mean_over(1 - iou(boxes, targets[..., :4], self.config.iou), owns),
            "obj": binary_cross_entropy_with_logits(rows[..., 4], objects),
            "cls": mean_over(missed, owns),
        }

    def decode(self, raw: Tensor) -> Tensor:
        """One candidate for each anchor and cell, of its best class."""
        height, width = raw.shape[2:]
        rows = self._rows(raw)
        anchor = self.anchors.repeat_interleave(height * width, 0)
        corner = corners(height, width, raw).repeat(len(self.anchors), 1)
        boxes = self._boxes(rows[..., :4], anchor, corner, height, width)
        scores = rows[..., 4:].sigmoid()
        if self.classes == 1:
            label, best = torch.zeros_like(scores[..., :1]), scores[..., 1:]
        else:
            label = scores[..., 1:].argmax(2, keepdim=True).to(raw.dtype)
            best = scores[..., 1:].amax(2, keepdim=True)
        return torch.cat([scores[..., :1] * best, label, boxes], 2)

    def _rows(self, raw: Tensor) -> Tensor:
        """The map as one row for each anchor and cell, (N, A * cells, 5 + C)."""
        count, parts, places = len(self.anchors), 5 + self.classes, raw.shape[2] * raw.shape[3]
        return raw.reshape(-1, count, parts, places).transpose(2, 3).reshape(-1, count * places, parts)

    def _boxes(self, raw: Tensor, anchor: Tensor, corner: Tensor, height: int, width: int) -> Tensor:
        """Boxes (..., 4) from their raw numbers (..., 4), anchors (..., 2) and cells' corners (..., 2)."""
        centre = (raw[..., :2].sigmoid() + corner) / raw.new_tensor([width, height])
        factor = raw[..., 2:].exp() if self.config.size == "exp" else softplus(raw[..., 2:])
        return torch.cat([centre, anchor * factor], -1)


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
