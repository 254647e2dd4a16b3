from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.demo.tracking import MEMORY_SECONDS, Tracker

FPS = 10.0


def boxes(*rows: tuple[float, ...]) -> np.ndarray:
    return np.asarray(rows, np.float64).reshape(-1, 4)


def test_no_box_no_identity() -> None:
    tracker = Tracker()
    assert tracker.follow(boxes(), 0.0) == []
    assert (tracker.identities, tracker.count) == (set(), 0)


@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.floats(0.0, 0.25))
def test_people_who_move_little_keep_their_identities(seed: int, people: int, step: float) -> None:
    """Each stays in a column of its own; the detector gives them in any order."""
    rng, tracker = np.random.default_rng(seed), Tracker()
    side = 0.5 / people
    centres = np.column_stack([(np.arange(people) + 0.5) / people, np.full(people, 0.5)])
    first = dict(enumerate(tracker.follow(np.column_stack([centres, np.full((people, 2), side)]), 0.0)))
    assert sorted(first.values()) == list(range(1, people + 1))
    for frame in range(1, 12):
        moves = np.column_stack([np.zeros(people), rng.uniform(-step, step, people) * side])
        order = rng.permutation(people)
        rows = np.column_stack([centres + moves, np.full((people, 2), side)])[order]
        assert tracker.follow(rows, frame / FPS) == [first[int(who)] for who in order]


@given(st.integers(0, 2**32 - 1), st.integers(0, 6))
def test_two_boxes_never_share_an_identity(seed: int, people: int) -> None:
    rng, tracker = np.random.default_rng(seed), Tracker()
    for frame in range(8):
        identities = tracker.follow(rng.uniform(0.2, 0.6, (people, 4)), frame / FPS)
        assert len(set(identities)) == people
        assert set(identities) <= tracker.identities
        assert max(identities, default=0) <= tracker.count


@pytest.mark.parametrize("step", [0.01, 0.02, 0.03])
def test_two_people_who_cross_keep_their_identities(step: float) -> None:
    tracker = Tracker()
    for frame in range(round(0.6 / step)):
        there, back = 0.2 + step * frame, 0.8 - step * frame
        assert tracker.follow(boxes((there, 0.5, 0.15, 0.3), (back, 0.5, 0.15, 0.3)), frame / FPS) == [1, 2]


def test_a_person_hidden_for_a_moment_comes_back() -> None:
    tracker, here = Tracker(), boxes((0.5, 0.5, 0.2, 0.2))
    assert tracker.follow(here, 0.0) == [1]
    assert tracker.follow(boxes(), MEMORY_SECONDS / 2) == []
    assert tracker.follow(here, MEMORY_SECONDS) == [1]


def test_the_memory_ends() -> None:
    tracker, here = Tracker(), boxes((0.5, 0.5, 0.2, 0.2))
    tracker.follow(here, 0.0)
    assert tracker.follow(boxes(), MEMORY_SECONDS + 0.1) == []
    assert tracker.identities == set()
    assert tracker.follow(here, MEMORY_SECONDS + 0.2) == [2]


def test_a_jump_is_another_person() -> None:
    tracker = Tracker()
    assert tracker.follow(boxes((0.2, 0.5, 0.2, 0.2)), 0.0) == [1]
    assert tracker.follow(boxes((0.8, 0.5, 0.2, 0.2)), 0.1) == [2]
