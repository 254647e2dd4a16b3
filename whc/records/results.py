"""Results of a study: its front, and the hypervolume of the front."""

from __future__ import annotations

from collections.abc import Iterable

from whc.pareto import Point, front, hypervolume, ranks
from whc.records.studies import StudyRecord
from whc.records.trials import TrialRecord

SLOWEST_TIMES = 2


def point_of(record: TrialRecord) -> Point:
    """Validation score and latency in milliseconds of a trial that has both."""
    assert record.val_score is not None and record.latency  # noqa: S101 (the docstring requires both)
    return Point(record.val_score, record.latency.ms)


def scored(ended: Iterable[TrialRecord], state: str = "finished") -> list[TrialRecord]:
    """The trials that ended in a state and have both a validation score and a latency."""
    return [record for record in ended if record.state == state and record.latency and record.val_score is not None]


def front_trials(ended: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The finished trials that no other finished trial dominates, fastest first."""
    finished = scored(ended)
    return [finished[i] for i in front([point_of(record) for record in finished])]


def trials_by_rank(ended: Iterable[TrialRecord]) -> list[list[TrialRecord]]:
    """The finished trials by non-dominated rank: those of the front, those of the front of the rest, and so on."""
    finished = scored(ended)
    trial_ranks = ranks([point_of(record) for record in finished])
    pairs = list(zip(trial_ranks, finished, strict=True))
    return [[record for own, record in pairs if own == rank] for rank in range(max(trial_ranks, default=-1) + 1)]


def reference_point(floor: float, limit_ms: float | None, latencies_ms: Iterable[float]) -> Point:
    """The reference point of a hypervolume: the worst score and the worst latency that count.

    Args:
        floor: the score that a network must exceed.
        limit_ms: the latency limit; None: twice the slowest latency, so that the slowest network counts too.
        latencies_ms: latencies of the networks; if there are none, the slowest is taken as 1 ms.
    """
    if limit_ms is not None:
        return Point(floor, limit_ms)
    return Point(floor, SLOWEST_TIMES * max(latencies_ms, default=1.0))


def study_reference(study: StudyRecord, ended: Iterable[TrialRecord]) -> Point:
    """The reference point of a study: its floor, and its limit or its slowest finished trial."""
    latencies_ms = [point_of(record).cost for record in scored(ended)]
    return reference_point(study.floor, study.limits.get("latency_ms"), latencies_ms)


def hypervolume_of(study: StudyRecord, ended: Iterable[TrialRecord]) -> float:
    """The hypervolume of a study's finished trials."""
    records = list(ended)
    return hypervolume([point_of(record) for record in scored(records)], study_reference(study, records))
