"""Groups go whole to a split, near the shares asked for, and every class reaches every split."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data.splitting import assign, group_names, grouping, shares
from whc.errors import DataError, UsageError

WANTED = (0.7, 0.15, 0.15)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("70/15/15", WANTED), ("80/10/10", (0.8, 0.1, 0.1)), ("33.4/33.3/33.3", (0.334, 0.333, 0.333))],
)
def test_shares(text: str, expected: tuple[float, ...]) -> None:
    assert shares(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    "text", ["", "70", "70/30", "70/15/16", "100/0/0", "110/-5/-5", "a/b/c", "nan/50/50", "7/1/1/1"]
)
def test_shares_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--split: must be the shares of train, val and test"):
        shares(text)


@pytest.mark.parametrize(
    ("group", "name", "expected"),
    [
        ("person", "smiling/anna/day/1.jpg", "anna"),
        ("person", "smiling/anna_01.jpg", "anna"),
        ("person", "smiling/anna_b_01.jpg", "anna"),
        ("person", "smiling/1.jpg", None),
        ("person", "smiling/_1.jpg", None),
        ("video", "smiling/clip 7/0001.png", "clip 7"),
        ("video", "smiling/anna/clip 7/0001.png", "anna/clip 7"),
        ("video", "smiling/clip7_0001.png", "clip7"),
        ("video", "smiling/take-12.png", "take"),
        ("video", "smiling/alone.png", "alone"),
        ("video", "smiling/0001.png", None),
        (r"/(\d+)-", "smiling/31-4.jpg", "31"),
        (r"/(\d+)-", "smiling/x-4.jpg", None),
        (r"(x)?\d", "smiling/4.jpg", None),
    ],
)
def test_grouping(group: str, name: str, expected: str | None) -> None:
    assert grouping(group)(name) == expected


@pytest.mark.parametrize("group", ["persons", "", "(", r"\d+", "(?:a)"])
def test_grouping_that_is_none(group: str) -> None:
    with pytest.raises(UsageError, match="--group: must be person, video or a regular expression with a group"):
        grouping(group)


def test_a_file_without_a_group_is_named() -> None:
    assert group_names(["a/x_1.jpg", "b/y_1.jpg"], "person") == ["x", "y"]
    with pytest.raises(DataError, match=r"--group person: every file must belong to a group, got 'b/1\.jpg'; "):
        group_names(["a/x_1.jpg", "b/1.jpg"], "person")


def held(counts: np.ndarray, splits: np.ndarray) -> np.ndarray:
    return np.stack([counts[splits == split].sum(0) for split in range(3)])


@st.composite
def pure_groups(draw: st.DrawFn) -> np.ndarray:
    """Groups of one class each, three or more of every class."""
    classes = draw(st.integers(2, 4))
    sizes = [draw(st.lists(st.integers(1, 40), min_size=3, max_size=15)) for _ in range(classes)]
    return np.array([np.eye(classes, dtype=int)[i] * size for i, own in enumerate(sizes) for size in own])


@given(pure_groups(), st.integers(0, 3))
def test_every_class_reaches_every_split(counts: np.ndarray, seed: int) -> None:
    splits = assign(counts, WANTED, seed)
    assert splits is not None
    assert splits.shape == (len(counts),)
    assert held(counts, splits).min() > 0
    again = assign(counts, WANTED, seed)
    assert again is not None
    np.testing.assert_array_equal(splits, again)


@given(pure_groups())
def test_no_single_move_comes_nearer_to_the_shares(counts: np.ndarray) -> None:
    splits = assign(counts, WANTED, 0)
    assert splits is not None

    def distance(of: np.ndarray) -> float:
        rows = held(counts, of)
        return (
            float("inf") if rows.min() == 0 else float(((rows / counts.sum(0) - np.array(WANTED)[:, None]) ** 2).sum())
        )

    for group in range(len(counts)):
        for split in range(3):
            moved = splits.copy()
            moved[group] = split
            assert distance(moved) > distance(splits) - 1e-6


def test_many_groups_of_both_classes_meet_the_shares() -> None:
    rng = np.random.default_rng(0)
    counts = np.stack([rng.integers(0, 9, 800), rng.integers(1, 4, 800)], 1)
    counts[0] = (300, 5)
    splits = assign(counts, WANTED, 1)
    assert splits is not None
    np.testing.assert_allclose(
        held(counts, splits) / counts.sum(0), np.repeat(np.array(WANTED)[:, None], 2, 1), atol=2e-3
    )
    assert splits[0] == 0  # too large for the others
    other = assign(counts, WANTED, 2)
    assert other is not None
    assert (splits != other).any()


def test_groups_are_of_all_sizes_in_every_split() -> None:
    counts = np.repeat(np.arange(1, 21), 100)[:, None] * np.array([[1, 1]])
    splits = assign(counts, WANTED, 0)
    assert splits is not None
    means = [counts[splits == split, 0].mean() for split in range(3)]
    assert means == pytest.approx([10.5] * 3, rel=0.15)


def test_classes_that_cannot_reach_every_split() -> None:
    # Two groups hold all of class 1.
    counts = np.array([[5, 0]] * 6 + [[1, 4]] * 2)
    assert assign(counts, WANTED, 0) is None


def test_mixed_groups_are_dealt_so_that_classes_reach_every_split() -> None:
    counts = np.array([[30, 2], [4, 9], [6, 1], [3, 3]])
    splits = assign(counts, WANTED, 0)
    assert splits is not None
    assert held(counts, splits).min() > 0
