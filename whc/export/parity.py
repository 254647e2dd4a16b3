"""Parity: whether an exported file computes the same as the trained network, on real inputs, never on noise."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, ConfigDict, Field

from whc.config import Settings
from whc.records import Metric
from whc.tasks import Outputs, Targets, Task


class ParityLimits(Settings):
    """Limits of the differences between an artifact and its network.

    `max_difference` is of one output (None: the task's tolerance), `max_changed` the share of inputs whose answer
    changes, `max_score_difference` of the score. A change of answer within the task's tolerance does not count.
    """

    max_difference: float | None = Field(None, gt=0, allow_inf_nan=False)
    max_changed: float = Field(0.002, ge=0, le=1, validation_alias=AliasChoices("max_changed", "max_flips"))
    max_score_difference: float = Field(
        0.002, ge=0, le=1, validation_alias=AliasChoices("max_score_difference", "max_f1_difference")
    )


class Parity(Settings):
    """Differences over `rows` inputs, and their `limits`, whose `max_difference` is never None here."""

    rows: int
    max_difference: float
    changed: int
    score_difference: float
    limits: ParityLimits
    metric: Metric

    # Differences of a broken file may be infinite or no numbers, which JSON has no words for.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    @property
    def passed(self) -> bool:
        """Whether all differences are within the limits."""
        limits = self.limits
        is_close = self.max_difference <= (limits.max_difference or 0) and (
            self.score_difference <= limits.max_score_difference
        )
        return self.rows > 0 and is_close and self.changed <= limits.max_changed * self.rows

    @property
    def differences(self) -> str:
        """The differences in words, without the limits."""
        return (
            f"largest difference {self.max_difference:.1e}, {self.changed} flipped decisions, "
            f"{self.metric.name} off by {self.score_difference:.4f} over {self.rows} validation inputs"
        )

    def __str__(self) -> str:
        return (
            f"parity over {self.rows} validation inputs: largest difference {self.max_difference:.1e} "
            f"(limit {self.limits.max_difference:.0e}), {self.changed} flipped decisions "
            f"(limit {self.limits.max_changed:.1%}), "
            f"{self.metric.name} off by {self.score_difference:.4f} (limit {self.limits.max_score_difference})"
        )


def compare(
    network: Iterable[NDArray[np.floating]],
    artifact: Iterable[NDArray[np.floating]],
    targets: Targets,
    task: Task,
    limits: ParityLimits,
) -> tuple[Parity, Outputs]:
    """Compare outputs batch by batch; also returns the artifact's outputs, in the order of the rows.

    Args:
        network: batches (B, ...) from the trained network in PyTorch.
        artifact: the same batches from the exported file in its runtime.
        targets: of all rows, in their order.
        task: decides whether two outputs give the same answer.
        limits: largest differences allowed.

    Raises:
        ValueError: the two do not have the same batches, or not as many rows as targets.
    """
    largest, changes = 0.0, 0
    network_outputs: list[Outputs] = []
    scored_outputs: list[Outputs] = []  # of the artifact, without forgiven changes
    artifact_outputs: list[Outputs] = []
    for ours, theirs in zip(network, artifact, strict=True):
        if ours.shape != theirs.shape:
            raise ValueError(f"batches must have one shape, got {ours.shape} and {theirs.shape}")
        difference, changed = task.disagreement(ours, theirs)
        largest, changes = max(largest, difference), changes + int(changed.sum())
        # A change within the task's tolerance does not count in the score either.
        forgiven = theirs.copy()
        forgiven[~changed] = ours[~changed]
        network_outputs.append(ours)
        artifact_outputs.append(theirs)
        scored_outputs.append(forgiven)
    rows = sum(map(len, network_outputs))
    if rows != len(targets):
        raise ValueError(f"there must be a target for each of {rows} rows, got {len(targets)}")
    score_difference = 0.0
    if rows:
        scores = [task.judge(np.concatenate(outputs), targets).score() for outputs in (network_outputs, scored_outputs)]
        score_difference = float(abs(np.subtract(*scores)))
    result = Parity(
        rows=rows,
        max_difference=largest,
        changed=changes,
        score_difference=score_difference,
        limits=limits.model_copy(update={"max_difference": limits.max_difference or task.tolerance}),
        metric=task.metric,
    )
    return result, np.concatenate(artifact_outputs) if artifact_outputs else np.empty(
        (0, *task.output_shape), np.float32
    )
