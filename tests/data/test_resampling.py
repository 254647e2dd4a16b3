"""Laws of an epoch's order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from whc.data.resampling import Resampling, class_weights, epoch_order

CLASSES = st.lists(st.integers(0, 2), min_size=1, max_size=40).map(lambda ids: np.array(ids, np.int64))
SEEDS = st.integers(0, 1000)


@given(CLASSES, SEEDS)
def test_none_is_a_permutation(class_ids: NDArray[np.int64], seed: int) -> None:
    order = epoch_order(class_ids, "none", np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(class_ids)))


@given(CLASSES, SEEDS)
def test_balanced_has_equal_counts_and_every_row(class_ids: NDArray[np.int64], seed: int) -> None:
    order = epoch_order(class_ids, "balanced", np.random.default_rng(seed))
    counts = np.bincount(class_ids)
    drawn = np.bincount(class_ids[order])
    assert set(drawn[counts > 0].tolist()) == {int(counts.max())}
    assert set(order.tolist()) == set(range(len(class_ids)))
    # Rows of one class are repeated equally often, give or take one.
    for class_id in np.flatnonzero(counts):
        times = np.bincount(order, minlength=len(class_ids))[class_ids == class_id]
        assert times.max() - times.min() <= 1


@given(CLASSES, SEEDS)
def test_weighted_draws_as_many_rows_as_there_are(class_ids: NDArray[np.int64], seed: int) -> None:
    order = epoch_order(class_ids, "weighted", np.random.default_rng(seed))
    assert order.shape == class_ids.shape
    assert order.min() >= 0
    assert order.max() < len(class_ids)


def test_weighted_draws_classes_equally_often() -> None:
    class_ids = np.repeat([0, 1], [9000, 1000])
    order = epoch_order(class_ids, "weighted", np.random.default_rng(0))
    assert class_ids[order].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("resampling", ["none", "weighted", "balanced"])
def test_the_seed_decides_the_order(resampling: Resampling) -> None:
    class_ids = np.random.default_rng(0).integers(0, 2, 200)
    first, again, other = (epoch_order(class_ids, resampling, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@given(st.lists(st.integers(0, 3), max_size=40).map(lambda ids: np.array([0, 1, 2, 3, *ids], np.int64)))
def test_weights_make_up_for_what_resampling_does_not(class_ids: NDArray[np.int64]) -> None:
    weights = class_weights(class_ids, "none")
    assert weights.dtype == np.float32
    shares = np.bincount(class_ids) * weights
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)  # every class weighs the same
    assert weights[class_ids].mean() == pytest.approx(1, rel=1e-5)
    for resampling in ("weighted", "balanced"):
        assert class_weights(class_ids, resampling).tolist() == [1] * 4


def test_weights_of_two_classes_have_the_ratio_of_their_rows() -> None:
    negative, positive = class_weights(np.array([0, 0, 0, 1]), "none")
    assert positive / negative == pytest.approx(3)
