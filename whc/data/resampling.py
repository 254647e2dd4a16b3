"""The rows of an epoch, and their order."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Resampling = Literal["none", "weighted", "balanced"]


def epoch_order(strata: NDArray[np.int64], resampling: Resampling, rng: np.random.Generator) -> NDArray[np.int64]:
    """Shuffled row numbers of one epoch.

    Args:
        strata: (M,) kind of each row, such as its class.
        resampling: `none` takes each row once; `weighted` draws M rows with replacement by inverse count of their
            stratum; `balanced` repeats the rows of smaller strata until all are as large as the largest.
        rng: source of the shuffle.
    """
    counts = np.bincount(strata)
    if resampling == "weighted":
        weights = 1.0 / counts[strata]
        return rng.choice(len(strata), len(strata), p=weights / weights.sum())
    if resampling == "balanced":
        largest = counts.max()
        parts = []
        for stratum in np.flatnonzero(counts):
            rows = rng.permutation(np.flatnonzero(strata == stratum))
            parts.append(np.resize(rows, largest))
        return rng.permutation(np.concatenate(parts))
    return rng.permutation(len(strata))


def stratum_weights(strata: NDArray[np.int64], resampling: Resampling, count: int) -> NDArray[np.float32]:
    """Weight of each stratum (S,) in the loss, inverse to its rows in an epoch; 1 if all strata are equal.

    All weights are 1 with `weighted` and `balanced`, which make the strata equal. A stratum without rows weighs 1.

    Args:
        strata: (M,) kind of each row.
        resampling: resampling of the epoch.
        count: number of strata S.
    """
    counts = np.bincount(strata, minlength=count)
    if resampling != "none":
        return np.ones(count, np.float32)
    return np.asarray(np.where(counts, len(strata) / (count * np.maximum(counts, 1)), 1), np.float32)
