"""When an artifact may ship."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from whc.export.parity import Parity, ParityLimits, compare
from whc.tasks.classification import Classification, Config

Batch = NDArray[np.float32]
LIMITS = ParityLimits()


def task(classes: int, threshold: float = 0.5) -> Classification:
    return Classification(tuple(map(str, range(classes))), Config(threshold=threshold))


def batch(*values: float) -> Batch:
    return np.array(values, np.float32)


def ask(network: list[Batch], artifact: list[Batch], threshold: float = 0.5, limits: ParityLimits = LIMITS) -> Parity:
    classes = network[0].shape[1] if network and network[0].ndim == 2 else 2
    class_ids = np.arange(sum(map(len, network))) % classes
    return compare(iter(network), iter(artifact), class_ids, task(classes, threshold), limits)[0]


def test_equal_outputs_pass() -> None:
    batches = [batch(0.1, 0.5, 0.9), batch(0.3)]
    result = ask(batches, [b.copy() for b in batches])
    assert (result.rows, result.max_difference, result.changed, result.passed) == (4, 0.0, 0, True)


@pytest.mark.parametrize(("difference", "passed"), [(5e-5, True), (9.9e-5, True), (1.1e-4, False), (0.1, False)])
def test_the_largest_difference_of_any_batch_counts(difference: float, passed: bool) -> None:
    result = ask([batch(0.1), batch(0.2), batch(0.3)], [batch(0.1), batch(0.2 - difference), batch(0.3)])
    assert result.max_difference == pytest.approx(difference, rel=1e-2)
    assert result.changed == 0
    assert result.passed is passed


def test_limits_are_the_caller_s() -> None:
    assert ask([batch(0.1)], [batch(0.15)], limits=ParityLimits(max_difference=0.1)).passed
    assert not ask([batch(0.1)], [batch(0.15)], limits=ParityLimits(max_difference=0.01)).passed


@pytest.mark.parametrize("limit", [0, -1, np.inf, np.nan])
def test_a_limit_is_a_difference(limit: float) -> None:
    with pytest.raises(ValueError, match="max_difference"):
        ParityLimits(max_difference=limit)


def test_a_flip_near_the_threshold_is_forgiven() -> None:
    result = ask([batch(0.50003), batch(0.7)], [batch(0.49998), batch(0.7)])
    assert result.changed == 0
    assert result.passed


def test_a_flip_further_away_is_not() -> None:
    result = ask([batch(0.6, 0.4, 0.8)], [batch(0.4, 0.6, 0.8)])
    assert result.changed == 2
    assert not result.passed


def test_flips_are_at_the_given_threshold() -> None:
    assert ask([batch(0.6)], [batch(0.4)], threshold=0.3).changed == 0
    assert ask([batch(0.31)], [batch(0.29)], threshold=0.3).changed == 1


def test_flips_between_several_classes() -> None:
    network = [np.array([[0.6, 0.3, 0.1], [0.2, 0.3, 0.5]], np.float32), np.array([[0.1, 0.45, 0.45]], np.float32)]
    artifact = [batch.copy() for batch in network]
    assert ask(network, artifact).passed
    artifact[0][0] = artifact[0][0, [1, 0, 2]]
    result = ask(network, artifact)
    assert (result.rows, result.changed) == (3, 1)
    assert result.max_difference == pytest.approx(0.3)


def test_a_flip_between_classes_that_are_nearly_equal_is_forgiven() -> None:
    network, artifact = (np.array([row], np.float32) for row in ([0.40004, 0.39996, 0.2], [0.39996, 0.40004, 0.2]))
    assert ask([network], [artifact]).passed
    further = np.array([[0.3, 0.5, 0.2]], np.float32)
    assert ask([network], [further], limits=ParityLimits(max_difference=0.2)).changed == 0
    assert ask([further], [network], limits=ParityLimits(max_difference=0.2)).changed == 1


@given(st.integers(0, 10_000), st.sampled_from([(), (3,), (5,)]), st.floats(0.05, 0.95))
def test_differences_within_the_limit_never_count_as_flips(
    seed: int, classes: tuple[int, ...], threshold: float
) -> None:
    rng = np.random.default_rng(seed)
    network = rng.random((40, *classes))
    artifact = network + rng.uniform(-9e-5, 9e-5, network.shape)
    random_task = task(*(classes or (2,)), threshold)
    assert compare([network], [artifact], np.zeros(len(network), np.int64), random_task, LIMITS)[0].passed


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["network", "artifact", "both"])
def test_what_is_no_number_fails(value: float, side: str) -> None:
    good, bad = batch(0.1, 0.2), batch(0.1, value)
    network, artifact = {"network": (bad, good), "artifact": (good, bad), "both": (bad, bad)}[side]
    with np.errstate(invalid="ignore"):
        result = ask([good, network, good], [good, artifact, good])
    assert result.max_difference == np.inf
    assert not result.passed
    assert "inf" in str(result)


def test_nothing_compared_does_not_pass() -> None:
    assert not ask([], []).passed


@pytest.mark.parametrize(
    ("network", "artifact"),
    [
        ([batch(0.1), batch(0.2)], [batch(0.1)]),
        ([batch(0.1)], [batch(0.1), batch(0.2)]),
        ([batch(0.1, 0.2)], [batch(0.1, 0.2, 0.3)]),
        ([batch(0.1, 0.1)], [batch(0.1)]),
        ([batch(0.1, 0.1)], [batch(0.1, 0.1)[:, None]]),
    ],
)
def test_batches_must_match(network: list[Batch], artifact: list[Batch]) -> None:
    with pytest.raises(ValueError, match=r"shorter|longer|one shape"):
        ask(network, artifact)


def test_reads_as_a_sentence() -> None:
    difference = "largest difference 2.0e-01 (limit 1e-04)"
    result = ask([batch(0.6, 0.4)], [batch(0.4, 0.4)])
    expected = "1 flipped decisions (limit 0.2%), F1 off by 0.0000 (limit 0.002)"
    assert str(result) == f"parity over 2 validation inputs: {difference}, {expected}"


def test_every_limit_is_a_gate_of_its_own() -> None:
    """A tenth of the positives is lost, each by a small move: F1 falls from 1 to 18/19."""
    network = np.tile([0.3, 0.51], 50).astype(np.float32)
    artifact = network.copy()
    artifact[1:11:2] = 0.49
    enough = {"max_difference": 0.05, "max_changed": 0.05, "max_score_difference": 0.06}
    result = ask([network], [artifact], limits=ParityLimits(**enough))
    assert (result.changed, result.passed) == (5, True)
    assert result.score_difference == pytest.approx(1 - 18 / 19)
    for name, value in (("max_difference", 0.01), ("max_changed", 0.04), ("max_score_difference", 0.05)):
        assert not ask([network], [artifact], limits=ParityLimits(**{**enough, name: value})).passed


def test_limits_of_old_names_are_read() -> None:
    older = ParityLimits.model_validate({"max_flips": 0.1, "max_f1_difference": 0.2})
    assert older == ParityLimits(max_changed=0.1, max_score_difference=0.2)


def test_targets_must_be_of_all_rows() -> None:
    with pytest.raises(ValueError, match="a target for each of 2 rows, got 1"):
        compare([batch(0.1, 0.2)], [batch(0.1, 0.2)], np.zeros(1, np.int64), task(2), LIMITS)
