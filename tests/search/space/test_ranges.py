"""Distributions spelt out and drawn from; how they are read is told by test_space.py."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from whc.search.space import ranges


@pytest.mark.parametrize(
    ("distribution", "words"),
    [
        (CategoricalDistribution(["rgb", "luma"]), "rgb, luma"),
        (CategoricalDistribution([8, "48x30", 0.5]), "8, 48x30, 0.5"),
        (IntDistribution(2, 6), "2 to 6"),
        (IntDistribution(2, 6, step=2), "2 to 6, step 2"),
        (IntDistribution(2, 64, log=True), "2 to 64, log"),
        (FloatDistribution(1e-3, 0.5), "0.001 to 0.5"),
        (FloatDistribution(1e-3, 0.02, log=True), "0.001 to 0.02, log"),
    ],
)
def test_spell(distribution: BaseDistribution, words: str) -> None:
    assert ranges.spell(distribution) == words


ints = st.tuples(st.integers(1, 9), st.integers(1, 5), st.integers(1, 4))
distributions = st.one_of(
    st.lists(st.integers(), min_size=1, max_size=4, unique=True).map(CategoricalDistribution),
    ints.map(lambda r: IntDistribution(r[0], r[0] + r[1] * r[2], step=r[2])),
    ints.map(lambda r: IntDistribution(r[0], r[0] + r[1], log=True)),
    st.tuples(st.floats(1e-6, 1), st.floats(1e-3, 1), st.booleans()).map(
        lambda r: FloatDistribution(r[0], r[0] + r[1], log=r[2])
    ),
)


@given(distributions, st.integers(0, 2**16))
def test_what_is_drawn_and_probed_lies_within(distribution: BaseDistribution, seed: int) -> None:
    drawn = [ranges.at_random(distribution, random.Random(seed)), *ranges.probes(distribution)]
    for value in drawn:
        assert distribution._contains(distribution.to_internal_repr(value))
    every = ranges.values(distribution)
    if isinstance(distribution, FloatDistribution):
        assert tuple(every) == (distribution.low, distribution.high)
    else:
        assert set(drawn) <= set(every)
        assert {every[0], every[-1]} <= set(ranges.probes(distribution))


@pytest.mark.parametrize(
    "distribution",
    [CategoricalDistribution("abcd"), IntDistribution(2, 8, step=2), IntDistribution(1, 4, log=True)],
)
def test_everything_is_drawn_sometime(distribution: BaseDistribution) -> None:
    rng = random.Random(0)
    assert {ranges.at_random(distribution, rng) for _ in range(200)} == set(ranges.values(distribution))


def test_a_log_range_is_drawn_evenly_on_its_scale() -> None:
    rng = random.Random(0)
    drawn = [ranges.at_random(FloatDistribution(1e-4, 1, log=True), rng) for _ in range(400)]
    assert 0.4 < sum(value < 1e-2 for value in drawn) / len(drawn) < 0.6
