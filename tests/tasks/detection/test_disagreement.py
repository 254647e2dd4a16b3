"""Whether two runtimes give the same boxes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from whc.tasks.detection.matching import disagreement


def test_runtimes_agree_if_rows_come_in_another_order() -> None:
    rng = np.random.default_rng(0)
    scores, class_ids = -np.sort(-rng.random((60, 20, 1))), rng.integers(0, 3, (60, 20, 1))
    outputs = np.concatenate([scores, class_ids, rng.uniform(0.1, 0.9, (60, 20, 4))], 2).astype(np.float32)
    mixed = outputs[:, rng.permutation(20)]
    largest, changed = disagreement(outputs, mixed, 1e-3)
    assert largest == 0
    assert changed.shape == (len(outputs),)
    assert not changed.any()


def moved(outputs: np.ndarray, row: int, column: int, by: float) -> np.ndarray:
    other = outputs.copy()
    other[0, row, column] += by
    return other


NO_BOX = [0, -1, 0, 0, 0, 0]
PAIR = np.array(
    [
        [[0.9, 0, 0.5, 0.5, 0.4, 0.4], [0.06, 1, 0.2, 0.2, 0.2, 0.2], NO_BOX],
        [[0.8, 1, 0.5, 0.5, 0.4, 0.4], NO_BOX, NO_BOX],
    ],
    np.float32,
)


@pytest.mark.parametrize(
    ("row", "column", "by", "is_changed"),
    [(0, 0, 0.01, False), (0, 0, -0.03, True), (0, 1, 1, True), (0, 2, 0.005, False), (1, 3, 0.1, True)],
)
def test_a_difference_is_seen(row: int, column: int, by: float, is_changed: bool) -> None:
    for ours, theirs in pairwise((PAIR, moved(PAIR, row, column, by), PAIR)):
        largest, changed = disagreement(ours, theirs, 1e-3)
        assert changed.tolist() == [is_changed, False]
        if column in (0, 2):
            assert largest == pytest.approx(abs(by), abs=1e-6)


def test_a_missing_box_changes_the_answer_and_a_faint_one_does_not() -> None:
    missing = PAIR.copy()
    missing[0, 1] = NO_BOX
    assert disagreement(PAIR, missing, 1e-3)[1].tolist() == [True, False]
    assert disagreement(missing, PAIR, 1e-3)[1].tolist() == [True, False]
    faint = moved(PAIR, 1, 0, -0.02)
    missing[0, 1, 0] = 0
    largest, changed = disagreement(faint, missing, 1e-3)
    assert largest == 0
    assert not changed.any()
    largest, changed = disagreement(PAIR, moved(PAIR, 0, 2, 0.3), 1e-3)
    assert largest == 0  # the second box has a partner still
    assert changed.tolist() == [True, False]
    largest, _ = disagreement(PAIR, np.where(PAIR[..., :1] > 0.5, 0, PAIR), 1e-3)
    assert largest == pytest.approx(0.8)  # where none has a partner, the score of the best


def test_the_last_row_may_be_another_box() -> None:
    first, second = [0.5, 0, 0.2, 0.2, 0.2, 0.2], [0.5004, 0, 0.8, 0.8, 0.2, 0.2]
    best = [0.9, 0, 0.5, 0.5, 0.4, 0.4]
    ours, theirs = (np.array([[best, last]], np.float32) for last in (first, second))
    assert disagreement(ours, theirs, 1e-3)[0] == 0
    assert not disagreement(ours, theirs, 1e-3)[1].any()
    assert disagreement(ours, theirs, 1e-4)[1].all()


def test_boxes_without_a_size_agree_with_themselves() -> None:
    flat = PAIR.copy()
    flat[0, 0, 4:], flat[0, 1, 4:] = [-0.2, 0.3], 0.001
    assert not disagreement(flat, flat, 1e-3)[1].any()
    largest, changed = disagreement(flat, moved(flat, 1, 2, 5e-4), 1e-3)
    assert largest == pytest.approx(5e-4, abs=1e-6)
    assert not changed.any()


def test_what_is_not_a_number_is_infinitely_far() -> None:
    broken = moved(PAIR, 0, 3, np.nan)
    for ours, theirs in ((PAIR, broken), (broken, PAIR), (broken, broken)):
        largest, changed = disagreement(ours, theirs, 1e-3)
        assert largest == np.inf
        assert changed.tolist() == [True, False]
