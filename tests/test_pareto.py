"""Laws of dominance, hypervolume and subsets, against brute force."""

from __future__ import annotations

import math
from itertools import combinations, pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from whc.pareto import Point, best_subset, dominates, front, hypervolume, ranks

# Coarse values, so that ties are common.
QUALITIES = st.integers(0, 12).map(lambda i: i / 12)
COSTS = st.integers(1, 12).map(lambda i: i / 4)
POINTS = st.lists(st.builds(Point, QUALITIES, COSTS), max_size=14)
SMOOTH = st.lists(st.builds(Point, st.floats(0, 1), st.floats(0.01, 10)), max_size=14)
# Points of which none is dominated, cheapest first.
FRONTS = st.integers(3, 9).flatmap(
    lambda count: st.builds(
        lambda qualities, costs: list(map(Point, sorted(qualities), sorted(costs))),
        st.sets(QUALITIES, min_size=count, max_size=count),
        st.sets(COSTS, min_size=count, max_size=count),
    )
)
REFERENCES = st.builds(Point, QUALITIES, COSTS)


def grid_hypervolume(points: list[Point], reference: Point) -> float:
    """The area, cell by cell of the grid that all coordinates draw."""
    qualities = sorted({reference.quality, *(p.quality for p in points if p.quality > reference.quality)})
    costs = sorted({reference.cost, *(p.cost for p in points if p.cost < reference.cost)})
    return sum(
        (top - bottom) * math.log(right / left)
        for bottom, top in pairwise(qualities)
        for left, right in pairwise(costs)
        if any(p.quality >= top and p.cost <= left for p in points)
    )


def chosen(points: list[Point], indices: list[int]) -> list[Point]:
    return [points[i] for i in indices]


@given(st.builds(Point, QUALITIES, COSTS), st.builds(Point, QUALITIES, COSTS), st.builds(Point, QUALITIES, COSTS))
def test_dominance_is_a_strict_order(a: Point, b: Point, c: Point) -> None:
    assert not dominates(a, a)
    assert not (dominates(a, b) and dominates(b, a))
    if dominates(a, b) and dominates(b, c):
        assert dominates(a, c)


@given(POINTS | SMOOTH)
def test_front_is_not_dominated_and_complete(points: list[Point]) -> None:
    indices = front(points)
    kept = chosen(points, indices)
    assert len(set(indices)) == len(indices)
    assert not any(dominates(p, k) for k in kept for p in points)
    assert all(p in kept or any(dominates(k, p) for k in kept) for p in points)


@given(POINTS | SMOOTH)
def test_front_strictly_increases(points: list[Point]) -> None:
    for a, b in pairwise(chosen(points, front(points))):
        assert a.cost < b.cost
        assert a.quality < b.quality


@given(POINTS | SMOOTH)
def test_front_of_a_front_is_itself(points: list[Point]) -> None:
    kept = chosen(points, front(points))
    assert front(kept) == list(range(len(kept)))


@given(POINTS)
def test_of_equal_points_the_first_is_kept(points: list[Point]) -> None:
    assert all(points.index(points[i]) == i for i in front(points))


@given(POINTS, st.builds(Point, QUALITIES, COSTS), REFERENCES)
def test_a_dominated_point_changes_nothing(points: list[Point], more: Point, reference: Point) -> None:
    assume(any(dominates(p, more) for p in points))
    assert front([*points, more]) == front(points)
    assert hypervolume([*points, more], reference) == hypervolume(points, reference)


@given(POINTS, REFERENCES)
def test_hypervolume_equals_the_grid(points: list[Point], reference: Point) -> None:
    assert hypervolume(points, reference) == pytest.approx(grid_hypervolume(points, reference), abs=1e-12)


@given(SMOOTH, st.builds(Point, st.floats(0, 1), st.floats(0.01, 10)), REFERENCES)
def test_hypervolume_never_shrinks(points: list[Point], more: Point, reference: Point) -> None:
    before, after = hypervolume(points, reference), hypervolume([*points, more], reference)
    assert 0 <= before <= after + 1e-12


@given(SMOOTH, st.randoms(use_true_random=False), REFERENCES)
def test_hypervolume_knows_no_order(points: list[Point], random: object, reference: Point) -> None:
    shuffled = sorted(points, key=lambda _: random.random())  # type: ignore[attr-defined]
    assert hypervolume(shuffled, reference) == hypervolume(points, reference)


def test_hypervolume_by_hand() -> None:
    reference = Point(0.5, math.e**2)
    assert hypervolume([], reference) == 0
    assert hypervolume([Point(0.9, 1.0)], reference) == pytest.approx(0.4 * 2)
    assert hypervolume([Point(0.9, math.e), Point(0.7, 1.0)], reference) == pytest.approx(0.2 * 2 + 0.2 * 1)
    assert hypervolume([Point(0.5, 1.0), Point(0.9, math.e**2)], reference) == 0


@settings(max_examples=200)
@given(POINTS | SMOOTH | FRONTS, st.integers(1, 7), REFERENCES)
def test_best_subset_is_best(points: list[Point], size: int, reference: Point) -> None:
    order = front(points)
    subset = best_subset(points, size, reference)
    assert subset == [i for i in order if i in set(subset)]
    if len(order) <= size:
        assert subset == order
        return
    assert len(subset) == size
    assert subset[-1] == order[-1]
    if size == 1:
        return
    assert subset[0] == order[0]
    rivals = (
        hypervolume(chosen(points, [order[0], *inner, order[-1]]), reference)
        for inner in combinations(order[1:-1], size - 2)
    )
    assert hypervolume(chosen(points, subset), reference) == pytest.approx(max(rivals), abs=1e-12)


@given(POINTS, st.integers(1, 7), REFERENCES)
def test_best_subset_of_itself_is_itself(points: list[Point], size: int, reference: Point) -> None:
    kept = chosen(points, best_subset(points, size, reference))
    assert best_subset(kept, size, reference) == list(range(len(kept)))


@pytest.mark.parametrize("size", [0, -1])
def test_a_subset_has_a_size(size: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        best_subset([Point(1, 1)], size, Point(0, 2))


# What the two original projects published: (variant, F1, CPU ms).
SMILE = [("P", 0.4841, 0.23), ("N", 0.5849, 0.41), ("T", 0.6701, 0.52), ("S", 0.7394, 0.64), ("C", 0.7344, 0.69)]
SMILE += [("M", 0.8144, 0.85), ("L", 0.8293, 1.03)]
WAVE = [("S", 0.9821, 0.31), ("M", 0.9916, 0.46), ("L", 0.9940, 0.37)]


@pytest.mark.parametrize(("rows", "expected"), [(SMILE, "PNTSML"), (WAVE, "SL")])
def test_published_tables_lose_their_dominated_rows(rows: list[tuple[str, float, float]], expected: str) -> None:
    points = [Point(f1, ms) for _, f1, ms in rows]
    assert "".join(rows[i][0] for i in front(points)) == expected


@given(POINTS | SMOOTH)
def test_a_rank_counts_the_fronts_that_must_go_before_a_point_is_on_one(points: list[Point]) -> None:
    result = ranks(points)
    left, layer = set(range(len(points))), 0
    while left:
        first = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        assert {i for i in left if result[i] == layer} == first
        left, layer = left - first, layer + 1
