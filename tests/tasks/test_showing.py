"""When an answer is not sure."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.tasks.showing import UNSURE_COLOUR, Reading, as_unsure, is_unsure

SHARES = st.floats(0.01, 0.99)


@given(SHARES, SHARES)
def test_sureness_falls_towards_the_threshold_alone(probability: float, threshold: float) -> None:
    """From the threshold to either end there is one place where the answer becomes sure, and the ends are sure."""
    nearer = (probability + threshold) / 2
    assert is_unsure(nearer, threshold) or not is_unsure(probability, threshold)
    assert is_unsure(threshold, threshold)
    assert not is_unsure(0.0, threshold)
    assert not is_unsure(1.0, threshold)


@pytest.mark.parametrize(("probability", "is_not_sure"), [(0.39, False), (0.41, True), (0.59, True), (0.61, False)])
def test_around_a_half(probability: float, is_not_sure: bool) -> None:
    assert is_unsure(probability, 0.5) == is_not_sure


def test_it_is_said_and_muted() -> None:
    reading = Reading("waving", (1, 2, 3))
    assert as_unsure(reading) == replace(reading, title="not sure: waving", colour=UNSURE_COLOUR)
