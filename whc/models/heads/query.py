"""Learned queries that look for objects in all tokens of a picture (DETR, Carion et al. 2020), as UHD has it.

(N, Q, C + 5) holds for each query the logits of C classes and of none, and those of a box's cx, cy, w, h.
"""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from whc.models.attention import DecoderLayer, EncoderLayer, position_code
from whc.models.backbones.uhd import Activation, separable_block
from whc.models.boxes import BoxHead, iou, is_box, mean_over
from whc.plugins import PluginConfig

GIVES = "boxes"
L1_WEIGHT, IOU_WEIGHT = 5.0, 2.0  # beside the cross-entropy, and in the cost of a pair


class Config(PluginConfig):
    """A Transformer over tokens.

    `queries` is the most boxes of a picture. `heads`, `layers` and `ff` are those of encoder and decoder: attention
    heads, layers, and width inside a layer. `levels` is how many maps give tokens: that of the backbone, then those of
    separable blocks after it, of which all but the first halve the map. `matching` gives each box a query: `greedy`
    takes the cheapest pair first, `hungarian` the cheapest pairs together.
    """

    queries: int = Field(10, ge=1, le=300)
    heads: int = Field(4, ge=1, le=16)
    layers: int = Field(3, ge=1, le=12)
    ff: int = Field(128, ge=1, le=4096)
    levels: int = Field(1, ge=1, le=4)
    activation: Activation = "silu"
    matching: Literal["greedy", "hungarian"] = "greedy"


class _Query(BoxHead):
    LOSS_WEIGHTS = {"l1": L1_WEIGHT, "iou": IOU_WEIGHT}

    def __init__(self, config: Config, channels: int, dropout: float, classes: int) -> None:
        super().__init__()
        self.classes, self.matching = classes, config.matching
        parts = (channels, config.heads, config.ff, dropout, config.activation)
        blocks = [separable_block(channels, channels, min(i, 2), config.activation) for i in range(1, config.levels)]
        self.pyramid = nn.ModuleList(blocks)
        self.encoder = nn.Sequential(*(EncoderLayer(*parts) for _ in range(config.layers)))
        self.decoder = nn.ModuleList(DecoderLayer(*parts) for _ in range(config.layers))
        self.queries = nn.Parameter(torch.randn(config.queries, channels))
        self.output = nn.Linear(channels, classes + 5)

    def forward(self, features: Tensor) -> Tensor:
        maps = [features]
        for block in self.pyramid:
            maps.append(block(maps[-1]))
        memory = self.encoder(torch.cat([(each + position_code(each)).flatten(2) for each in maps], 2).transpose(1, 2))
        queries = self.queries.expand(features.shape[0], -1, -1)
        for layer in self.decoder:
            queries = layer(queries, memory)
        raw: Tensor = self.output(queries)
        return raw

    def loss_terms(self, raw: Tensor, targets: Tensor) -> dict[str, Tensor]:
        """`cls`: cross-entropy of all queries; `l1`, `iou`: absolute error and 1 - IoU, means over matched queries."""
        boxes = raw[..., -4:].sigmoid()
        matched = self._matched(boxes.detach(), targets)
        is_matched = matched >= 0
        own = targets.gather(1, matched.clamp(min=0)[..., None].expand(-1, -1, 5))
        labels = torch.where(is_matched, own[..., 4].long(), self.classes)
        return {
            "cls": cross_entropy(raw[..., :-4].flatten(0, 1), labels.flatten()),
            "l1": mean_over((boxes - own[..., :4]).abs().mean(2), is_matched),
            "iou": mean_over(1 - iou(boxes, own[..., :4]), is_matched),
        }

    def _matched(self, boxes: Tensor, targets: Tensor) -> Tensor:
        """Which target's row each query is to give (N, Q); -1 for none."""
        pairs = boxes[:, :, None], targets[:, None, :, :4]
        cost = L1_WEIGHT * (pairs[0] - pairs[1]).abs().sum(3) + IOU_WEIGHT * (1 - iou(*pairs))
        if self.matching == "hungarian":
            return _cheapest_together(cost, is_box(targets))
        return _cheapest_first(cost.masked_fill(~is_box(targets)[:, None], torch.inf))

    def read(self, raw: Tensor) -> tuple[Tensor, Tensor]:
        """Of each query."""
        return raw[..., :-4].softmax(2)[..., : self.classes], raw[..., -4:].sigmoid()

    def decode(self, raw: Tensor) -> Tensor:
        """One candidate for each query, of its best class."""
        scores, boxes = self.read(raw)
        label = torch.zeros_like(scores)
        if self.classes > 1:
            label = scores.argmax(2, keepdim=True).to(raw.dtype)
            scores = scores.amax(2, keepdim=True)
        return torch.cat([scores, label, boxes], 2)


def _cheapest_first(cost: Tensor) -> Tensor:
    """Pairs of queries and targets by costs (N, Q, K), the cheapest first: the target of each query (N, Q), or -1."""
    queries, count = cost.shape[1:]
    matched = torch.full(cost.shape[:2], -1, device=cost.device)
    for _ in range(min(queries, count)):
        least, place = cost.flatten(1).min(1)
        query, target = place // count, place % count
        is_new = least.isfinite()[:, None] & (torch.arange(queries, device=cost.device) == query[:, None])
        matched = torch.where(is_new, target[:, None], matched)
        is_used = is_new[:, :, None] | (torch.arange(count, device=cost.device) == target[:, None])[:, None]
        cost = cost.masked_fill(is_used, torch.inf)
    return matched


def _cheapest_together(cost: Tensor, is_present: Tensor) -> Tensor:
    """As `_cheapest_first`, but with the least sum of costs (Kuhn 1955); which targets are present (N, K) is given."""
    from scipy.optimize import linear_sum_assignment

    matched = torch.full(cost.shape[:2], -1)
    for i, (costs, present) in enumerate(zip(cost.cpu(), is_present.cpu(), strict=True)):
        rows = present.nonzero()[:, 0]
        queries, targets = linear_sum_assignment(costs[:, rows].numpy())
        matched[i, torch.from_numpy(queries)] = rows[torch.from_numpy(targets)]
    return matched.to(cost.device)


def build(config: Config, channels: int, feature_size: tuple[int, int], dropout: float, outputs: int) -> nn.Module:
    """`outputs` is the number of classes.

    Raises:
        ValueError: the channels are no multiple of 4 and of the attention heads.
    """
    del feature_size
    if channels % 4 or channels % config.heads:
        raise ValueError(
            f"query needs channels that are a multiple of 4 and of its {config.heads} heads, got {channels}; "
            "choose another width, or fewer heads"
        )
    return _Query(config, channels, dropout, outputs)
