"""Boxes that follow the pixels of their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from whc.tasks.parts import Parts

MIN_VISIBLE = 0.25  # share of a box that must still be seen


def moved(targets: Tensor, moves: Tensor, size: tuple[int, int], min_area: float = 0.0) -> Tensor:
    """Boxes about the moved boxes' corners, cut at the border; those that are mostly outside are left out.

    Args:
        targets: (N, K, 5) cx, cy, w, h as shares of the picture, and the class; -1 where there is none.
        moves: (N, 2, 3) as `whc.tasks.conditions.Condition.move`.
        size: height and width in pixels.
        min_area: least share of the picture of a box that is kept.
    """
    low, high = _corners(targets, moves, size)
    return _kept(targets, *_cut(low, high, low.new_tensor(0), low.new_tensor(1)), min_area)


def composed(targets: Tensor, parts: Parts, size: tuple[int, int], min_area: float = 0.0) -> Tensor:
    """Boxes of pictures that are each made of parts: cut at windows and where a later part hides them.

    Args:
        targets: (P, N, K, 5), those of the picture that each part shows.
        parts: where these are seen.
        size: height and width in pixels.
        min_area: least share of the picture of a box that is kept.

    Returns:
        (N, B, 5), B the largest number of boxes in a picture, at least 1; those of a picture in the order of its parts.
    """
    low, high = _corners(targets, torch.from_numpy(parts.moves), size)
    windows = torch.from_numpy(parts.windows)[:, :, None] / low.new_tensor([size[1], size[0]]).repeat(2) + 0.5
    low, high, visible = _cut(low, high, windows[..., :2], windows[..., 2:])
    for part in parts.hides.nonzero()[0].tolist():
        below = slice(part)
        low[below], high[below], visible[below] = _uncovered(low[below], high[below], visible[below], windows[part])
    boxes = _kept(targets, low, high, visible, min_area).transpose(0, 1).flatten(1, 2)
    return _packed(boxes)


def exchanged(targets: Tensor, moves: Tensor, swaps: Mapping[int, int]) -> Tensor:
    """Boxes with other classes where a picture is mirrored: a class by the one that it becomes.

    A picture that is mirrored both ways is turned by half a turn, and keeps its classes.
    """
    if not swaps:
        return targets
    a, b, c, d = moves[..., :2].flatten(-2).unbind(-1)
    is_mirrored = (a * d < b * c)[..., None]
    classes = targets[..., 4]
    new_classes = classes.clone()
    for old, new in swaps.items():
        new_classes[is_mirrored & (classes == old)] = new
    return torch.cat((targets[..., :4], new_classes[..., None]), -1)


def joined(targets: Sequence[Tensor]) -> Tensor:
    """Boxes of several batches (N, K, 5) as one, with empty rows where a batch has fewer."""
    most = max(boxes.shape[1] for boxes in targets)
    return torch.cat([torch.nn.functional.pad(boxes, (0, 0, 0, most - boxes.shape[1]), value=-1) for boxes in targets])


def _corners(targets: Tensor, moves: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Top left and bottom right (..., K, 2) of what holds the moved corners, as shares of the picture."""
    height, width = size
    scale = targets.new_tensor([width, height])
    centre, half = (targets[..., :2] - 0.5) * scale, targets[..., 2:4] * scale / 2
    matrix, shift = moves[..., None, :, :2].to(targets.dtype), moves[..., None, :, 2].to(targets.dtype)
    middle = (matrix @ centre[..., None]).squeeze(-1) + shift
    reach = (matrix.abs() @ half[..., None]).squeeze(-1)
    low, high = (((middle + side * reach) / scale + 0.5) for side in (-1, 1))
    return low, high


def _cut(low: Tensor, high: Tensor, first: Tensor, last: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes cut at a window, and the share (..., K) of each that is left."""
    cut_low, cut_high = low.clamp(first, last), high.clamp(first, last)
    return cut_low, cut_high, (cut_high - cut_low).prod(-1) / (high - low).prod(-1).clamp(min=1e-9)


def _uncovered(low: Tensor, high: Tensor, visible: Tensor, window: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Boxes without what a window (N, 1, 4) hides, where the rest is still a rectangle; and what is seen of each."""
    first, last = torch.maximum(low, window[..., :2]), torch.minimum(high, window[..., 2:])
    hidden = (last - first).clamp(min=0).prod(-1) / (high - low).prod(-1).clamp(min=1e-9)
    spans = (first <= low) & (last >= high)  # of each direction, whether all of it is behind the window
    is_through = spans.flip(-1) & (last > first).all(-1, keepdim=True)
    new_low = torch.where(is_through & (first <= low), last, low)
    new_high = torch.where(is_through & (last >= high), first, high)
    return new_low, torch.maximum(new_low, new_high), visible * (1 - hidden)


def _kept(targets: Tensor, low: Tensor, high: Tensor, visible: Tensor, min_area: float) -> Tensor:
    is_kept = (targets[..., 4] >= 0) & (visible >= MIN_VISIBLE) & ((high - low).prod(-1) >= min_area)
    boxes = torch.cat(((low + high) / 2, high - low, targets[..., 4:]), -1)
    return boxes.where(is_kept[..., None], -1)


def _packed(boxes: Tensor) -> Tensor:
    """The boxes of each picture first, and no more empty rows than the fullest picture needs."""
    is_empty = boxes[..., 4] < 0
    most = max(1, int((~is_empty).sum(1).max()))
    order = is_empty.to(torch.uint8).argsort(dim=1, stable=True)[:, :most]
    return boxes.gather(1, order[..., None].expand(-1, -1, boxes.shape[-1]))
