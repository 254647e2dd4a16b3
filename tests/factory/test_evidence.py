"""The bootstrap: over groups, paired, and as sure as the data allow."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from numpy.typing import NDArray

from whc.factory.evidence import Evidence, interval, part_scores, probability_of_gain, resamples, scores
from whc.records import Metric
from whc.tasks.classification import ConfusionCounts

Ids = NDArray[np.int64]


def evidence(rows: int, right: float, seed: int = 0, group: int = 1, classes: int = 2) -> Evidence:
    """Decisions of which a share is right; `group` rows of one group share their luck."""
    real = np.repeat(np.random.default_rng(9).integers(0, classes, rows // group), group)
    hit = np.repeat(np.random.default_rng(seed).random(rows // group) < right, group)
    called = np.where(hit, real, (real + 1) % classes)
    return of(called, real, np.repeat(np.arange(rows // group), group), classes)


def of(called: Ids, real: Ids, groups: Ids, classes: int = 2) -> Evidence:
    """Of the class called and the real one of each row."""
    return Evidence(ConfusionCounts(called, real, classes), {}, np.arange(len(real)), groups)


def interval_of(some: Evidence) -> tuple[float, float]:
    return interval(scores(some))


def test_every_resample_has_as_many_groups() -> None:
    weights = resamples(40, 100)
    assert weights.shape == (100, 40)
    assert (weights.sum(1) == 40).all()
    assert np.array_equal(weights, resamples(40, 100))


@pytest.mark.parametrize("classes", [2, 3])
def test_the_interval_holds_the_score_and_narrows_with_rows(classes: int) -> None:
    widths = []
    for rows in (200, 5000):
        sample = evidence(rows, 0.8, classes=classes)
        low, high = interval_of(sample)
        assert low < sample.score < high
        widths.append(high - low)
    assert widths[1] < widths[0] / 3


def test_rows_of_one_group_are_not_worth_as_much() -> None:
    together = evidence(1000, 0.8, group=20)
    alone = replace(together, groups=np.arange(1000))
    (low, high), (wide_low, wide_high) = (interval_of(sample) for sample in (alone, together))
    assert wide_high - wide_low > 2 * (high - low)


def test_its_coverage() -> None:
    """Of many data sets, about 95 % of the intervals hold the F1 of endless data."""
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        real = rng.integers(0, 2, 400)
        called = np.where(rng.random(400) < 0.8, real, 1 - real)
        low, high = interval_of(of(called, real, np.arange(400)))
        covered += low <= 0.8 <= high  # hits 0.4 of rows, misses and false alarms 0.1 each: 2 * 0.4 / (0.8 + 0.2)
    assert 88 <= covered <= 99


def test_a_gain_is_sure_when_it_is_large_and_even_when_there_is_none() -> None:
    good, better = evidence(2000, 0.7, 1), evidence(2000, 0.9, 2)
    assert probability_of_gain(better, good, 0.005) == 1
    assert probability_of_gain(good, better, 0.005) == 0
    assert probability_of_gain(good, good, 0) == 1
    assert probability_of_gain(good, good, 0.005) == 0


def test_it_is_paired() -> None:
    """Two models that err on the same rows but for a few: a gain too small for separate intervals is sure."""
    base = evidence(2000, 0.7)
    judged = base.judgement
    assert isinstance(judged, ConfusionCounts)
    wrong = np.flatnonzero(judged.called != judged.real)[:40]
    called = judged.called.copy()
    called[wrong] = judged.real[wrong]
    improved = of(called, judged.real, base.groups)
    (low, high), (other_low, _) = interval_of(base), interval_of(improved)
    assert low < other_low < high
    assert probability_of_gain(improved, base, 0.005) > 0.99


def test_the_probability_falls_as_the_gain_asked_for_grows() -> None:
    good, better = evidence(500, 0.8, 1), evidence(500, 0.85, 2)
    probabilities = [probability_of_gain(better, good, gain) for gain in (0.0, 0.02, 0.04, 0.08)]
    assert probabilities == sorted(probabilities, reverse=True)
    assert scores(better).std() > 0


def test_other_rows_cannot_be_compared() -> None:
    sample = evidence(100, 0.8)
    for other in (evidence(100, 0.8, group=2), replace(sample, rows=sample.rows + 1)):
        with pytest.raises(ValueError, match="same rows"):
            probability_of_gain(sample, other, 0)


@dataclass(frozen=True)
class MeanOf:
    """Scores by the mean over the rows that have a value; NaN where none has."""

    values: NDArray[np.float64]

    def score(self, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
        drawn = np.ones((1, len(self.values))) if weights is None else weights
        has_value = ~np.isnan(self.values)
        with np.errstate(invalid="ignore"):
            means = (drawn @ np.nan_to_num(self.values)) / (drawn @ has_value)
        return np.asarray(means[0] if weights is None else means)


def test_parts_have_intervals_of_their_own_and_those_without_rows_are_left_out() -> None:
    """One in five rows has the rare part: some resamples of few groups have no row of it."""
    values = np.random.default_rng(0).uniform(0.4, 0.8, 10)
    rare = np.where(np.arange(10) % 5 == 0, values, np.nan)
    parts = {"all": MeanOf(values), "rare": MeanOf(rare), "none": MeanOf(np.full(10, np.nan))}
    whole_evidence = Evidence(MeanOf(values), parts, np.arange(10), np.arange(10))
    metric = Metric(key="mae", name="MAE", unit="degrees", error_scale=45, digits=2)
    parts_shown = part_scores(whole_evidence, metric)
    assert list(parts_shown) == ["all", "rare"]
    assert (parts_shown["all"].score, (parts_shown["all"].low, parts_shown["all"].high)) == (
        whole_evidence.score,
        interval(scores(whole_evidence)),
    )
    for part in parts_shown.values():
        assert 0.4 <= part.low < part.score < part.high <= 0.8
    low, high = (45 * (1 - parts_shown["all"].high), 45 * (1 - parts_shown["all"].low))
    assert parts_shown["all"].shown == f"{45 * (1 - whole_evidence.score):.2f} degrees ({low:.1f} to {high:.1f})"
