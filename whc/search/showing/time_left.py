"""Estimates how much longer a search takes: it simulates the rest, with trials that take as long as the latest ones.

It only observes, and decides nothing. Time is in seconds of searching, pauses of the whole search left out.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from statistics import fmean

from whc.records import StudyRecord, TrialRecord

MIN_RECENT = 8  # new trials are taken to be like the latest half of all, and like so many at least
OVERTIME_FACTOR = 1.2  # times the seconds worked: for a trial that already takes longer than any before it
MIN_SECONDS = 1.0


@dataclass(frozen=True)
class _RunningTrial:
    """When a worker took a trial, and when its latest epoch ended; epoch 0 before the first."""

    began_s: float
    epoch: int = 0
    epoch_at_s: float = 0.0
    of_epochs: int = 0


class TimeLeft:
    """Observes a search, and estimates how long it still takes.

    Args:
        study: what is searched.
        clock: seconds of searching so far.
    """

    def __init__(self, study: StudyRecord, clock: Callable[[], float]) -> None:
        self._study = study
        self._clock = clock
        self._ended_s: list[float] = []  # seconds that each trial took, in the order of their ends
        self._running: dict[str, _RunningTrial] = {}

    def earlier(self, records: Iterable[TrialRecord]) -> None:
        """Take in the trials that had ended when this run began."""
        for record in sorted(records, key=lambda record: record.elapsed_s):
            self._ended_s.append(record.before_s + sum(point.seconds for point in record.curve))

    def running(self, trial_id: str, epoch: int = 0, of_epochs: int = 0) -> None:
        """A worker has taken a trial, or has ended an epoch of it.

        Args:
            trial_id: the trial.
            epoch: how many it has trained, 0 when it has just been taken.
            of_epochs: how many it trains in all.
        """
        now, trial = self._clock(), self._running.get(trial_id)
        if trial is None or not epoch:
            trial = _RunningTrial(now)
        self._running[trial_id] = replace(trial, epoch=epoch, epoch_at_s=now, of_epochs=of_epochs)

    def ended(self, record: TrialRecord) -> None:
        """A trial is over."""
        trial = self._running.pop(record.trial_id, None)
        if trial:
            self._ended_s.append(self._clock() - trial.began_s)

    def seconds(self) -> float | None:
        """Seconds left; None while no trial has ended."""
        if not self._ended_s:
            return None
        recent_s = self._ended_s[-max(MIN_RECENT, len(self._ended_s) // 2) :]
        minutes = self._study.minutes
        room_s = math.inf if minutes is None else 60 * minutes - self._clock()
        # The seconds after which each worker is free.
        free_s = [self._remaining_s(trial, recent_s) for trial in self._running.values()]
        free_s += [0.0] * (self._study.workers - len(free_s))
        heapq.heapify(free_s)
        for _ in range(self._study.trials - len(self._ended_s) - len(self._running)):
            if free_s[0] >= room_s:
                break
            heapq.heapreplace(free_s, free_s[0] + fmean(recent_s))
        return max(MIN_SECONDS, *free_s)

    def _remaining_s(self, trial: _RunningTrial, recent_s: list[float]) -> float:
        """Seconds to the end of a trial: at its own pace once it trains, before that as long as the latest ones."""
        now = self._clock()
        if trial.epoch:
            epoch_s = (trial.epoch_at_s - trial.began_s) / trial.epoch
            return max(0.0, (trial.of_epochs - trial.epoch) * epoch_s - (now - trial.epoch_at_s))
        worked_s = now - trial.began_s
        longer_s = [seconds for seconds in recent_s if seconds > worked_s]
        return (fmean(longer_s) if longer_s else OVERTIME_FACTOR * worked_s) - worked_s
