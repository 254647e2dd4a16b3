"""Classification of crops, scored by F1: of the positive class of two, macro-averaged over three and more.

Two classes need one logit and give one probability, that of class 1, the positive class; C classes give C of each.
The outputs for M inputs are (M,) or (M, C) accordingly.
"""

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
    """`threshold`: least probability called positive; of three classes and more the likeliest is called instead."""

    threshold: float = Field(0.5, gt=0, lt=1)


@dataclass(frozen=True)
class Decision:
    """What a model's output means: the label called, its probability 0..1, and whether it is the positive of two."""

    label: str
    probability: float
    positive: bool


def outputs(labels: Sequence[str]) -> int:
    """Number of logits the network gives for these labels (in order of class_id)."""
    return 1 if len(labels) == 2 else len(labels)


def output_name(labels: Sequence[str]) -> str:
    """Name of the exported output: `prob_` and the positive label for two classes, `probs` for more."""
    return f"prob_{labels[POSITIVE]}" if len(labels) == 2 else "probs"


def columns(labels: Sequence[str]) -> tuple[str, ...]:
    """Names of the numbers in one output, in their order: `prob_` and the label that each is of."""
    return tuple(f"prob_{label}" for label in (labels[POSITIVE:] if len(labels) == 2 else labels))


def positive_label(labels: Sequence[str]) -> str:
    """The label that a lone probability is of; empty for three classes and more, which have none."""
    return labels[POSITIVE] if len(labels) == 2 else ""


def called(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.int64]:
    """Class ids (M,) called for probabilities (M,) of the positive class or (M, C) of all classes."""
    if probabilities.ndim == 1:
        return (probabilities >= threshold).astype(np.int64)
    return np.asarray(probabilities.argmax(1), np.int64)


def margin(probabilities: NDArray[np.floating], threshold: float) -> NDArray[np.floating]:
    """How far (M,) every probability of a row may move before another class can be called."""
    if probabilities.ndim == 1:
        return np.asarray(np.abs(probabilities - threshold))
    second, first = np.sort(probabilities, axis=1)[:, -2:].T
    return np.asarray((first - second) / 2)  # the first may fall while the second rises


def decode(probabilities: NDArray[np.floating], labels: Sequence[str], threshold: float) -> Decision:
    """The decision for one output of the model: an array without dimensions, or (C,)."""
    class_id = int(called(probabilities[None], threshold)[0])
    if probabilities.ndim:
        return Decision(labels[class_id], float(probabilities[class_id]), False)
    positive = class_id == POSITIVE
    return Decision(labels[class_id], float(probabilities if positive else 1 - probabilities), positive)


def confusion(probabilities: NDArray[np.floating], class_ids: NDArray[np.int64], threshold: float) -> NDArray[np.int64]:
    """Counts (C, C) of M outputs: row the real class, column the class called."""
    classes = 2 if probabilities.ndim == 1 else probabilities.shape[1]
    pairs = class_ids * classes + called(probabilities, threshold)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def score(probabilities: NDArray[np.floating], class_ids: NDArray[np.int64], threshold: float) -> float:
    """F1, 0..1: 2 TP / (2 TP + FP + FN), 0 without a hit; of class 1 for two classes, the mean over classes for more.

    Args:
        probabilities: (M,) of the positive class, or (M, C).
        class_ids: (M,) 0 to C - 1.
        threshold: least probability called positive; of no use to (M, C).
    """
    return float(score_of(confusion(probabilities, class_ids, threshold)))


def score_of(counts: NDArray[np.floating] | NDArray[np.int64]) -> NDArray[np.floating]:
    """F1 (...) of confusion counts (..., C, C), which add up over rows: what a bootstrap resamples."""
    hits = np.diagonal(counts, axis1=-2, axis2=-1)
    both = counts.sum(-1) + counts.sum(-2)
    f1 = 2 * hits / np.maximum(both, 1)
    return np.asarray(f1[..., POSITIVE] if counts.shape[-1] == 2 else f1.mean(-1))


def constant_score(class_ids: NDArray[np.int64]) -> float:
    """What a useful model must beat, 0..1: the F1 of always calling the positive class of two, the commonest of more.

    Calling M_c of M rows right scores 2 M_c / (M + M_c) for that class, and 0 for every other.
    """
    counts = np.bincount(class_ids, minlength=2)
    binary = len(counts) == 2
    right = counts[POSITIVE] if binary else counts.max()
    return float(2 * right / max(counts.sum() + right, 1)) / (1 if binary else len(counts))


def best_threshold(probabilities: NDArray[np.floating], class_ids: NDArray[np.int64]) -> float | None:
    """The threshold within (0, 1) with the highest F1 on these rows; None where there is nothing to tune.

    Only a threshold halfway between two neighbouring probabilities is tried: all in one pass over them, sorted.
    """
    if probabilities.ndim > 1 or not probabilities.any():
        return None
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order]
    hits = np.cumsum(class_ids[order] == POSITIVE)
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + hits[-1])
    below = np.append(falling[1:], 0).astype(falling.dtype)
    # Equal probabilities are called together, and what is 0 is never called.
    cuts = np.flatnonzero(falling > below)
    best = cuts[np.argmax(f1[cuts])]
    halfway = (float(falling[best]) + float(below[best])) / 2
    # Neighbouring floats have none between them.
    return halfway if falling.dtype.type(halfway) > below[best] else float(falling[best])


def loss(logits: Tensor, class_ids: Tensor, class_weights: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of logits (N, 1) or (N, C) against class ids (N,), weighted by class (C,).

    Two classes weigh their positives by the ratio of the two weights, negatives by 1.
    `label_smoothing` moves that share of a target to all classes evenly (Szegedy et al. 2016).
    """
    from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

    if logits.shape[1] > 1:
        return cross_entropy(logits, class_ids, class_weights, label_smoothing=label_smoothing)
    targets = class_ids.to(logits.dtype) * (1 - label_smoothing) + label_smoothing / 2
    weight = class_weights[POSITIVE] / class_weights[1 - POSITIVE]
    return binary_cross_entropy_with_logits(logits[:, 0], targets, pos_weight=weight)


def probabilities(logits: Tensor) -> Tensor:
    """Logits to the exported output: (N, 1) to the positive class's probability (N,), (N, C) to (N, C)."""
    return logits.softmax(1) if logits.shape[1] > 1 else logits.squeeze(1).sigmoid()
