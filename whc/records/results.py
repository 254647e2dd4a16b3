"""What a study has reached: its front, and the hypervolume under it."""

from __future__ import annotations

from collections.abc import Iterable

from whc.pareto import Point, front, hypervolume
from whc.records.studies import StudyRecord
from whc.records.trials import TrialRecord


def point_of(record: TrialRecord) -> Point:
    """Validation F1 and latency in milliseconds of a trial that has both."""
    assert record.val_f1 is not None and record.latency  # noqa: S101 (said above)
    return Point(record.val_f1, record.latency.ms)


def scored(ended: Iterable[TrialRecord], state: str = "finished") -> list[TrialRecord]:
    """The trials that ended in a state and have both a validation F1 and a latency."""
    return [record for record in ended if record.state == state and record.latency and record.val_f1 is not None]


def front_trials(ended: Iterable[TrialRecord]) -> list[TrialRecord]:
    """The finished trials that no other finished trial dominates, fastest first."""
    finished = scored(ended)
    return [finished[i] for i in front([point_of(record) for record in finished])]


def reference(study: StudyRecord, ended: Iterable[TrialRecord]) -> Point:
    """Where a study's hypervolume begins: the constant predictor's F1, and the latency limit.

    Where there is no limit, the slowest finished trial's latency stands for it.
    """
    slowest = max((point_of(record).cost for record in scored(ended)), default=1.0)
    return Point(study.constant_f1, study.limits.get("latency_ms", slowest))


def hypervolume_of(study: StudyRecord, ended: Iterable[TrialRecord]) -> float:
    """The hypervolume that a study's finished trials have reached."""
    records = list(ended)
    return hypervolume([point_of(record) for record in scored(records)], reference(study, records))
