"""What a study has reached."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest

from whc.pareto import Point
from whc.records import Latency, StudyRecord, TrialRecord
from whc.records.results import front_trials, hypervolume_of, reference_point, study_reference


@pytest.fixture
def study(make_study: Callable[..., StudyRecord]) -> StudyRecord:
    """At most 1 ms; the constant predictor scores 0.5."""
    return make_study(limits={"latency_ms": 1.0}, floor=0.5)


@pytest.fixture
def ended(make_trial: Callable[..., TrialRecord], make_latency: Callable[..., Latency]) -> list[TrialRecord]:
    """One of each state; of the finished ones, 1 is dominated by 0."""
    rows = [
        ("finished", 0.2, 0.7),
        ("finished", 0.3, 0.6),
        ("finished", 0.4, 0.9),
        ("infeasible", 2.0, None),
        ("failed", None, None),
        ("stopped", 0.1, 0.99),
    ]
    return [
        make_trial(trial_id=f"{i:05d}", state=state, val_score=f1, latency=make_latency(ms) if ms else None)
        for i, (state, ms, f1) in enumerate(rows)
    ]


def test_hypervolume_is_of_finished_trials_alone(study: StudyRecord, ended: list[TrialRecord]) -> None:
    # F1 above 0.5, latency below 1 ms: two steps, at 0.2 ms and at 0.4 ms.
    assert hypervolume_of(study, ended) == pytest.approx(0.2 * math.log(1 / 0.2) + 0.2 * math.log(1 / 0.4))
    assert hypervolume_of(study, ended[3:]) == 0
    assert [one.trial_id for one in front_trials(ended)] == ["00000", "00002"]


def test_without_a_limit_twice_the_slowest_finished_trial_bounds_hypervolume(
    study: StudyRecord, ended: list[TrialRecord]
) -> None:
    free = study.model_copy(update={"limits": {"size_bytes": 1e6}})
    assert study_reference(free, ended) == Point(0.5, 0.8)
    assert hypervolume_of(free, ended) == pytest.approx(0.2 * math.log(0.8 / 0.2) + 0.2 * math.log(0.8 / 0.4))
    assert hypervolume_of(free, []) == 0


@pytest.mark.parametrize(
    ("limit_ms", "latencies_ms", "cost"), [(0.3, [0.1, 0.4], 0.3), (None, [0.1, 0.4], 0.8), (None, [], 2.0)]
)
def test_reference_point(limit_ms: float | None, latencies_ms: list[float], cost: float) -> None:
    assert reference_point(0.5, limit_ms, latencies_ms) == Point(0.5, cost)
