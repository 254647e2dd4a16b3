"""What a network in training learns from a trained one, its teacher, beside the labels (Hinton et al. 2015)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import (
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    interpolate,
    kl_div,
    normalize,
    one_hot,
)

from whc.models.boxes import BoxHead, iou

LEAST_SCORE = 0.05  # of a teacher's box that is learnt
L1_WEIGHT, IOU_WEIGHT, SCORE_WEIGHT = 5.0, 2.0, 1.0  # of a pair's cost, and in the loss


def boxes_apart(head: BoxHead, raw: Tensor, found: Tensor) -> Tensor:
    """How far a head's places are from the boxes that a teacher has found, whatever gave these.

    Each of the teacher's boxes is matched with one place, all pairs together at the least cost (Kuhn 1955). The place
    learns the box, weighted by the teacher's score, and that score for its class; places without a partner learn that
    there is nothing, unless they give a duplicate of a teacher's box that the head's decoding would remove.

    Args:
        head: that of the network in training.
        raw: what it gave (N, ...).
        found: the teacher's outputs (N, K, 6): score, class, cx, cy, w, h, best first; without gradient.

    Returns:
        A scalar, 0 where the places give the teacher's boxes with the teacher's scores, and no others.
    """
    scores, boxes = head.read(raw)
    is_learnt = found[..., 0] >= LEAST_SCORE
    found = found[:, : max(1, int(is_learnt.sum(1).max()))]
    is_learnt = is_learnt[:, : found.shape[1]]
    labels = found[..., 1].long().clamp(min=0)
    with torch.no_grad():
        given = scores.gather(2, labels[:, None].expand(-1, scores.shape[1], -1)).transpose(1, 2)
        apart = torch.cdist(found[..., 2:], boxes, p=1)
        overlap = iou(_positive(boxes)[:, None], found[:, :, None, 2:])
        cost = L1_WEIGHT * apart - IOU_WEIGHT * overlap - SCORE_WEIGHT * given
        picture, row, place = _cheapest(cost, is_learnt)
    sure = found[picture, row, 0]
    wanted = torch.zeros_like(scores)
    wanted[picture, place] = one_hot(labels[picture, row], scores.shape[2]).to(scores.dtype) * sure[:, None]
    is_counted = torch.ones_like(scores[..., 0], dtype=torch.bool)
    if head.nms_iou is not None:
        is_counted = ((overlap <= head.nms_iou) | ~is_learnt[..., None]).all(1)
        is_counted[picture, place] = True
    missed = (wanted - scores).detach().square() * binary_cross_entropy(scores, wanted, reduction="none")
    learnt, teacher_s = boxes[picture, place], found[picture, row, 2:]
    error = L1_WEIGHT * (learnt - teacher_s).abs().sum(1) + IOU_WEIGHT * (1 - iou(_positive(learnt), teacher_s, "giou"))
    return ((missed * is_counted[..., None]).sum() + (error * sure).sum()) / sure.sum().clamp(min=1)


def _positive(boxes: Tensor) -> Tensor:
    """Boxes whose sides are 0 at least."""
    return torch.cat([boxes[..., :2], boxes[..., 2:].clamp(min=0)], -1)


def _cheapest(cost: Tensor, is_learnt: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Pairs of the least cost together, by costs (N, K, M) and whether a row takes part (N, K): picture, row, place."""
    from scipy.optimize import linear_sum_assignment

    pairs = []
    for i, (costs, rows) in enumerate(zip(cost.cpu(), is_learnt.cpu(), strict=True)):
        chosen = rows.nonzero()[:, 0].numpy()
        taken, places = linear_sum_assignment(costs[chosen].numpy())
        pairs += [(i, row, place) for row, place in zip(chosen[taken].tolist(), places.tolist(), strict=True)]
    picture, row, place = torch.tensor(pairs, dtype=torch.long, device=cost.device).reshape(-1, 3).T
    return picture, row, place


def labels_apart(raw: Tensor, found: Tensor) -> Tensor:
    """How far logits of labels, each by itself, are from a teacher's probabilities: their Kullback-Leibler divergence.

    Args:
        raw: (N, C) logits.
        found: (N, C) probabilities, or (N,) of a single label; without gradient.

    Returns:
        A scalar, the mean over rows and labels; 0 where both are the same.
    """
    found = found.reshape(raw.shape)
    entropy = binary_cross_entropy(found, found, reduction="none")
    return (binary_cross_entropy_with_logits(raw, found, reduction="none") - entropy).mean()


def classes_apart(raw: Tensor, found: Tensor) -> Tensor:
    """How far logits (N, C) of classes that exclude each other are from a teacher's probabilities (N, C).

    Returns:
        A scalar: the Kullback-Leibler divergence, a mean over rows; 0 where both are the same.
    """
    return kl_div(raw.log_softmax(1), found, reduction="batchmean")


def features_apart(ours: Tensor, theirs: Tensor) -> Tensor:
    """Mean absolute difference of unit vectors of two maps (N, channels, h, w), theirs resized to ours (UHD)."""
    resized = interpolate(theirs, ours.shape[2:], mode="bilinear", align_corners=False)
    return (normalize(ours) - normalize(resized)).abs().mean()
