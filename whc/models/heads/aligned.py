"""Every cell answers for boxes near it, and those learn that find them best: task-aligned assignment (TOOD, Feng 2021).

(N, C + 4, h, w) holds the logits of C classes, where from the middle of its cell the box's centre lies (x, y), and the
box's size (w, h) before a softplus, all in cells. A score learns the overlap of the cell's own box with the object, so
that it says how good the box is as well (quality focal loss, Li et al. 2020).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, pixel_shuffle, softplus

from whc.models.boxes import BoxHead, IouKind, corners, iou, is_box
from whc.plugins import PluginConfig

GIVES = "boxes"
SCORE_POWER, OVERLAP_POWER = 0.5, 4.0  # of the alignment of a cell with an object
NEAREST_CELLS = 4  # at most so many cells learn an object
REACH_CELLS = 0.75  # from an object's centre, in which cells may learn it though it is smaller
FIRST_LOGIT = -4.0  # of a score before training: objects are rare


class Config(PluginConfig):
    """How many cells there are, and what their boxes learn.

    `upscale`: rows and columns of cells for each of the feature map's; a small map may so have many cells. `iou` is
    what the loss of the boxes is 1 minus.
    """

    upscale: Literal[1, 2, 4] = 2
    iou: IouKind = "ciou"


class _Aligned(BoxHead):
    nms_iou = 0.5
    LOSS_WEIGHTS: ClassVar[Mapping[str, float]] = {"box": 5.0}

    def __init__(self, channels: int, dropout: float, classes: int, config: Config) -> None:
        super().__init__()
        self.classes, self.upscale, self.iou = classes, config.upscale, config.iou
        outputs = (classes + 4) * config.upscale**2
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, outputs, 1))

    def prepare(self, targets: NDArray[np.float32]) -> None:
        """Begin with low scores."""
        del targets
        bias = self.layers[1].bias
        assert isinstance(bias, nn.Parameter)  # noqa: S101 (the convolution has one)
        with torch.no_grad():
            bias[: self.classes * self.upscale**2] = FIRST_LOGIT

    def forward(self, features: Tensor) -> Tensor:
        return pixel_shuffle(self.layers(features), self.upscale)

    def loss_terms(self, raw: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`score`: cross-entropy with the aligned overlaps; `box`: 1 - IoU; both by the sum of the overlaps."""
        logits, boxes = self._read(raw)
        with torch.no_grad():
            quality, chosen, is_chosen = _assign(logits, boxes, targets, raw.shape[3], raw.shape[2])
        total = quality.sum().clamp(min=1)
        labels = targets[..., 4].gather(1, chosen).clamp(min=0).long()
        wanted = torch.zeros_like(logits).scatter(2, labels[..., None], (quality * is_chosen)[..., None])
        learnt = targets[..., :4].gather(1, chosen[..., None].expand(-1, -1, 4))[is_chosen]
        overlap = iou(boxes[is_chosen], learnt, self.iou)
        return {
            "score": binary_cross_entropy_with_logits(logits, wanted, reduction="sum") / total,
            "box": ((1 - overlap) * quality[is_chosen]).sum() / total,
        }

    def read(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Of each cell."""
        logits, boxes = self._read(raw)
        return logits.sigmoid(), boxes

    def decode(self, raw: Tensor) -> Tensor:
        """The likeliest class of each cell with its box."""
        logits, boxes = self._read(raw)
        if self.classes == 1:
            return torch.cat([logits.sigmoid(), torch.zeros_like(logits), boxes], 2)
        score, label = logits.max(2)
        return torch.cat([score.sigmoid()[..., None], label.to(raw.dtype)[..., None], boxes], 2)

    def _read(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N, M, C) and boxes (N, M, 4) of all cells."""
        height, width = raw.shape[2:]
        flat = raw.flatten(2).transpose(1, 2)
        sides = raw.new_tensor([width, height])
        middles = corners(height, width, raw) + 0.5
        centre = (middles + flat[..., self.classes : -2]) / sides
        return flat[..., : self.classes], torch.cat([centre, softplus(flat[..., -2:]) / sides], 2)


def _assign(logits: Tensor, boxes: Tensor, targets: Tensor, width: int, height: int) -> tuple[Tensor, Tensor, Tensor]:
    """Which object each cell learns: the overlap it should give as its score, the object, whether any (each (N, M))."""
    present = is_box(targets)
    targets = targets[:, : max(1, int(present.sum(1).max()))]  # the rest is missing throughout
    present = is_box(targets)
    sides = boxes.new_tensor([width, height])
    middles = (corners(height, width, boxes) + 0.5) / sides
    reach = torch.maximum(targets[..., 2:4] / 2, REACH_CELLS / sides)
    is_near = ((middles - targets[:, :, None, :2]).abs() < reach[:, :, None]).all(3) & present[..., None]
    overlap = iou(boxes[:, None], targets[:, :, None, :4]).clamp(0, 1) * is_near
    labels = targets[..., 4].clamp(min=0).long()[:, None].expand(-1, logits.shape[1], -1)
    scores = logits.gather(2, labels).sigmoid().transpose(1, 2)
    # A little beside the overlap: before a cell's box meets its object, the nearest cell learns it.
    closeness = 1e-3 / (1 + ((middles - targets[:, :, None, :2]) * sides).square().sum(3))
    alignment = (scores**SCORE_POWER * overlap**OVERLAP_POWER + 1e-3 * closeness) * is_near
    count = min(NEAREST_CELLS, alignment.shape[2])
    least = alignment.topk(count, 2).values[..., -1:]
    alignment = alignment * ((alignment >= least) & (alignment > 0))
    best, chosen = alignment.max(1)
    share = alignment / alignment.amax(2, keepdim=True).clamp(min=1e-12)
    quality = (share * overlap.amax(2, keepdim=True).clamp(min=0.1)).gather(1, chosen[:, None])[:, 0]
    is_chosen = best > 0
    return quality * is_chosen, chosen, is_chosen


def build(config: Config, channels: int, feature_size: tuple[int, int], dropout: float, outputs: int) -> nn.Module:
    """Fits any feature map; `outputs` is the number of classes."""
    del feature_size
    return _Aligned(channels, dropout, outputs, config)
