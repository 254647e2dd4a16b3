"""The bootstrap: over groups, paired, and as sure as the data allow."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.factory.evidence import Evidence, interval, probability_of_gain, resamples, scores
from whc.tasks import classification


def evidence(rows: int, right: float, seed: int = 0, group: int = 1, classes: int = 2) -> Evidence:
    """Decisions of which a share is right; `group` rows of one group share their luck."""
    real = np.repeat(np.random.default_rng(9).integers(0, classes, rows // group), group)
    hit = np.repeat(np.random.default_rng(seed).random(rows // group) < right, group)
    called = np.where(hit, real, (real + 1) % classes)
    return Evidence(called, real, np.repeat(np.arange(rows // group), group), classes)


@given(st.integers(2, 4), st.integers(0, 50))
def test_counts_of_groups_add_up_to_the_score(classes: int, seed: int) -> None:
    some = evidence(120, 0.7, seed, group=3, classes=classes)
    outputs = np.eye(classes, dtype=np.float32)[some.called]
    expected = classification.score(outputs[:, 1] if classes == 2 else outputs, some.real, 0.5)
    assert classification.score_of(some.counts.sum(0)) == pytest.approx(expected)


def test_every_resample_has_as_many_groups() -> None:
    weights = resamples(40, 100)
    assert weights.shape == (100, 40)
    assert (weights.sum(1) == 40).all()
    assert np.array_equal(weights, resamples(40, 100))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_interval_holds_the_score_and_narrows_with_rows(classes: int) -> None:
    widths = []
    for rows in (200, 5000):
        some = evidence(rows, 0.8, classes=classes)
        low, high = interval(classification, some)
        assert low < classification.score_of(some.counts.sum(0)) < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_rows_of_one_group_are_not_worth_as_much() -> None:
    alone, together = (
        Evidence(some.called, some.real, groups, 2)
        for some in [evidence(1000, 0.8, group=20)]
        for groups in (np.arange(1000), some.groups)
    )
    (low, high), (wide_low, wide_high) = (interval(classification, some) for some in (alone, together))
    assert wide_high - wide_low > 2 * (high - low)


def test_its_coverage() -> None:
    """Of many data sets, about 95 % of the intervals hold the F1 of endless data."""
    held = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        real = rng.integers(0, 2, 400)
        called = np.where(rng.random(400) < 0.8, real, 1 - real)
        low, high = interval(classification, Evidence(called, real, np.arange(400), 2))
        held += low <= 0.8 <= high  # hits 0.4 of rows, misses and false alarms 0.1 each: 2 * 0.4 / (0.8 + 0.2)
    assert 88 <= held <= 99


def test_a_gain_is_sure_when_it_is_large_and_even_when_there_is_none() -> None:
    good, better = evidence(2000, 0.7, 1), evidence(2000, 0.9, 2)
    assert probability_of_gain(classification, better, good, 0.005) == 1
    assert probability_of_gain(classification, good, better, 0.005) == 0
    assert probability_of_gain(classification, good, good, 0) == 1
    assert probability_of_gain(classification, good, good, 0.005) == 0


def test_it_is_paired() -> None:
    """Two models that err on the same rows but for a few: a gain too small for separate intervals is sure."""
    base = evidence(2000, 0.7)
    wrong = np.flatnonzero(base.called != base.real)[:40]
    called = base.called.copy()
    called[wrong] = base.real[wrong]
    improved = Evidence(called, base.real, base.groups, 2)
    (low, high), (other_low, _) = interval(classification, base), interval(classification, improved)
    assert low < other_low < high
    assert probability_of_gain(classification, improved, base, 0.005) > 0.99


def test_the_probability_falls_as_the_gain_asked_for_grows() -> None:
    good, better = evidence(500, 0.8, 1), evidence(500, 0.85, 2)
    asked = [probability_of_gain(classification, better, good, gain) for gain in (0.0, 0.02, 0.04, 0.08)]
    assert asked == sorted(asked, reverse=True)
    assert scores(classification, better).std() > 0


def test_other_rows_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="same rows"):
        probability_of_gain(classification, evidence(100, 0.8), evidence(100, 0.8, group=2), 0)
