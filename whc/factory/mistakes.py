"""The mistakes of a model that people look at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whc.tasks import Outputs, Targets, Task
from whc.tasks.showing import Mistake

_SEARCHED = 20  # mistakes for each that is shown


def worst(task: Task, outputs: Outputs, targets: Targets, groups: NDArray[np.int64], count: int) -> list[Mistake]:
    """At most `count` of the worst mistakes, the worst first, of as many groups as possible.

    Frames of a clip fail alike, and one of them tells as much as ten.

    Args:
        task: what was answered.
        outputs: (M, ...).
        targets: (M, ...).
        groups: the group (person or clip) of each row (M,).
        count: how many are wanted.
    """
    found = task.mistakes(outputs, targets, _SEARCHED * count)
    first: dict[int, Mistake] = {}
    for mistake in found:
        first.setdefault(int(groups[mistake.row]), mistake)
    rows = [mistake.row for mistake in first.values()]
    rows += [mistake.row for mistake in found if mistake.row not in rows]
    kept = set(rows[:count])
    return [mistake for mistake in found if mistake.row in kept]
