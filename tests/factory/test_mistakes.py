"""The worst mistakes that people look at come from as many people or clips as possible."""

from __future__ import annotations

import numpy as np
import pytest

from whc import tasks
from whc.factory.mistakes import worst

TASK = tasks.build(tasks.TASK_CHOICES.parse("classification"), ("no", "yes"))
OUTPUTS = np.array([0.99, 0.98, 0.97, 0.9, 0.8, 0.1])  # all but the last are wrong, the worst first
TARGETS = np.zeros(6, np.int64)


@pytest.mark.parametrize(
    ("groups", "count", "rows"),
    [
        ([0, 0, 0, 1, 2, 3], 3, [0, 3, 4]),  # one of each clip
        ([0, 0, 0, 1, 2, 3], 2, [0, 3]),
        ([0, 0, 0, 1, 1, 1], 3, [0, 1, 3]),  # too few clips: the next worst of them
        ([0, 1, 2, 3, 4, 5], 9, [0, 1, 2, 3, 4]),  # what is right is no mistake
    ],
)
def test_groups_come_before_their_second_mistakes(groups: list[int], count: int, rows: list[int]) -> None:
    found = worst(TASK, OUTPUTS, TARGETS, np.array(groups), count)
    assert [mistake.row for mistake in found] == rows
