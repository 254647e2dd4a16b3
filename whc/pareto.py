"""Dominance, hypervolume and best subsets of points (high quality, low cost), exact in two dimensions.

Hypervolume is over (quality, log cost), so that halving the cost is worth the same at either end of the range.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A candidate for selection: a higher `quality` is better, and so is a lower `cost` (> 0)."""

    quality: float
    cost: float


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is at least as good as `b` in both, and better in one."""
    return a.quality >= b.quality and a.cost <= b.cost and (a.quality > b.quality or a.cost < b.cost)


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the non-dominated points, cheapest first; of equal points only the first is kept.

    Both quality and cost strictly increase along the result.
    """
    order = sorted(range(len(points)), key=lambda i: (points[i].cost, -points[i].quality, i))
    chosen: list[int] = []
    for i in order:
        if not chosen or points[i].quality > points[chosen[-1]].quality:
            chosen.append(i)
    return chosen


def hypervolume(points: Sequence[Point], reference: Point) -> float:
    """Area between the front and the reference point, in quality times log cost.

    Args:
        points: any points; a point that is not better than the reference in both adds nothing.
        reference: the worst acceptable quality and cost (the best constant answer's score, the latency limit).
    """
    inside = [p for p in points if p.quality > reference.quality and p.cost < reference.cost]
    ordered = [inside[i] for i in front(inside)]
    area = 0.0
    floor = reference.quality
    for p in ordered:
        area += (p.quality - floor) * math.log(reference.cost / p.cost)
        floor = p.quality
    return area


def best_subset(points: Sequence[Point], size: int, reference: Point) -> list[int]:
    """The `size` points of a front that keep the most hypervolume, both ends always among them.

    Exact, by dynamic programming over the sorted front: adding point j right after point i contributes
    `(quality_j - quality_i) * log(reference.cost / cost_j)` and nothing later changes that
    (Bringmann, Friedrich and Klitzke 2014, "Two-dimensional subset selection for hypervolume and epsilon-indicator").

    Args:
        points: candidates; only their front is considered.
        size: how many to keep, at least 1; a smaller front is returned whole. Size 1 keeps the best quality.
        reference: as for `hypervolume`; a point that is not better than it adds nothing, but it may still be an end.

    Returns:
        Indices into `points`, cheapest first.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1, got {size}")
    order = front(points)
    count = len(order)
    if count <= size:
        return order
    if size == 1:
        return [order[-1]]

    def gain(i: int, j: int) -> float:
        low = max(points[order[i]].quality, reference.quality)
        high = max(points[order[j]].quality, reference.quality)
        return (high - low) * max(0.0, math.log(reference.cost / points[order[j]].cost))

    best = [[-math.inf] * count for _ in range(size)]
    previous = [[-1] * count for _ in range(size)]
    best[0][0] = 0.0  # the cheapest point is in every subset, so its own part is left out
    for k in range(1, size):
        for j in range(k, count):
            for i in range(k - 1, j):
                value = best[k - 1][i] + gain(i, j)
                if value > best[k][j]:
                    best[k][j], previous[k][j] = value, i
    path = [count - 1]
    for k in range(size - 1, 0, -1):
        path.append(previous[k][path[-1]])
    return [order[i] for i in reversed(path)]


def ranks(points: Sequence[Point]) -> list[int]:
    """Non-dominated rank of each point: 0 on the front, 1 on the front of the rest, and so on. Equal points share it.

    Exact in n log n: by rising cost, a point belongs to the first layer whose best quality so far is below its own
    (Jensen 2003, "Reducing the run-time complexity of multiobjective EAs").
    """
    order = sorted(range(len(points)), key=lambda i: (points[i].cost, -points[i].quality))
    rank_list = [0] * len(points)
    best: list[float] = []  # negated quality, by layer: rising
    rank_of: dict[Point, int] = {}
    for i in order:
        point = points[i]
        if point not in rank_of:
            layer = bisect_right(best, -point.quality)
            rank_of[point] = layer
            best[layer : layer + 1] = [-point.quality]
        rank_list[i] = rank_of[point]
    return rank_list
