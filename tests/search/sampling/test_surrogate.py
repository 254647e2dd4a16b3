"""What is expected of a configuration, on functions whose values are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import check_grad

from whc.search.sampling.surrogate import Array, Surrogate


def height(rows: Array) -> Array:
    """A function of the first three of five features."""
    return np.sin(3 * rows[:, 0]) + rows[:, 1] * rows[:, 2] + 7


@pytest.fixture
def rows() -> Array:
    return np.random.default_rng(0).random((80, 5))


def test_it_expects_what_is_there_and_knows_how_sure_it_is(rows: Array) -> None:
    rng = np.random.default_rng(1)
    surrogate, new = Surrogate(5, noise=0.1), rng.random((200, 5))
    surrogate.fit(rows, height(rows) + 0.02 * rng.standard_normal(80))
    mean, deviation = surrogate.predict(new)
    off = mean - height(new)
    assert np.sqrt(np.mean(off**2)) < 0.15 * height(new).std()
    assert 0.2 < np.mean((off / deviation) ** 2) < 3
    assert surrogate.predict(np.full((1, 5), 9.0))[1][0] > 3 * deviation.mean()


def test_what_is_believed_changes_how_sure_it_is_and_nothing_else(rows: Array) -> None:
    surrogate, new = Surrogate(5, noise=0.1), np.random.default_rng(1).random((20, 5))
    surrogate.fit(rows[:30], height(rows[:30]))
    before = surrogate.predict(new)
    surrogate.believe(new[:4])
    after = surrogate.predict(new)
    assert after[0] == pytest.approx(before[0], abs=1e-6)
    assert (after[1] <= before[1] + 1e-9).all()
    assert (after[1][:4] < 0.8 * before[1][:4]).all()


def test_the_gradient_of_its_likelihood(rows: Array) -> None:
    surrogate = Surrogate(5, noise=0.1)
    surrogate.fit(rows[:20], height(rows[:20]))
    likelihood = surrogate._fitted.log_marginal_likelihood
    scales = np.random.default_rng(1).normal(-1, 0.4, 8)
    assert check_grad(likelihood, lambda scales: likelihood(scales, eval_gradient=True)[1], scales) < 1e-4


def test_priors_keep_scales_that_nothing_is_known_of(rows: Array) -> None:
    surrogate = Surrogate(5, noise=0.1)
    begin = surrogate._kernel.theta.copy()
    surrogate.fit(rows[:2], height(rows[:2]))
    assert np.abs(surrogate._kernel.theta - begin).max() < 1


def test_beyond_what_is_known_it_goes_on_as_before(rows: Array) -> None:
    surrogate = Surrogate(5, noise=0.1)
    surrogate.fit(rows, 3 * rows[:, 0] - 2 * rows[:, 1])
    mean, _ = surrogate.predict(np.array([[1.5, 0.5, 0.5, 0.5, 0.5], [0.5, -0.5, 0.5, 0.5, 0.5]]))
    assert mean == pytest.approx([3.5, 2.5], rel=0.1)


def test_equal_values_and_a_single_row_are_no_trouble() -> None:
    surrogate = Surrogate(2, noise=0.1)
    for rows in (np.zeros((1, 2)), np.zeros((4, 2))):
        surrogate.fit(rows, np.ones(len(rows)))
        mean, deviation = surrogate.predict(np.array([[0.0, 0.0], [1.0, 1.0]]))
        assert mean == pytest.approx([1, 1])
        assert np.isfinite(deviation).all()
