"""Does an exported file still compute what the trained network did? Asked on real inputs, never on noise."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.config import Settings


class ParityLimits(Settings):
    """`max_difference`: of a probability; a decision that moves of that size can change may flip."""

    max_difference: float = Field(1e-4, gt=0, le=0.5)


class Parity(Settings):
    """What was found over `rows` inputs.

    `flips` counts decisions that differ although no move of the network's probabilities within `limit` changes them.
    """

    rows: int
    max_difference: float
    flips: int
    limit: float

    @property
    def passed(self) -> bool:
        """Whether the artifact may ship."""
        return self.rows > 0 and self.flips == 0 and self.max_difference <= self.limit

    def __str__(self) -> str:
        return (
            f"parity over {self.rows} validation inputs: largest difference {self.max_difference:.1e} "
            f"(limit {self.limit:.0e}), {self.flips} flipped decisions"
        )


def compare(
    network: Iterable[NDArray[np.floating]],
    artifact: Iterable[NDArray[np.floating]],
    task: ModuleType,
    threshold: float,
    limits: ParityLimits,
) -> Parity:
    """Compare probabilities batch by batch.

    Args:
        network: batches (B,) or (B, C) from the trained network in PyTorch.
        artifact: the same batches from the exported file in its runtime.
        task: the task plug-in, which says what they mean.
        threshold: least probability called positive.
        limits: what is allowed.

    Raises:
        ValueError: the two do not have the same batches.
    """
    rows, largest, flips = 0, 0.0, 0
    for ours, theirs in zip(network, artifact, strict=True):
        if ours.shape != theirs.shape:
            raise ValueError(f"batches must have one shape, got {ours.shape} and {theirs.shape}")
        difference = np.abs(ours.astype(np.float64) - theirs)
        # A NaN anywhere must fail the gate; every comparison with it is False.
        largest = max(largest, float(difference.max())) if np.isfinite(difference).all() else float("inf")
        flipped = task.called(ours, threshold) != task.called(theirs, threshold)
        flips += int((flipped & (task.margin(ours, threshold) > limits.max_difference)).sum())
        rows += len(ours)
    return Parity(rows=rows, max_difference=largest, flips=flips, limit=limits.max_difference)
