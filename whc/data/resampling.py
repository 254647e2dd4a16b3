"""Which rows an epoch sees, and in what order."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Resampling = Literal["none", "weighted", "balanced"]


def epoch_order(class_ids: NDArray[np.int64], resampling: Resampling, rng: np.random.Generator) -> NDArray[np.int64]:
    """Shuffled row numbers of one epoch.

    Args:
        class_ids: (M,) class of each row.
        resampling: `none` takes each row once; `weighted` draws M rows with replacement by inverse class count;
            `balanced` repeats the rows of smaller classes until all classes are as large as the largest.
        rng: source of the shuffle.
    """
    counts = np.bincount(class_ids)
    if resampling == "weighted":
        weights = 1.0 / counts[class_ids]
        return rng.choice(len(class_ids), len(class_ids), p=weights / weights.sum())
    if resampling == "balanced":
        largest = counts.max()
        parts = []
        for class_id in np.flatnonzero(counts):
            rows = rng.permutation(np.flatnonzero(class_ids == class_id))
            parts.append(np.resize(rows, largest))
        return rng.permutation(np.concatenate(parts))
    return rng.permutation(len(class_ids))


def class_weights(class_ids: NDArray[np.int64], resampling: Resampling) -> NDArray[np.float32]:
    """Weight of each class (C,) in the loss, inverse to its rows in an epoch as resampled: 1 for equal classes.

    Where rows are drawn by `weighted`, classes are equal in expectation: 1.
    """
    if resampling != "none":
        return np.ones(int(class_ids.max()) + 1, np.float32)
    counts = np.bincount(class_ids)
    return np.asarray(len(class_ids) / (len(counts) * counts), np.float32)
