"""Decides what a search does next. It has no workers, no files and no clock of its own.

The driver plays it on Ray's workers, the replay on a table of trainings that were recorded. The loop:

    plan.start(records)
    while not plan.over:
        while (stretch := plan.next()) is not None: ...  # give it to a free worker
        ...                                              # wait for one, then
        plan.ended(record)                               # or plan.died(trial_id)
    plan.stop_waiting()
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whc.pareto import Point
from whc.records import StudyRecord, TrialRecord
from whc.records.results import hypervolume_of
from whc.search.sampling.scheduler import Halving, Scheduler
from whc.search.sampling.searcher import Sampler, constraints
from whc.search.space import space
from whc.trials.config import TrialConfig

ENOUGH_FINISHED = 10  # trials; with fewer, no latency is called hopeless
FIRST_TRIALS = 20  # one of them must keep the limits
MIN_IMPROVEMENT = 0.01  # share of the hypervolume that the last trials of a search must add


@dataclass(frozen=True)
class Stretch:
    """A part of a trial: from where it is to the end of epoch `until`, which is a rung or its last.

    `hopeless_ms` is the latency above which it is not worth training, None where there is none; `is_retry` says that a
    worker has died of it.
    """

    trial_id: str
    config: TrialConfig
    drawn: dict[str, Any]
    until: int
    hopeless_ms: float | None
    is_retry: bool = False


class Plan:
    """The state of one search.

    Args:
        study: what is searched, and for how long.
        tree: its compiled space.
        journal: Optuna's file, None to keep everything in memory.
        clock: seconds of searching so far, pauses of the whole search left out.
    """

    def __init__(
        self, study: StudyRecord, tree: space.Section, journal: Path | None, clock: Callable[[], float]
    ) -> None:
        self._study = study
        self._clock = clock
        self._sampler = Sampler(tree, study, journal)
        self._halving = Halving(**study.scheduler)
        self._scheduler = Scheduler(self._halving)
        self.records: dict[str, TrialRecord] = {}
        self._waiting: dict[str, TrialRecord] = {}
        self._running: dict[str, Stretch] = {}
        self._to_retry: list[str] = []
        self._retried: set[str] = set()
        self._next = 0

    def start(self, records: Sequence[TrialRecord] = (), earlier: Sequence[TrialRecord] = (), number: int = 0) -> None:
        """Take in the trials that have ended or wait.

        Args:
            records: of this study, one a trial.
            earlier: trials of other studies for the sampler to learn from.
            number: of the first new trial.
        """
        self._next = number
        for record in records:
            self._passed(record)
            (self._waiting if record.state == "waiting" else self.records)[record.trial_id] = record
        self._sampler.start(records, earlier)

    def _passed(self, record: TrialRecord) -> None:
        """Tell the scheduler which rungs a trial has reached."""
        lengths = self._lengths(record.config["training"]["epochs"])[:-1]
        rungs = [rung for rung, length in enumerate(lengths) if length <= len(record.curve)]
        for rung in rungs:
            assert record.latency is not None  # noqa: S101 (it has trained)
            best = max(point.val_score for point in record.curve[: lengths[rung]])
            self._scheduler.reached(record.trial_id, rung, Point(best, record.latency.ms))
        for rung in rungs if record.state != "waiting" else rungs[:-1]:
            self._scheduler.gone_on(record.trial_id, rung)

    def _lengths(self, epochs: int) -> list[int]:
        return self._halving.epochs_at(epochs)

    @property
    def open_trials(self) -> int:
        """New trials still to be handed out."""
        if self._out_of_time or self._stalled or self.nearest_miss:
            return 0
        return max(0, self._study.trials - len(self.records) - len(self._waiting) - len(self._running))

    @property
    def _out_of_time(self) -> bool:
        return self._study.minutes is not None and self._clock() >= 60 * self._study.minutes

    @property
    def _stalled(self) -> bool:
        """Whether the last `patience` trials that ended have added hardly anything to the hypervolume."""
        patience = self._study.patience
        if patience is None or len(self.records) <= patience:
            return False
        ended = sorted(self.records.values(), key=lambda record: record.elapsed_s)
        before, now = (hypervolume_of(self._study, part) for part in (ended[:-patience], ended))
        return now > 0 and now - before < MIN_IMPROVEMENT * now

    @property
    def nearest_miss(self) -> TrialRecord | None:
        """If the first trials of the search are all over a limit, the trial that is least over; None otherwise."""
        ended = self.records.values()
        if len(ended) < FIRST_TRIALS or self._waiting or any(record.state != "infeasible" for record in ended):
            return None
        return min(ended, key=lambda record: max(constraints(record, self._study).values(), default=0.0))

    @property
    def over(self) -> bool:
        """Whether nothing is left to hand out, and nothing running could change that."""
        return not self._running and self._due() is None and not self.open_trials

    def _due(self) -> tuple[str, int | None] | None:
        """The trial to continue, and the rung that it leaves; no rung for a trial whose worker died."""
        if self._to_retry:
            return self._to_retry[0], None
        return None if self._out_of_time else self._scheduler.next(closing=not self.open_trials)

    def next(self) -> Stretch | None:
        """Work for a free worker: a trial to continue, or a new trial; None while there is no work."""
        due = self._due()
        if due is None:
            return self._begin() if self.open_trials else None
        trial_id, rung = due
        if rung is None:
            return self._running[self._to_retry.pop(0)]
        record = self._waiting.pop(trial_id)
        self._scheduler.gone_on(trial_id, rung)
        return self._stretch(trial_id, TrialConfig.model_validate(record.config), record.drawn, rung + 1)

    def _begin(self) -> Stretch:
        trial_id = f"{self._next:05d}"
        self._next += 1
        config, drawn = self._sampler.ask(trial_id)
        return self._stretch(trial_id, config, drawn, 0)

    def _stretch(self, trial_id: str, config: TrialConfig, drawn: dict[str, Any], rung: int) -> Stretch:
        until = self._lengths(config.training.epochs)[rung]
        self._running[trial_id] = Stretch(trial_id, config, drawn, until, self._hopeless_ms())
        return self._running[trial_id]

    def _hopeless_ms(self) -> float | None:
        """`drop_slower` times the latency of the best trial, once enough trials have finished."""
        finished = [record for record in self.records.values() if record.state == "finished" and record.latency]
        if self._study.drop_slower is None or len(finished) < ENOUGH_FINISHED:
            return None
        best = max(finished, key=lambda record: record.val_score or 0.0)
        return self._study.drop_slower * best.latency.ms if best.latency else None

    def died(self, trial_id: str) -> bool:
        """A worker died before its stretch was done; returns whether the stretch is handed out a second time."""
        is_first = trial_id not in self._retried
        self._retried.add(trial_id)
        if is_first:
            self._running[trial_id] = replace(self._running[trial_id], is_retry=True)
            self._to_retry.append(trial_id)
        return is_first

    def ended(self, record: TrialRecord) -> None:
        """Take in a trial whose stretch is done: it waits, or is over."""
        self._running.pop(record.trial_id, None)
        self._sampler.tell(record)
        if record.state == "waiting":
            self._waiting[record.trial_id] = record
            self._passed(record)
        else:
            self.records[record.trial_id] = record

    def stop_waiting(self) -> list[TrialRecord]:
        """After the end: trials that still wait count as stopped where they are. Returns their records."""
        waiting, self._waiting = self._waiting, {}
        stopped = [
            record.model_copy(update={"state": "stopped", "reason": f"stopped {record.reason}"})
            for record in waiting.values()
        ]
        for record in stopped:
            self.ended(record)
        return stopped
