"""One cell for each object: a map of centres with offsets and sizes (CenterNet, Zhou et al. 2019), as UHD has it.

Each box marks the one cell that holds its centre, without neighbours: (N, C + 4, h, w) holds the logits of C classes,
where in its cell the centre lies (x, y), and the box's size in cells (w, h).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whc.models.boxes import BoxHead, cells, corners, is_box, is_last, mean_over
from whc.plugins import PluginConfig

GIVES = "boxes"
_SURE = 1e-4  # scores are kept this far from 0 and 1 in the loss


class Config(PluginConfig):
    """No parameters of its own."""


class _Centre(BoxHead):
    def __init__(self, channels: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.layers = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, classes + 4, 1))

    def forward(self, features: Tensor) -> Tensor:
        raw: Tensor = self.layers(features)
        return raw

    def loss_terms(self, raw: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`hm`: focal loss of the marks; `off`, `wh`: sums over x and y of absolute errors, means over marked cells."""
        height, width = raw.shape[2:]
        flat, present = raw.flatten(2), is_box(targets)
        cell, offset = cells(targets, height, width)
        marked = is_last(cell, present)  # a later box in the same cell takes its place
        at_cells = flat[:, self.classes :].gather(2, cell[:, None].expand(-1, 4, -1)).transpose(1, 2)
        sizes = targets[..., 2:4] * targets.new_tensor([width, height])
        return {
            "hm": _focal_loss(flat[:, : self.classes], _marks(flat[:, : self.classes], targets, cell)),
            "off": mean_over((at_cells[..., :2] - offset).abs().sum(2), marked),
            "wh": mean_over((at_cells[..., 2:] - sizes).abs().sum(2), marked),
        }

    def read(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Of each cell."""
        candidates = self.decode(raw)
        scores, count = candidates[..., 0], raw.shape[2] * raw.shape[3]
        return scores.view(-1, self.classes, count).transpose(1, 2), candidates[:, :count, 2:]

    def decode(self, raw: Tensor) -> Tensor:
        """One candidate for each class and cell; sizes may be negative, as nothing bounds them."""
        height, width = raw.shape[2:]
        count = height * width
        flat = raw.reshape(-1, self.classes + 4, count)
        scores = flat[:, : self.classes].sigmoid().reshape(-1, 1, self.classes * count)
        sides = raw.new_tensor([width, height, width, height])[:, None]
        corner = torch.cat([corners(height, width, raw).T, raw.new_zeros(2, count)])
        boxes = ((flat[:, self.classes :] + corner) / sides).repeat(1, 1, self.classes)
        labels = torch.arange(self.classes, dtype=raw.dtype, device=raw.device).repeat_interleave(count)
        return torch.cat([scores, labels.expand_as(scores), boxes], 1).transpose(1, 2)


def _marks(logits: Tensor, targets: Tensor, cell: Tensor) -> Tensor:
    """1 at the class and cell of each box, else 0: as logits (N, C, cells)."""
    count, size = logits.shape[0], logits.shape[1] * logits.shape[2]
    place = targets[..., 4].long() * logits.shape[2] + cell
    place = torch.where(is_box(targets), place, size)  # what is missing goes to one place more
    return logits.new_zeros(count, size + 1).scatter(1, place, 1.0)[:, :size].view_as(logits)


def _focal_loss(logits: Tensor, marks: Tensor) -> Tensor:
    """CenterNet's focal loss with marks of 0 and 1, by their number (as a sum where there are none)."""
    scores = logits.sigmoid().clamp(_SURE, 1 - _SURE)
    hits = -(scores.log() * (1 - scores).square() * marks).sum()
    misses = -((1 - scores).log() * scores.square() * (1 - marks)).sum()
    return (hits + misses) / marks.sum().clamp(min=1)


def build(config: Config, channels: int, feature_size: tuple[int, int], dropout: float, outputs: int) -> nn.Module:
    """Fits any feature map; `outputs` is the number of classes."""
    del config, feature_size
    return _Centre(channels, dropout, outputs)
