"""Which candidates become variants, and the names of variants."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whc.pareto import Point, best_subset, front

LADDER_LETTERS = {1: "M", 2: "ML", 3: "SML", 4: "PSML", 5: "PNSML", 6: "PNTSML", 7: "PNTSCML"}


def names(count: int, prefix: str) -> list[str]:
    """Names of a ladder of `count` variants (1..7), fastest first: `<prefix>_<letter>`."""
    return [f"{prefix}_{letter.lower()}" for letter in LADDER_LETTERS[count]]


Beats = Callable[[int, int], bool]
"""Whether candidate i, which is slower than candidate j, is significantly better."""


def separate(points: Sequence[Point], beats: Beats) -> list[int]:
    """The front, cheapest first, without points that do not beat the point before them."""
    separated: list[int] = []
    for i in front(points):
        if not separated or beats(i, separated[-1]):
            separated.append(i)
    return separated


def choose(points: Sequence[Point], max_variants: int, beats: Beats, reference: Point) -> list[int]:
    """The ladder: points that are not dominated, separate, and above the floor; of these the best by hypervolume.

    Args:
        points: validation score and latency of each candidate.
        max_variants: how many to choose at most.
        beats: whether the first of two candidates, the slower one, is significantly better.
        reference: the floor that variants must be above, and the latency limit.

    Returns:
        Indices into `points`; quality and cost strictly increase along them.
    """
    variants = [i for i, point in enumerate(points) if point.quality > reference.quality]
    while variants:
        among = [points[i] for i in variants]
        apart = [variants[i] for i in separate(among, lambda i, j: beats(variants[i], variants[j]))]  # noqa: B023 (called now)
        best = [apart[i] for i in best_subset([points[i] for i in apart], max_variants, reference)]
        if best == variants:
            break
        variants = best  # a subset has new neighbours, which must be compared too
    return variants
