"""Laws of an epoch's order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from whc.data.resampling import Resampling, epoch_order, stratum_weights

STRATA = st.lists(st.integers(0, 2), min_size=1, max_size=40).map(lambda ids: np.array(ids, np.int64))
SEEDS = st.integers(0, 1000)


@given(STRATA, SEEDS)
def test_none_is_a_permutation(strata: NDArray[np.int64], seed: int) -> None:
    order = epoch_order(strata, "none", np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(strata)))


@given(STRATA, SEEDS)
def test_balanced_has_equal_counts_and_every_row(strata: NDArray[np.int64], seed: int) -> None:
    order = epoch_order(strata, "balanced", np.random.default_rng(seed))
    counts = np.bincount(strata)
    drawn = np.bincount(strata[order])
    assert set(drawn[counts > 0].tolist()) == {int(counts.max())}
    assert set(order.tolist()) == set(range(len(strata)))
    # Rows of one stratum are repeated equally often, give or take one.
    for stratum in np.flatnonzero(counts):
        times = np.bincount(order, minlength=len(strata))[strata == stratum]
        assert times.max() - times.min() <= 1


@given(STRATA, SEEDS)
def test_weighted_draws_as_many_rows_as_there_are(strata: NDArray[np.int64], seed: int) -> None:
    order = epoch_order(strata, "weighted", np.random.default_rng(seed))
    assert order.shape == strata.shape
    assert order.min() >= 0
    assert order.max() < len(strata)


def test_weighted_draws_strata_equally_often() -> None:
    strata = np.repeat([0, 1], [9000, 1000])
    order = epoch_order(strata, "weighted", np.random.default_rng(0))
    assert strata[order].mean() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize("resampling", ["none", "weighted", "balanced"])
def test_the_seed_decides_the_order(resampling: Resampling) -> None:
    strata = np.random.default_rng(0).integers(0, 2, 200)
    first, again, other = (epoch_order(strata, resampling, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@given(st.lists(st.integers(0, 3), max_size=40).map(lambda ids: np.array([0, 1, 2, 3, *ids], np.int64)))
def test_weights_make_up_for_what_resampling_does_not(strata: NDArray[np.int64]) -> None:
    weights = stratum_weights(strata, "none", 4)
    assert weights.dtype == np.float32
    shares = np.bincount(strata) * weights
    np.testing.assert_allclose(shares, shares[0], rtol=1e-5)  # every stratum weighs the same
    assert weights[strata].mean() == pytest.approx(1, rel=1e-5)
    for resampling in ("weighted", "balanced"):
        assert stratum_weights(strata, resampling, 4).tolist() == [1] * 4


def test_weights_of_two_strata_have_the_ratio_of_their_rows() -> None:
    negative, positive = stratum_weights(np.array([0, 0, 0, 1]), "none", 2)
    assert positive / negative == pytest.approx(3)


def test_a_stratum_without_rows_weighs_like_any() -> None:
    assert stratum_weights(np.array([0, 0, 2, 2]), "none", 3)[1] == 1
