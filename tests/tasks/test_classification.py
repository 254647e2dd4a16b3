"""Scores against an independent formula, and what a probability means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from whc.tasks.classification import (
    Config,
    Decision,
    constant_score,
    decode,
    loss,
    output_name,
    outputs,
    probabilities,
    score,
)

LABELS = ("still", "waving")
# Coarse probabilities, so that some lie on the threshold.
ROWS = st.lists(st.tuples(st.integers(0, 10).map(lambda i: i / 10), st.integers(0, 1)), min_size=1, max_size=40)


def f1(called: list[bool], real: list[bool]) -> float:
    """The harmonic mean of precision and recall."""
    hits = sum(c and r for c, r in zip(called, real, strict=True))
    if not hits:
        return 0.0
    precision, recall = hits / sum(called), hits / sum(real)
    return 2 * precision * recall / (precision + recall)


@given(ROWS, st.integers(1, 9).map(lambda i: i / 10))
def test_score_is_f1(rows: list[tuple[float, int]], threshold: float) -> None:
    values, class_ids = np.array([p for p, _ in rows], np.float64), np.array([c for _, c in rows], np.int64)
    expected = f1([p >= threshold for p, _ in rows], [c == 1 for _, c in rows])
    assert score(values, class_ids, threshold) == pytest.approx(expected)


@given(ROWS)
def test_constant_score_is_f1_of_always_positive(rows: list[tuple[float, int]]) -> None:
    real = [c == 1 for _, c in rows]
    assert constant_score(np.array(real, np.int64)) == pytest.approx(f1([True] * len(real), real))


@given(ROWS)
def test_labels_as_scores_are_perfect(rows: list[tuple[float, int]]) -> None:
    class_ids = np.array([c for _, c in rows], np.int64)
    assert score(class_ids.astype(np.float32), class_ids, 0.5) == (1.0 if class_ids.any() else 0.0)


@pytest.mark.parametrize(
    ("probability", "threshold", "expected"),
    [
        (0.75, 0.5, Decision("waving", 0.75, True)),
        (0.5, 0.5, Decision("waving", 0.5, True)),
        (0.25, 0.5, Decision("still", 0.75, False)),
        (0.25, 0.2, Decision("waving", 0.25, True)),
        (0.0, 0.5, Decision("still", 1.0, False)),
    ],
)
def test_decode(probability: float, threshold: float, expected: Decision) -> None:
    assert decode(probability, LABELS, threshold) == expected


def test_one_logit_named_after_the_positive_label() -> None:
    assert outputs(LABELS) == 1
    assert output_name(LABELS) == "prob_waving"


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 1.5])
def test_threshold_lies_between_zero_and_one(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Config(threshold=threshold)


def test_loss_is_weighted_cross_entropy() -> None:
    logits, class_ids = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1, 0, 1])
    p = probabilities(logits)
    expected = -(3 * p[0].log() + (1 - p[1]).log() + 3 * p[2].log()) / 3
    torch.testing.assert_close(loss(logits, class_ids, 3.0), expected)
