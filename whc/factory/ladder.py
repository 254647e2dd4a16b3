"""Which candidates become variants, and what they are called."""

from __future__ import annotations

from collections.abc import Sequence

from whc.pareto import Point, best_subset, front

NAMES = {1: "M", 2: "ML", 3: "SML", 4: "PSML", 5: "PNSML", 6: "PNTSML", 7: "PNTSCML"}


def names(count: int, prefix: str) -> list[str]:
    """Names of a ladder of `count` variants (1..7), fastest first: `<prefix>_<letter>`."""
    return [f"{prefix}_{letter.lower()}" for letter in NAMES[count]]


def separate(points: Sequence[Point], min_gain: float) -> list[int]:
    """The front, cheapest first, less the points that gain under `min_gain` quality on the last one kept."""
    kept: list[int] = []
    for i in front(points):
        if not kept or points[i].quality - points[kept[-1]].quality >= min_gain:
            kept.append(i)
    return kept


def choose(points: Sequence[Point], max_variants: int, min_gain: float, reference: Point) -> list[int]:
    """The ladder: non-dominated, apart by `min_gain`, better than the reference, and of those the best by hypervolume.

    Args:
        points: validation F1 and latency of each candidate.
        max_variants: how many to choose at most.
        min_gain: least step in quality from one variant to the next.
        reference: the constant predictor's F1 and the latency limit; nothing at or below that F1 is chosen.

    Returns:
        Indices into `points`; quality and cost strictly increase along them.
    """
    useful = [i for i, point in enumerate(points) if point.quality > reference.quality]
    apart = [useful[i] for i in separate([points[i] for i in useful], min_gain)]
    if not apart:
        return []
    return [apart[i] for i in best_subset([points[i] for i in apart], max_variants, reference)]
