"""How sure a score is: bootstraps over groups (people, clips), since the rows of one group are not independent."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

DRAWS = 2000


@dataclass(frozen=True)
class Evidence:
    """One model's decisions on M rows: class ids called and real (M,), groups (M,) numbered from 0, C classes.

    Two can be compared when they are of the same rows in the same order.
    """

    called: NDArray[np.int64]
    real: NDArray[np.int64]
    groups: NDArray[np.int64]
    classes: int

    @property
    def counts(self) -> NDArray[np.float64]:
        """Confusion counts of each group, (G, C, C): they add up to those of all rows."""
        shape = (int(self.groups.max()) + 1, self.classes, self.classes)
        cells = np.ravel_multi_index((self.groups, self.real, self.called), shape)
        return np.bincount(cells, minlength=int(np.prod(shape))).reshape(shape).astype(np.float64)


def resamples(groups: int, draws: int = DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """How often each group is drawn (draws, groups), with replacement (Efron and Tibshirani 1993, chapter 8)."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), draws).astype(np.float64)


def scores(task: ModuleType, evidence: Evidence) -> NDArray[np.float64]:
    """The score (draws,) on each resample of the groups; the same resamples for the same rows."""
    counts = evidence.counts
    sums = np.tensordot(resamples(len(counts)), counts, axes=1)
    return np.asarray(task.score_of(sums), np.float64)


def interval(task: ModuleType, evidence: Evidence) -> tuple[float, float]:
    """95 % percentile interval of the score."""
    low, high = np.percentile(scores(task, evidence), [2.5, 97.5])
    return float(low), float(high)


def probability_of_gain(task: ModuleType, better: Evidence, other: Evidence, gain: float) -> float:
    """Share of resamples, the same for both, in which `better` scores at least `gain` more: one-sided and paired.

    Raises:
        ValueError: the two are not of the same rows.
    """
    if not (np.array_equal(better.real, other.real) and np.array_equal(better.groups, other.groups)):
        raise ValueError("both must be of the same rows")
    # Half of a millionth, since differences of fractions that are equal to the gain may come out just below it.
    return float(np.mean(scores(task, better) - scores(task, other) >= gain - 5e-7))
