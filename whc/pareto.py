"""Dominance, hypervolume and best subsets of points (quality up, cost down), exact in two dimensions.

Hypervolume is over (quality, log cost), so that halving the cost is worth the same at either end of the range.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """A candidate as seen by selection: `quality` is better when higher, `cost` (> 0) when lower."""

    quality: float
    cost: float


def dominates(a: Point, b: Point) -> bool:
    """Whether `a` is at least as good as `b` in both, and better in one."""
    return a.quality >= b.quality and a.cost <= b.cost and (a.quality > b.quality or a.cost < b.cost)


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the non-dominated points, cheapest first; of equal points only the first is kept.

    Quality and cost are both strictly increasing along the result.
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
        points: any points; those not better than the reference in both add nothing.
        reference: the worst acceptable quality and cost (the constant predictor's F1, the latency limit).
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
        size: how many to keep, at least 1; a smaller front is returned whole. Of one, the best quality is kept.
        reference: as for `hypervolume`; points not better than it count as adding nothing but may still be ends.

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
    came_from = [[-1] * count for _ in range(size)]
    best[0][0] = 0.0  # the cheapest is always kept: what it adds itself is the same for every subset
    for k in range(1, size):
        for j in range(k, count):
            for i in range(k - 1, j):
                value = best[k - 1][i] + gain(i, j)
                if value > best[k][j]:
                    best[k][j], came_from[k][j] = value, i
    path = [count - 1]
    for k in range(size - 1, 0, -1):
        path.append(came_from[k][path[-1]])
    return [order[i] for i in reversed(path)]


def ranks(points: Sequence[Point]) -> list[int]:
    """Non-dominated rank of each point: 0 on the front, 1 on the front of the others, and so on; equal points share it.

    Exact in n log n: by rising cost, a point belongs to the first layer whose best quality so far is below its own
    (Jensen 2003, "Reducing the run-time complexity of multiobjective EAs").
    """
    order = sorted(range(len(points)), key=lambda i: (points[i].cost, -points[i].quality))
    found = [0] * len(points)
    best: list[float] = []  # negated quality, by layer: rising
    seen: dict[Point, int] = {}
    for i in order:
        point = points[i]
        if point not in seen:
            layer = bisect_right(best, -point.quality)
            seen[point] = layer
            best[layer : layer + 1] = [-point.quality]
        found[i] = seen[point]
    return found
