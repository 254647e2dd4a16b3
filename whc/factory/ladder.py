"""Which candidates become variants, and what they are called."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from whc.pareto import Point, best_subset, front

NAMES = {1: "M", 2: "ML", 3: "SML", 4: "PSML", 5: "PNSML", 6: "PNTSML", 7: "PNTSCML"}


def names(count: int, prefix: str) -> list[str]:
    """Names of a ladder of `count` variants (1..7), fastest first: `<prefix>_<letter>`."""
    return [f"{prefix}_{letter.lower()}" for letter in NAMES[count]]


Beats = Callable[[int, int], bool]
"""Whether candidate i, the slower one, is told apart from candidate j, and better."""


def separate(points: Sequence[Point], beats: Beats) -> list[int]:
    """The front, cheapest first, less the points that do not beat the last one kept: those are merged into it."""
    kept: list[int] = []
    for i in front(points):
        if not kept or beats(i, kept[-1]):
            kept.append(i)
    return kept


def choose(points: Sequence[Point], max_variants: int, beats: Beats, reference: Point) -> list[int]:
    """The ladder: non-dominated, told apart, better than the reference, and of those the best by hypervolume.

    Args:
        points: validation score and latency of each candidate.
        max_variants: how many to choose at most.
        beats: whether the slower of two candidates, the first, is told apart from the faster one.
        reference: the floor that variants must beat and the latency limit; nothing at or below that floor is chosen.

    Returns:
        Indices into `points`; quality and cost strictly increase along them.
    """
    chosen = [i for i, point in enumerate(points) if point.quality > reference.quality]
    while chosen:
        among = [points[i] for i in chosen]
        apart = [chosen[i] for i in separate(among, lambda i, j: beats(chosen[i], chosen[j]))]  # noqa: B023 (called now)
        best = [apart[i] for i in best_subset([points[i] for i in apart], max_variants, reference)]
        if best == chosen:
            break
        chosen = best  # neighbours of a subset were not neighbours before: they are asked about again
    return chosen
