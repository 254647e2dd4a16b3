"""Two-class classification of crops: is the positive label there or not? Scored by F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from whc.plugins import PluginConfig

if TYPE_CHECKING:
    from torch import Tensor

POSITIVE = 1


class Config(PluginConfig):
    """`threshold`: least probability of the positive class that is called positive."""

    threshold: float = Field(0.5, gt=0, lt=1)


@dataclass(frozen=True)
class Decision:
    """What a probability means: the label called, and the probability of that label, 0..1."""

    label: str
    probability: float
    positive: bool


def outputs(labels: Sequence[str]) -> int:
    """Number of logits the network gives for these labels (in order of class_id)."""
    del labels  # two classes need one logit
    return 1


def output_name(labels: Sequence[str]) -> str:
    """Name of the exported output: the probability of the positive label."""
    return f"prob_{labels[POSITIVE]}"


def decode(probability: float, labels: Sequence[str], threshold: float) -> Decision:
    """The decision for one output value in 0..1."""
    if probability >= threshold:
        return Decision(labels[POSITIVE], probability, True)
    return Decision(labels[1 - POSITIVE], 1 - probability, False)


def score(probabilities: NDArray[np.floating], class_ids: NDArray[np.int64], threshold: float) -> float:
    """F1 of the positive class, 0..1: 2 TP / (2 TP + FP + FN); 0 when nothing is positive.

    Args:
        probabilities: (M,) of the positive class.
        class_ids: (M,) 0 or 1.
        threshold: least probability called positive.
    """
    called, real = probabilities >= threshold, class_ids == POSITIVE
    hits = int(np.sum(called & real))
    wrong = int(np.sum(called != real))
    return 2 * hits / (2 * hits + wrong) if hits else 0.0


def constant_score(class_ids: NDArray[np.int64]) -> float:
    """F1 of always calling positive, what a useful model must beat."""
    return score(np.ones(len(class_ids)), class_ids, 0.5)


def loss(logits: Tensor, class_ids: Tensor, positive_weight: float) -> Tensor:
    """Binary cross-entropy with logits (N, 1) against class ids (N,), positives weighted."""
    from torch.nn.functional import binary_cross_entropy_with_logits

    weight = logits.new_tensor(positive_weight)
    return binary_cross_entropy_with_logits(logits[:, 0], class_ids.to(logits.dtype), pos_weight=weight)


def probabilities(logits: Tensor) -> Tensor:
    """Logits (N, 1) to the exported output: probability of the positive class, (N,)."""
    return logits.squeeze(1).sigmoid()
