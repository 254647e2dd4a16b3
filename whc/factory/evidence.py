"""Confidence of scores, by bootstraps over groups (people, clips): the rows of a group are not independent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whc.records import Metric, Part
from whc.tasks import Judgement

BOOTSTRAP_DRAWS, BOOTSTRAP_PARTS = 2000, 20


@dataclass(frozen=True)
class Evidence:
    """One model's outputs on M rows, judged, and the groups (M,) of the rows, numbered from 0.

    Two models can be compared if `rows` (row numbers in the data set) are the same, in the same order.
    """

    judgement: Judgement
    parts: Mapping[str, Judgement]
    rows: NDArray[np.int64]
    groups: NDArray[np.int64]

    @property
    def score(self) -> float:
        """The score over all rows."""
        return float(self.judgement.score())


def resamples(groups: int, draws: int = BOOTSTRAP_DRAWS, seed: int = 0) -> NDArray[np.float64]:
    """How often each group is drawn (draws, groups), with replacement (Efron and Tibshirani 1993, chapter 8)."""
    return np.random.default_rng(seed).multinomial(groups, np.full(groups, 1 / groups), draws).astype(np.float64)


def _drawn_scores(judgement: Judgement, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """The score (draws,) on each resample of the rows' groups (M,); the same resamples for the same groups."""
    # In parts: the weights of all draws on all rows of a large data set would not fit into memory.
    parts = np.array_split(resamples(int(groups.max()) + 1), BOOTSTRAP_PARTS)
    return np.concatenate([judgement.score(draws[:, groups]) for draws in parts])


def scores(evidence: Evidence) -> NDArray[np.float64]:
    """The score (draws,) on each resample of the groups; the same resamples for the same rows."""
    return _drawn_scores(evidence.judgement, evidence.groups)


def interval(resampled: NDArray[np.float64]) -> tuple[float, float]:
    """95 % percentile interval of scores (draws,); draws without a row to score are left out."""
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return float(low), float(high)


def part_scores(evidence: Evidence, metric: Metric) -> dict[str, Part]:
    """The parts of the score, each with its interval; parts without rows are left out."""
    shown_parts = {}
    for name, judgement in evidence.parts.items():
        score = float(judgement.score())
        if not np.isnan(score):
            low, high = interval(_drawn_scores(judgement, evidence.groups))
            shown = f"{metric.amount(score)} ({metric.shown_range(low, high)})"
            shown_parts[name] = Part(score=score, low=low, high=high, shown=shown)
    return shown_parts


def probability_of_gain(better: Evidence, baseline: Evidence, gain: float) -> float:
    """Share of resamples, the same for both, in which `better` scores at least `gain` more; one-sided and paired.

    Raises:
        ValueError: the two are not of the same rows.
    """
    if not (np.array_equal(better.rows, baseline.rows) and np.array_equal(better.groups, baseline.groups)):
        raise ValueError("both must be of the same rows")
    # Less half a millionth: rounding may put a difference that equals the gain just below it.
    return float(np.mean(scores(better) - scores(baseline) >= gain - 5e-7))
