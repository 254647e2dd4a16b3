"""The time that a search is said to take still: right to a factor of 2 from a third of it on, as replays show."""

from __future__ import annotations

import math
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
from whc.trials.config import TrialConfig

RECORDED = Path(__file__).parents[2] / "benchmarks" / "recorded"
MOMENTS = 16  # at which the estimate is looked at, evenly over a search
HALVED, TWICE_HALVED, WHOLE = ({"eta": 3, "rungs": rungs} for rungs in (2, 3, 1))
CASES = [  # sampler, seed, workers, trials, scheduler
    ("random", 0, 2, 90, HALVED),
    ("random", 1, 1, 24, HALVED),
    ("random", 2, 4, 90, TWICE_HALVED),
    ("random", 3, 8, 90, WHOLE),
    ("tpe", 0, 2, 90, HALVED),
    ("tpe", 1, 8, 90, HALVED),
    ("tpe", 1, 2, 90, WHOLE),
    ("random", 0, 2, 24, TWICE_HALVED),
    ("random", 3, 4, 24, WHOLE),
    ("tpe", 0, 4, 24, HALVED),
    ("tpe", 1, 1, 24, WHOLE),
    ("auto", 0, 4, 24, HALVED),
    ("auto", 1, 2, 24, TWICE_HALVED),
]
Made = Callable[..., StudyRecord]
Said = list[tuple[float, float]]  # seconds: as estimated, and as it was


@pytest.fixture(scope="module")
def recorded() -> tuple[space.Section, TrainingTable, StudyRecord]:
    """The space of search_spaces/smile.yaml, 200 real trainings of it, and a study of it."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    settings, tree = studies.read(RECORDED / "smile.yaml")
    table = TrainingTable(RECORDED / "smile.parquet", tree)
    facts = table.study.model_dump(include={"data_fingerprint", "reference_ms", "host", "floor"})
    begun = studies.begin(settings, "replayed", ["smile"], facts)
    return tree, table, begun.model_copy(update={"limits": {"latency_ms": 0.2}, "drop_slower": 4.0})


def events(stretches: list[tuple[float, TrialRecord]]) -> Iterator[tuple[float, int, Callable[[TimeLeft], None]]]:
    """What a display is shown, each with its second; what ends comes before what begins at the same time."""
    trained: dict[str, int] = {}
    for began, record in stretches:
        before = trained.get(record.trial_id, 0)
        trained[record.trial_id] = until = len(record.curve)
        yield began, 1, lambda left, record=record: left.running(record.trial_id)  # type: ignore[misc]
        at = record.elapsed_s
        for point in reversed(record.curve[before + 1 :]):
            at -= point.seconds
            shown = (record.trial_id, point.epoch - 1, until)
            yield at, 1, lambda left, shown=shown: left.running(*shown)  # type: ignore[misc]
        yield record.elapsed_s, 0, lambda left, record=record: left.stopped(record)  # type: ignore[misc]


def said(study: StudyRecord, stretches: list[tuple[float, TrialRecord]], begin: float = 1 / 3) -> Said:
    """The estimates from `begin` of a search on."""
    now = 0.0
    left = TimeLeft(study, lambda: now)
    end = max(record.elapsed_s for _, record in stretches)
    moments = [end * (begin + (1 - begin) * i / MOMENTS) for i in range(MOMENTS)]
    found = []
    for at, _, show in sorted(events(stretches), key=lambda event: event[:2]):
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
    study = study.model_copy(update={"minutes": None, "patience": None} | changes)
    stretches: list[tuple[float, TrialRecord]] = []
    replay(study, tree, table, lambda began, record: stretches.append((began, record)))
    return study, said(study, stretches)


def within(found: Said, factor: float) -> float:
    """Share of the estimates that are right to a factor."""
    return sum(1 / factor <= estimate / true <= factor for estimate, true in found) / len(found)


def test_right_to_a_factor_of_two_from_a_third_on(recorded: tuple[space.Section, TrainingTable, StudyRecord]) -> None:
    every: Said = []
    for sampler, seed, workers, trials, scheduler in CASES:
        changes = {"sampler": sampler, "seed": seed, "workers": workers, "trials": trials, "scheduler": scheduler}
        _, found = played(recorded, **changes)
        print(f"{changes}: {within(found, 2):.2f} right to a factor of 2")
        every += found
    print(f"all: {within(every, 2):.3f}, {within(every, 3):.3f} to a factor of 3")
    assert within(every, 2) >= 0.95
    assert within(every, 3) >= 0.99
    assert 0.8 <= median(estimate / true for estimate, true in every) <= 1.25


@pytest.mark.parametrize("workers", [2, 8])
def test_the_minutes_bound_it(workers: int, recorded: tuple[space.Section, TrainingTable, StudyRecord]) -> None:
    study, found = played(recorded, sampler="random", workers=workers, trials=100_000, minutes=4.0, scheduler=HALVED)
    assert within(found, 2) >= 0.9
    unbounded = study.model_copy(update={"trials": 300, "minutes": None})
    assert TimeLeft(unbounded, lambda: 0.0).seconds() is None


@pytest.fixture
def alike(record: Callable[..., TrialRecord]) -> Callable[..., TrialRecord]:
    """Gives a trial of 4 epochs of 10 s each, at a rung after one, `before_s` and all: `alike(3, epochs, score)`."""

    def build(number: int, epochs: int, val_score: float, end: float) -> TrialRecord:
        config = TrialConfig.model_validate({"training": {"epochs": 4}})
        state = "finished" if epochs == 4 else "waiting"
        curve = [CurvePoint(epoch=epoch, val_score=val_score, seconds=10.0) for epoch in range(1, epochs + 1)]
        made = record(f"{number:05d}", state, config, val_score=val_score)
        return made.model_copy(update={"curve": curve, "elapsed_s": end})

    return build


def test_where_all_trials_are_alike_it_is_exact(study: StudyRecord, alike: Callable[..., TrialRecord]) -> None:
    whole = study.model_copy(update={"scheduler": {"rungs": 1}, "trials": 10})
    stretches = [(40.0 * i, alike(i, 4, 0.5 + i / 100, 40.0 * (i + 1))) for i in range(10)]
    for estimate, true in said(whole, stretches):
        assert estimate == pytest.approx(max(1.0, true), rel=0.01)


def test_who_may_train_on_is_counted(study: StudyRecord, alike: Callable[..., TrialRecord]) -> None:
    """Ten trials of one octave wait after their first epoch; one in four goes on, three at the end, for 30 s each."""
    halved = study.model_copy(update={"scheduler": {"eta": 4, "rungs": 2}, "trials": 10, "workers": 3})
    left = TimeLeft(halved, lambda: 100.0)
    left.earlier([alike(i, 1, 0.5 + i / 100, 10.0 * (i + 1)) for i in range(10)])
    assert left.seconds() == pytest.approx(30.0)
    left = TimeLeft(halved.model_copy(update={"workers": 1}), lambda: 100.0)
    left.earlier([alike(i, 1, 0.5 + i / 100, 10.0 * (i + 1)) for i in range(10)])
    assert left.seconds() == pytest.approx(90.0)


def test_looking_changes_nothing(study: StudyRecord, alike: Callable[..., TrialRecord]) -> None:
    left = TimeLeft(study.model_copy(update={"scheduler": {"eta": 4, "rungs": 2}, "trials": 9}), lambda: 50.0)
    left.earlier([alike(i, 1, 0.5 + i / 100, 10.0 * (i + 1)) for i in range(4)])
    left.running("00004")
    first = left.seconds()
    assert first is not None
    assert not math.isnan(first)
    assert left.seconds() == first
