"""Which candidates become variants: the laws of the choice, and the tables that it must not repeat."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.factory.ladder import LADDER_LETTERS, Beats, choose, names, separate
from whc.pareto import Point, dominates

points = st.lists(st.builds(Point, st.floats(0, 1, allow_nan=False), st.floats(0.01, 10, allow_nan=False)), max_size=25)
FLOOR = Point(0.3, 20.0)

# The tables of the projects this one replaces: (F1, CPU ms).
HSC = {
    "P": (0.4841, 0.23),
    "N": (0.5849, 0.41),
    "T": (0.6701, 0.52),
    "S": (0.7394, 0.64),
    "C": (0.7344, 0.69),
    "M": (0.8144, 0.85),
    "L": (0.8293, 1.03),
}
WHC = {"S": (0.9821, 0.31), "M": (0.9916, 0.46), "L": (0.9940, 0.37)}


def by(candidates: list[Point], gain: float) -> Beats:
    """Told apart by the point estimate alone."""
    return lambda i, j: candidates[i].quality - candidates[j].quality >= gain


@given(points, st.integers(1, 7), st.randoms(use_true_random=False), st.floats(0, 1))
def test_whatever_tells_candidates_apart(candidates: list[Point], most: int, draw: Random, share: float) -> None:
    """The laws hold for any relation, also one that is not transitive."""
    verdicts = {(a, b): draw.random() < share for a in candidates for b in candidates}

    def told_apart(among: list[Point]) -> Beats:
        return lambda i, j: verdicts[among[i], among[j]]

    chosen = [candidates[i] for i in choose(candidates, most, told_apart(candidates), FLOOR)]
    assert len(chosen) <= most
    assert all(a.quality < b.quality and a.cost < b.cost for a, b in pairwise(chosen))
    assert all(verdicts[b, a] for a, b in pairwise(chosen))
    assert [chosen[i] for i in choose(chosen, most, told_apart(chosen), FLOOR)] == chosen
    assert bool(chosen) == any(point.quality > FLOOR.quality for point in candidates)


@given(points, st.integers(1, 7), st.sampled_from([0.0, 0.005, 0.1]))
def test_no_variant_is_dominated_and_the_order_is_strict(candidates: list[Point], most: int, gain: float) -> None:
    chosen = [candidates[i] for i in choose(candidates, most, by(candidates, gain), FLOOR)]
    assert len(chosen) <= most
    assert not any(dominates(other, point) for point in chosen for other in candidates)
    assert all(a.quality < b.quality and a.cost < b.cost for a, b in pairwise(chosen))
    assert all(b.quality - a.quality >= gain for a, b in pairwise(chosen))
    assert all(point.quality > FLOOR.quality for point in chosen)


@given(points, st.integers(1, 7), st.sampled_from([0.0, 0.005, 0.1]))
def test_choosing_is_idempotent(candidates: list[Point], most: int, gain: float) -> None:
    chosen = [candidates[i] for i in choose(candidates, most, by(candidates, gain), FLOOR)]
    assert [chosen[i] for i in choose(chosen, most, by(chosen, gain), FLOOR)] == chosen


@given(points, st.integers(1, 7), st.data())
def test_a_dominated_candidate_changes_nothing(candidates: list[Point], most: int, data: st.DataObject) -> None:
    before = [candidates[i] for i in choose(candidates, most, by(candidates, 0.005), FLOOR)]
    if not candidates:
        return
    better = data.draw(st.sampled_from(candidates))
    worse = Point(better.quality / 2, better.cost * 2)
    after = [*candidates, worse]
    assert [after[i] for i in choose(after, most, by(after, 0.005), FLOOR)] == before


def test_published_tables_lose_their_dominated_rows() -> None:
    for table, dropped in ((HSC, "C"), (WHC, "M")):
        rows = [Point(*row) for row in table.values()]
        letters = "".join(list(table)[i] for i in choose(rows, 7, by(rows, 0.0), Point(0.0, 2.0)))
        assert dropped not in letters
        assert len(letters) == len(table) - 1


def test_nothing_at_or_below_the_constant_predictor_is_named() -> None:
    rows = [Point(0.4841, 0.23), Point(0.486, 0.3), Point(0.6, 0.5)]
    assert choose(rows, 7, by(rows, 0.0), Point(0.486, 2.0)) == [2]
    assert choose(rows[:2], 7, by(rows, 0.0), Point(0.486, 2.0)) == []


def test_a_step_smaller_than_the_gain_is_merged_away() -> None:
    rows = [Point(0.80, 1.0), Point(0.803, 2.0), Point(0.806, 3.0), Point(0.9, 4.0)]
    assert separate(rows, by(rows, 0.005)) == [0, 2, 3]


@pytest.mark.parametrize("count", range(1, 8))
def test_names_by_count(count: int) -> None:
    assert len(names(count, "whc")) == count == len(LADDER_LETTERS[count])
    order = "PNTSCML"
    assert [order.index(letter) for letter in LADDER_LETTERS[count]] == sorted(
        order.index(letter) for letter in LADDER_LETTERS[count]
    )
    assert names(4, "smile") == ["smile_p", "smile_s", "smile_m", "smile_l"]
