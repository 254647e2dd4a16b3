"""Does an exported file still compute what the trained network did? Asked on real inputs, never on noise."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.config import Settings

NOISE = 1e-4  # of a probability, between two runtimes that compute the same


class ParityLimits(Settings):
    """What an artifact may do otherwise than its network.

    `max_difference` of a probability; `max_flips`, the share of decisions that differ; `max_f1_difference`, of the
    score. Flips of what lies within NOISE of another decision are forgiven.
    """

    max_difference: float = Field(1e-4, gt=0, le=0.5)
    max_flips: float = Field(0.002, ge=0, le=1)
    max_f1_difference: float = Field(0.002, ge=0, le=1)


class Parity(Settings):
    """What was found over `rows` inputs, in the terms of its `limits`."""

    rows: int
    max_difference: float
    flips: int
    f1_difference: float
    limits: ParityLimits

    @property
    def passed(self) -> bool:
        """Whether the artifact may ship."""
        limits = self.limits
        within = self.max_difference <= limits.max_difference and self.f1_difference <= limits.max_f1_difference
        return self.rows > 0 and within and self.flips <= limits.max_flips * self.rows

    def __str__(self) -> str:
        return (
            f"parity over {self.rows} validation inputs: largest difference {self.max_difference:.1e} "
            f"(limit {self.limits.max_difference:.0e}), {self.flips} flipped decisions "
            f"(limit {self.limits.max_flips:.1%}), "
            f"F1 off by {self.f1_difference:.4f} (limit {self.limits.max_f1_difference})"
        )


def compare(
    network: Iterable[NDArray[np.floating]],
    artifact: Iterable[NDArray[np.floating]],
    class_ids: NDArray[np.int64],
    task: ModuleType,
    threshold: float,
    limits: ParityLimits,
) -> Parity:
    """Compare probabilities batch by batch.

    Args:
        network: batches (B,) or (B, C) from the trained network in PyTorch.
        artifact: the same batches from the exported file in its runtime.
        class_ids: the real classes of all rows, in their order.
        task: the task plug-in, which says what they mean.
        threshold: least probability called positive.
        limits: what is allowed.

    Raises:
        ValueError: the two do not have the same batches, or not as many rows as class ids.
    """
    rows, largest, flips = 0, 0.0, 0
    counts: list[NDArray[np.int64]] = []
    for ours, theirs in zip(network, artifact, strict=True):
        if ours.shape != theirs.shape:
            raise ValueError(f"batches must have one shape, got {ours.shape} and {theirs.shape}")
        difference = np.abs(ours.astype(np.float64) - theirs)
        # A NaN anywhere must fail the gate; every comparison with it is False.
        largest = max(largest, float(difference.max())) if np.isfinite(difference).all() else float("inf")
        flipped = task.called(ours, threshold) != task.called(theirs, threshold)
        flipped &= task.margin(ours, threshold) > NOISE
        flips += int(flipped.sum())
        # A flip that is forgiven above is forgiven in the score too.
        scored = theirs.copy()
        scored[~flipped] = ours[~flipped]
        real = class_ids[rows : rows + len(ours)]
        counts.append(np.stack([task.confusion(said, real, threshold) for said in (ours, scored)]))
        rows += len(ours)
    f1_difference = float(abs(np.subtract(*task.score_of(np.sum(counts, axis=0))))) if counts else 0.0
    return Parity(rows=rows, max_difference=largest, flips=flips, f1_difference=f1_difference, limits=limits)
