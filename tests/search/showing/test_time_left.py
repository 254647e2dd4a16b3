"""The time that a search is said to take still: mostly right to a factor of 2 from a third of it on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import pytest

from whc.records import CurvePoint, StudyRecord, TrialRecord
from whc.search.running import study as studies
from whc.search.running.replay import TrainingTable, replay
from whc.search.showing.time_left import TimeLeft
from whc.search.space import space

RECORDED = Path(__file__).parents[2] / "benchmarks" / "recorded"
MOMENTS = 16  # at which the estimate is looked at, evenly over a search
CASES = [  # sampler, seed, workers, trials
    ("random", 0, 2, 90),
    ("random", 1, 1, 24),
    ("random", 2, 4, 90),
    ("random", 3, 8, 90),
    ("tpe", 0, 2, 90),
    ("tpe", 1, 8, 90),
    ("random", 0, 2, 24),
    ("random", 3, 4, 24),
    ("tpe", 0, 4, 24),
    ("tpe", 1, 1, 24),
    ("auto", 0, 4, 24),
    ("auto", 1, 2, 24),
]
Said = list[tuple[float, float]]  # seconds: as estimated, and as it was


@pytest.fixture(scope="module")
def recorded() -> tuple[space.Section, TrainingTable, StudyRecord]:
    """The space of search_spaces/smile.yaml, 200 real trainings of it, and a study of it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings, tree = studies.read(RECORDED / "smile.yaml")
    table = TrainingTable(RECORDED / "smile.parquet", tree)
    facts = table.study.model_dump(include={"data_fingerprint", "reference_ms", "host", "floor"})
    begun = studies.begin(settings, "replayed", ["smile"], facts)
    return tree, table, begun.model_copy(update={"limits": {"latency_ms": 0.2}})


def seconds_of(record: TrialRecord) -> float:
    return record.before_s + sum(point.seconds for point in record.curve)


def events(trials: list[TrialRecord]) -> Iterator[tuple[float, int, Callable[[TimeLeft], None]]]:
    """What a display is shown, each with its second; what ends comes before what begins at the same time."""
    for record in trials:
        at, began, epochs = record.elapsed_s, record.elapsed_s - seconds_of(record), len(record.curve)
        yield began, 1, lambda left, record=record: left.running(record.trial_id)  # type: ignore[misc]
        for point in reversed(record.curve[1:]):
            at -= point.seconds
            shown = (record.trial_id, point.epoch - 1, epochs)
            yield at, 1, lambda left, shown=shown: left.running(*shown)  # type: ignore[misc]
        yield record.elapsed_s, 0, lambda left, record=record: left.ended(record)  # type: ignore[misc]


def said(study: StudyRecord, trials: list[TrialRecord], begin: float = 1 / 3) -> Said:
    """The estimates from `begin` of a search on."""
    now = 0.0
    left = TimeLeft(study, lambda: now)
    end = max(record.elapsed_s for record in trials)
    moments = [end * (begin + (1 - begin) * i / MOMENTS) for i in range(MOMENTS)]
    found = []
    for at, _, show in sorted(events(trials), key=lambda event: event[:2]):
        while moments and moments[0] < at:
            now = moments.pop(0)
            seconds = left.seconds()
            assert seconds is not None
            found.append((seconds, end - now))
        now = at
        show(left)
    return found


def played(recorded: tuple[space.Section, TrainingTable, StudyRecord], **changes: Any) -> tuple[StudyRecord, Said]:
    tree, table, study = recorded
    study = study.model_copy(update={"minutes": None} | changes)
    return study, said(study, replay(study, tree, table))


def within(found: Said, factor: float) -> float:
    """Share of the estimates that are right to a factor."""
    return sum(1 / factor <= estimate / true <= factor for estimate, true in found) / len(found)


def test_mostly_right_to_a_factor_of_two_from_a_third_on(
    recorded: tuple[space.Section, TrainingTable, StudyRecord],
) -> None:
    every: Said = []
    for sampler, seed, workers, trials in CASES:
        changes = {"sampler": sampler, "seed": seed, "workers": workers, "trials": trials}
        _, found = played(recorded, **changes)
        print(f"{changes}: {within(found, 2):.2f} right to a factor of 2")
        every += found
    print(f"all: {within(every, 2):.3f}, {within(every, 3):.3f} to a factor of 3")
    assert within(every, 2) >= 0.9
    assert within(every, 3) >= 0.95
    assert 0.8 <= median(estimate / true for estimate, true in every) <= 1.25


@pytest.mark.parametrize("workers", [2, 8])
def test_the_minutes_bound_it(workers: int, recorded: tuple[space.Section, TrainingTable, StudyRecord]) -> None:
    study, found = played(recorded, sampler="random", workers=workers, trials=100_000, minutes=4.0)
    assert within(found, 2) >= 0.9
    unbounded = study.model_copy(update={"trials": 300, "minutes": None})
    assert TimeLeft(unbounded, lambda: 0.0).seconds() is None


@pytest.fixture
def alike(record: Callable[..., TrialRecord]) -> Callable[..., TrialRecord]:
    """Gives a trial of 4 epochs of 10 s each, which ended at a second: `alike(3, 160.0)`."""

    def build(number: int, end: float) -> TrialRecord:
        curve = [CurvePoint(epoch=epoch, val_score=0.7, seconds=10.0) for epoch in range(1, 5)]
        made = record(f"{number:05d}", "finished", val_score=0.7)
        return made.model_copy(update={"curve": curve, "elapsed_s": end})

    return build


def test_where_all_trials_are_alike_it_is_exact(study: StudyRecord, alike: Callable[..., TrialRecord]) -> None:
    whole = study.model_copy(update={"trials": 10, "workers": 1})
    for estimate, true in said(whole, [alike(i, 40.0 * (i + 1)) for i in range(10)]):
        assert estimate == pytest.approx(max(1.0, true), rel=0.01)


@pytest.mark.parametrize(("workers", "left_s"), [(1, 240.0), (2, 120.0), (4, 80.0)])
def test_workers_share_what_is_left(
    workers: int, left_s: float, study: StudyRecord, alike: Callable[..., TrialRecord]
) -> None:
    left = TimeLeft(study.model_copy(update={"trials": 10, "workers": workers}), lambda: 160.0)
    left.earlier([alike(i, 40.0 * (i + 1)) for i in range(4)])
    assert left.seconds() == left_s


def test_a_trial_that_takes_longer_than_any_before_it(study: StudyRecord, alike: Callable[..., TrialRecord]) -> None:
    now = 40.0
    left = TimeLeft(study.model_copy(update={"trials": 2, "workers": 1}), lambda: now)
    left.earlier([alike(0, 40.0)])
    left.running("00001")
    now = 140.0
    assert left.seconds() == pytest.approx(20.0)  # a fifth of what it has taken
