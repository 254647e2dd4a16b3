"""Laws that any median with its interval must keep, and when a session is to be doubted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from whc.latency.statistics import (
    AA_TOLERANCE,
    MAX_INTERRUPTED_SHARE,
    Estimate,
    Times,
    Timing,
    estimate,
    is_disturbed,
    summary,
    twin_disagrees,
)

TIMES = arrays(
    np.float64,
    st.tuples(st.integers(1, 12), st.integers(1, 6)),
    elements=st.floats(1e-3, 1e3, allow_nan=False, allow_subnormal=False),
)


@given(TIMES)
def test_the_interval_holds_the_median_and_lies_within_the_data(values: Times) -> None:
    result = estimate(values, resamples=50)
    assert result.value == np.median(values)
    assert values.min() <= result.low <= result.value <= result.high <= values.max()


@given(TIMES, st.sampled_from([0.25, 0.5, 2, 1024]))
def test_other_units_scale_it(values: Times, factor: float) -> None:
    result, scaled = estimate(values, resamples=50), estimate(values * factor, resamples=50)
    assert scaled == Estimate(result.value * factor, result.low * factor, result.high * factor)
    assert scaled.half_width == pytest.approx(result.half_width)


@given(TIMES, st.floats(1e-3, 1e3))
def test_a_constant_has_no_width(values: Times, constant: float) -> None:
    result = estimate(np.full_like(values, constant))
    assert (result.value, result.low, result.high, result.half_width) == (constant, constant, constant, 0)


@given(TIMES)
def test_a_network_against_itself_is_one(values: Times) -> None:
    assert summary(values, values, 0.0, 0.03).ratio == Estimate(1, 1, 1)


@given(TIMES)
def test_percentiles_are_of_all_blocks(values: Times) -> None:
    result = summary(values, values, 0.0, 0.03)
    assert result.p50_ms.value <= result.p90_ms <= result.p99_ms <= values.max()
    assert result.rounds == values.size


def test_one_far_outlier_moves_nothing_but_the_tail() -> None:
    values = np.random.default_rng(0).normal(1, 0.01, (10, 10))
    spoilt = values.copy()
    spoilt[3, 4] = 1000
    before, after = estimate(values), estimate(spoilt)
    assert after.value == pytest.approx(before.value, abs=0.002)
    assert after.half_width < 0.01
    assert summary(spoilt, values, 0.0, 0.03).p99_ms > 10


def coverage(loads: int, rounds: int, spread_of_loads: float) -> float:
    """How often the interval holds the median of the process that made the data."""
    held = 0
    for trial in range(400):
        rng = np.random.default_rng(trial)
        values = 5 + rng.normal(0, spread_of_loads, (loads, 1)) + rng.normal(0, 1, (loads, rounds))
        result = estimate(values, seed=trial, resamples=300)
        held += result.low <= 5 <= result.high
    return held / 400


@pytest.mark.parametrize(
    ("loads", "rounds", "spread_of_loads"), [(10, 10, 0), (10, 10, 1), (20, 10, 3), (40, 5, 1), (1, 50, 0), (4, 30, 0)]
)
def test_the_interval_covers_the_truth_as_often_as_it_says(loads: int, rounds: int, spread_of_loads: float) -> None:
    assert 0.92 <= coverage(loads, rounds, spread_of_loads) <= 0.99


def test_loads_that_differ_are_not_hidden_by_many_rounds() -> None:
    """Every load steady, but each at a speed of its own."""
    levels = np.random.default_rng(0).normal(1, 0.05, (10, 1))
    alike = estimate(1 + np.random.default_rng(1).normal(0, 0.001, (10, 100)))
    apart = estimate(levels + np.random.default_rng(1).normal(0, 0.001, (10, 100)))
    assert alike.half_width < 0.001
    assert apart.half_width > 0.01


def twin(ratio: Estimate, settled: bool = True) -> Timing:
    return Timing(Estimate(1, 1, 1), 1, 1, ratio, 100, 0.0, settled)


@pytest.mark.parametrize(
    ("ratio", "settled", "expected"),
    [
        (Estimate(1.0, 0.99, 1.01), True, False),
        (Estimate(1.01, 1.005, 1.015), True, False),  # apart, but by too little to matter
        (Estimate(1.03, 0.99, 1.05), True, False),
        (Estimate(1.03, 1.01, 1.05), True, True),
        (Estimate(0.96, 0.94, 0.98), True, True),
        (Estimate(1.0, 0.5, 2.0), False, True),
    ],
)
def test_when_the_reference_against_itself_is_to_be_doubted(ratio: Estimate, settled: bool, expected: bool) -> None:
    assert twin_disagrees(twin(ratio, settled)) is expected
    assert 0 < AA_TOLERANCE < 0.05


def test_a_network_often_interrupted_is_to_be_doubted() -> None:
    quiet = twin(Estimate(1, 1, 1))
    assert not is_disturbed(quiet)
    assert not is_disturbed(replace(quiet, interrupted=MAX_INTERRUPTED_SHARE))
    assert is_disturbed(replace(quiet, interrupted=0.5))


def test_settled_is_narrow_enough() -> None:
    values = np.random.default_rng(0).normal(1, 0.1, (10, 10))
    width = estimate(values).half_width
    assert summary(values, np.ones_like(values), 0.0, width * 1.01).settled
    assert not summary(values, np.ones_like(values), 0.0, width * 0.99).settled
