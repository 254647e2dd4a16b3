"""Scores against independent formulas, for two classes and for more, and what a probability means."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from whc.tasks import Loss
from whc.tasks.classification import Classification, Config
from whc.tasks.showing import BLUE_COLOUR, GREEN_COLOUR, Bar, Reading, as_unsure

Ids = NDArray[np.int64]
Outputs = NDArray[np.float32]

EVEN = torch.ones(2)
THRESHOLDS = st.integers(1, 9).map(lambda i: i / 10)
SEEDS = st.integers(0, 10_000)


def task(classes: int, threshold: float = 0.5) -> Classification:
    return Classification(tuple(f"class {i}" for i in range(classes)), Config(threshold=threshold))


TWO = Classification(("still", "waving"), Config())
THREE = Classification(("left", "right", "none"), Config())


def classes_of(outputs: Outputs) -> int:
    return 2 if outputs.ndim == 1 else outputs.shape[1]


def score(outputs: Outputs, class_ids: Ids, threshold: float) -> float:
    return float(task(classes_of(outputs), threshold).judge(outputs, class_ids).score())


def called(outputs: Outputs, threshold: float) -> Ids:
    return task(classes_of(outputs), threshold).called(outputs)


@st.composite
def binary(draw: st.DrawFn) -> tuple[Outputs, Ids]:
    """Coarse probabilities (M,), so that some lie on the threshold and many are equal, and class ids."""
    count = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(SEEDS))
    return (rng.integers(0, 11, count) / 10).astype(np.float32), rng.integers(0, 2, count)


@st.composite
def several(draw: st.DrawFn) -> tuple[Outputs, Ids]:
    """Probabilities (M, C) of 3 to 6 classes, and class ids that may lack some of them."""
    classes, count = draw(st.integers(3, 6)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(SEEDS))
    weights = rng.random((count, classes), np.float32) + np.float32(1e-3)
    return weights / weights.sum(1, keepdims=True), rng.integers(0, classes, count)


def f1(said: Ids, real: Ids, class_id: int) -> float:
    """The harmonic mean of precision and recall."""
    hits = int(((said == class_id) & (real == class_id)).sum())
    if not hits:
        return 0.0
    precision, recall = hits / (said == class_id).sum(), hits / (real == class_id).sum()
    return float(2 * precision * recall / (precision + recall))


@given(binary(), THRESHOLDS)
def test_score_of_two_is_f1_of_the_positive(rows: tuple[Outputs, Ids], threshold: float) -> None:
    said = np.array([int(p >= np.float32(threshold)) for p in rows[0]])
    assert score(*rows, threshold) == pytest.approx(f1(said, rows[1], 1))


@given(several())
def test_score_of_more_is_the_mean_f1_of_all(rows: tuple[Outputs, Ids]) -> None:
    said, classes = np.array([row.tolist().index(row.max()) for row in rows[0]]), rows[0].shape[1]
    expected = np.mean([f1(said, rows[1], class_id) for class_id in range(classes)])
    assert score(*rows, 0.5) == pytest.approx(expected)


@given(several(), SEEDS)
def test_names_of_classes_do_not_matter_to_the_score_of_more(rows: tuple[Outputs, Ids], seed: int) -> None:
    renamed = np.random.default_rng(seed).permutation(rows[0].shape[1])
    moved = np.empty_like(rows[0])
    moved[:, renamed] = rows[0]
    assert score(moved, renamed[rows[1]], 0.5) == pytest.approx(score(*rows, 0.5))


@given(st.one_of(binary(), several()), THRESHOLDS)
def test_confusion_counts_every_row_once(rows: tuple[Outputs, Ids], threshold: float) -> None:
    counts = task(classes_of(rows[0]), threshold).judge(*rows).counts
    classes = len(counts)
    assert counts.shape == (classes, classes)
    assert counts.sum(1).tolist() == np.bincount(rows[1], minlength=classes).tolist()
    assert counts.sum(0).tolist() == np.bincount(called(rows[0], threshold), minlength=classes).tolist()
    assert np.trace(counts) == (called(rows[0], threshold) == rows[1]).sum()


@given(st.one_of(binary(), several()), THRESHOLDS, SEEDS)
def test_moves_within_the_margin_change_no_decision(rows: tuple[Outputs, Ids], threshold: float, seed: int) -> None:
    outcomes, room = (
        rows[0].astype(np.float64),
        task(classes_of(rows[0]), threshold)._margin(rows[0].astype(np.float64)),
    )
    assert room.shape == (len(outcomes),)
    assert (room >= 0).all()
    within = 0.99 * room.reshape(-1, *(1 for _ in outcomes.shape[1:]))
    moved = outcomes + within * np.random.default_rng(seed).uniform(-1, 1, outcomes.shape)
    kept = room > 1e-9  # on the border any move decides
    np.testing.assert_array_equal(called(moved, threshold)[kept], called(outcomes, threshold)[kept])


@given(st.one_of(binary(), several()), THRESHOLDS)
def test_moves_beyond_the_margin_can_change_every_decision(rows: tuple[Outputs, Ids], threshold: float) -> None:
    outcomes = rows[0].astype(np.float64)
    beyond = task(classes_of(outcomes), threshold)._margin(outcomes) + 1e-6
    if outcomes.ndim == 1:
        moved = np.where(outcomes >= threshold, outcomes - beyond, outcomes + beyond)
    else:
        moved, every = outcomes.copy(), np.arange(len(outcomes))
        second, first = outcomes.argsort(1)[:, -2:].T
        moved[every, first] -= beyond
        moved[every, second] += beyond
    assert (called(moved, threshold) != called(outcomes, threshold)).all()


@given(binary())
def test_floor_of_two_is_f1_of_always_positive(rows: tuple[Outputs, Ids]) -> None:
    assert task(2).floor(rows[1]) == pytest.approx(f1(np.ones(len(rows[1])), rows[1], 1))


@given(several())
def test_floor_of_more_is_that_of_the_best_class(rows: tuple[Outputs, Ids]) -> None:
    classes = rows[0].shape[1]
    class_ids = np.concatenate([rows[1], np.arange(classes)])  # every class is there, as data sets promise
    always = [np.tile(np.eye(classes, dtype=np.float32)[one], (len(class_ids), 1)) for one in range(classes)]
    assert task(classes).floor(class_ids) == pytest.approx(max(score(each, class_ids, 0.5) for each in always))


@given(binary())
def test_labels_as_scores_are_perfect(rows: tuple[Outputs, Ids]) -> None:
    class_ids = rows[1]
    assert score(class_ids.astype(np.float32), class_ids, 0.5) == (1.0 if class_ids.any() else 0.0)
    assert score(np.eye(3, dtype=np.float32)[class_ids], class_ids, 0.5) == pytest.approx(len(set(class_ids)) / 3)


@given(
    st.lists(
        st.tuples(
            st.one_of(st.floats(0, 1, width=32), st.sampled_from([0, 0.5, 0.50000006, 0.99999994, 1])),
            st.integers(0, 1),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_no_threshold_beats_the_best(rows: list[tuple[float, int]]) -> None:
    values, class_ids = np.array([p for p, _ in rows], np.float32), np.array([c for _, c in rows], np.int64)
    tuned = task(2).tuned(values, class_ids)
    if tuned is None:
        assert not values.any()
        return
    best = tuned.threshold
    assert Config(threshold=best).threshold == best
    others = [*np.linspace(0.01, 0.99, 25).tolist(), *(value for value in values.tolist() if 0 < value < 1)]
    assert score(values, class_ids, best) >= max(score(values, class_ids, other) for other in others) - 1e-12


def test_a_clip_is_right_by_the_mean_of_its_rows() -> None:
    clips = np.array([7, 4, 7, 4, 7, 9, 9])
    outputs, targets = np.array([0.4, 0.1, 0.4, 0.3, 0.9, 0.8, 0.8]), np.array([1, 1, 1, 1, 1, 0, 1])
    right = TWO.clips_right(outputs, targets, clips)
    assert right.tolist() == [False, True], "clip 9 has no single answer"
    several = np.array([[0.5, 0.4, 0.1], [0.1, 0.4, 0.5]])
    assert THREE.clips_right(several, np.array([1, 1]), np.array([0, 0])).tolist() == [True]


def test_the_best_threshold_lies_halfway() -> None:
    values, class_ids = np.array([0.1, 0.9, 0.2, 0.7], np.float32), np.array([0, 1, 0, 1])
    tuned = TWO.tuned(values, class_ids)
    assert tuned is not None
    assert tuned.threshold == pytest.approx(0.45)


def test_several_classes_have_no_threshold() -> None:
    assert THREE.tuned(np.eye(3, dtype=np.float32), np.arange(3)) is None


@pytest.mark.parametrize(
    ("probability", "threshold", "label", "cells"),
    [
        (0.75, 0.5, "waving", ("0.750000", "0.750000")),
        (0.5, 0.5, "waving", ("0.500000", "0.500000")),
        (0.25, 0.5, "still", ("0.750000", "0.250000")),
        (0.25, 0.2, "waving", ("0.250000", "0.250000")),
        (0.0, 0.5, "still", ("1.000000", "0.000000")),
    ],
)
def test_one_probability_as_people_see_it(
    probability: float, threshold: float, label: str, cells: tuple[str, ...]
) -> None:
    """A table of answers tells the probability of the label called, a table of frames that of the positive one."""
    task, output = Classification(TWO.labels, Config(threshold=threshold)), np.array(probability, np.float32)
    assert task.cells(output) == (label, *cells)
    assert task.frame_cells(output) == (label, cells[1], str(int(label == "waving")))
    colour = GREEN_COLOUR if label == "waving" else BLUE_COLOUR
    reading = Reading(label, colour, Bar("waving", probability, threshold))
    is_near = abs(probability - threshold) < 0.1
    assert task.reading(output) == (as_unsure(reading) if is_near else reading)


@pytest.mark.parametrize(
    ("each", "label"),
    [((0.25, 0.5, 0.25), "right"), ((0.375, 0.25, 0.375), "left"), ((0.0, 0.0, 1.0), "none")],
)
def test_several_probabilities_as_people_see_them(each: tuple[float, ...], label: str) -> None:
    output = np.array(each, np.float32)
    cells = (label, f"{max(each):.6f}", *(f"{value:.6f}" for value in each))
    assert THREE.cells(output) == THREE.frame_cells(output) == cells
    reading = Reading(label, GREEN_COLOUR, Bar(label, max(each)))
    assert THREE.reading(output) == (as_unsure(reading) if label == "left" else reading)


def test_two_classes_need_one_logit_named_after_the_positive_label() -> None:
    assert TWO.outputs == 1
    assert TWO.output_name == "prob_waving"
    assert TWO.columns == ("label", "probability", "prob_waving")
    assert TWO.frame_columns == ("label", "probability", "positive")
    assert TWO.headline_answers == ("waving",)


def test_more_classes_need_a_logit_each() -> None:
    assert THREE.outputs == 3
    assert THREE.output_name == "probs"
    assert THREE.columns == THREE.frame_columns == ("label", "probability", "prob_left", "prob_right", "prob_none")
    assert THREE.headline_answers == ()


def test_numbers_that_are_no_probabilities_are_told() -> None:
    assert TWO.check_outputs(np.array([0.5, 1.5])) == "must give probabilities in 0..1, got 1.5"
    assert "got nan" in TWO.check_outputs(np.array([0.5, np.nan]))


@pytest.mark.parametrize("threshold", [0, 1, -0.1, 1.5])
def test_threshold_lies_between_zero_and_one(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        Config(threshold=threshold)


def test_loss_of_two_weighs_positives_by_the_ratio() -> None:
    logits, class_ids = torch.tensor([[2.0], [-1.0], [0.5]]), torch.tensor([1, 0, 1])
    p = TWO.decoded(logits)
    expected = -(3 * p[0].log() + (1 - p[1]).log() + 3 * p[2].log()) / 3
    torch.testing.assert_close(loss(TWO, torch.tensor([0.5, 1.5]))(logits, class_ids), expected)


def test_loss_of_more_is_a_weighted_mean() -> None:
    logits, class_ids = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 3.0]]), torch.tensor([0, 1])
    p, weights = THREE.decoded(logits), torch.tensor([1.0, 3.0, 9.0])
    expected = -(p[0, 0].log() + 3 * p[1, 1].log()) / 4
    torch.testing.assert_close(loss(THREE, weights)(logits, class_ids), expected)


@given(SEEDS, st.sampled_from([0.0, 0.1, 0.6]))
def test_one_logit_learns_as_two_would(seed: int, label_smoothing: float) -> None:
    """A logit is the difference of two: their losses are the same, smoothed or not."""
    generator = torch.Generator().manual_seed(seed)
    pair, class_ids = torch.randn(8, 2, generator=generator), torch.randint(0, 2, (8,), generator=generator)
    one = (pair[:, 1] - pair[:, 0])[:, None]
    expected = cross_entropy(pair, class_ids, label_smoothing=label_smoothing)
    torch.testing.assert_close(loss(TWO, EVEN, label_smoothing)(one, class_ids), expected)
    torch.testing.assert_close(TWO.decoded(one), pair.softmax(1)[:, 1])


def loss(task: Classification, weights: torch.Tensor, label_smoothing: float = 0.0) -> Loss:
    return task.objective(torch.nn.Identity(), np.empty(0, np.int64), weights, label_smoothing)
