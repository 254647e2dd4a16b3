"""Successive halving over non-dominated rank, band by band."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from whc.pareto import Point
from whc.search.sampling.scheduler import Halving, Scheduler

points = st.lists(st.builds(Point, quality=st.floats(0, 1), cost=st.floats(0.01, 1)), min_size=1, max_size=40)


def filled(reached: list[Point], eta: int = 3) -> Scheduler:
    scheduler = Scheduler(Halving(eta=eta, rungs=2))
    for number, point in enumerate(reached):
        scheduler.reached(f"{number:03}", 0, point)
    return scheduler


def sent_on(scheduler: Scheduler, closing: bool) -> list[str]:
    """Everyone who goes on, one after the other."""
    found: list[str] = []
    while due := scheduler.next(closing):
        trial_id, rung = due
        assert rung == 0
        scheduler.gone_on(trial_id, rung)
        found.append(trial_id)
    return found


def test_lengths_of_training() -> None:
    assert Halving(eta=3, rungs=3).epochs_at(12) == [1, 4, 12]
    assert Halving(eta=2, rungs=4).epochs_at(40) == [5, 10, 20, 40]
    assert Halving(eta=3, rungs=3).epochs_at(2) == [1, 2]
    assert Halving(rungs=1).epochs_at(7) == [7]


@given(epochs=st.integers(1, 500), eta=st.integers(2, 10), rungs=st.integers(1, 6))
def test_the_last_length_is_the_whole_and_each_is_longer_than_the_one_before(epochs: int, eta: int, rungs: int) -> None:
    lengths = Halving(eta=eta, rungs=rungs).epochs_at(epochs)
    assert lengths[-1] == epochs
    assert lengths[0] >= 1
    assert all(a < b for a, b in pairwise(lengths))
    assert len(lengths) <= rungs


def test_one_in_three_of_a_band_goes_on_the_best_by_layer() -> None:
    dominated, fast, accurate = Point(0.5, 0.9), Point(0.6, 0.6), Point(0.9, 0.8)
    worse = [Point(0.1 + i / 100, 0.95) for i in range(3)]
    assert sent_on(filled([dominated, *worse, fast, accurate]), closing=False) == ["005", "004"]


def test_nothing_goes_on_before_a_band_is_full_enough_unless_it_is_the_end() -> None:
    pair = [Point(0.5, 0.9), Point(0.6, 0.9)]
    assert sent_on(filled(pair), closing=False) == []
    assert sent_on(filled(pair), closing=True) == ["001"]


def test_accuracy_of_slow_ones_does_not_push_out_fast_ones() -> None:
    slow = [Point(0.9 + i / 1000, 0.9) for i in range(30)]
    fast = [Point(0.5 + i / 1000, 0.05) for i in range(3)]
    assert "032" in sent_on(filled(slow + fast), closing=False)


def test_the_furthest_goes_on_first() -> None:
    scheduler = Scheduler(Halving(eta=2, rungs=3))
    for trial_id in ("a", "b"):
        scheduler.reached(trial_id, 0, Point(0.5, 0.9))
        scheduler.reached(trial_id, 1, Point(0.6, 0.9))
        scheduler.gone_on(trial_id, 0)
    scheduler.reached("c", 0, Point(0.9, 0.9))
    scheduler.reached("d", 0, Point(0.8, 0.9))
    assert scheduler.next(closing=False) == ("a", 1)
    scheduler.gone_on("a", 1)
    assert scheduler.next(closing=False) == ("c", 0)


@given(points, st.integers(2, 4))
def test_every_band_keeps_someone_and_no_more_than_its_share(reached: list[Point], eta: int) -> None:
    chosen = sent_on(filled(reached, eta), closing=True)
    octave = [math.floor(math.log2(point.cost)) for point in reached]
    sizes, kept = Counter(octave), Counter(octave[int(one)] for one in chosen)
    assert kept == {band: math.ceil(size / eta) for band, size in sizes.items()}
    assert len(set(chosen)) == len(chosen)


@given(points)
def test_the_same_order_of_calls_gives_the_same_answers(reached: list[Point]) -> None:
    first, second = filled(reached), filled(reached)
    assert sent_on(first, closing=False) == sent_on(second, closing=False)
    # Who went on goes first too: the share only ever grows.
    assert sent_on(first, closing=True) == sent_on(second, closing=True)
