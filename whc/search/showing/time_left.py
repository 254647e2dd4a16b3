"""Estimates how much longer a search takes: it simulates the rest, with the search's own scheduler and earlier trials.

It only observes, and decides nothing. Time is in seconds of searching, pauses of the whole search left out. A trial is
a chain of stretches: to its first rung, from there to the next rung, and so on to its end.
"""

from __future__ import annotations

import copy
import heapq
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean

from whc.pareto import Point
from whc.records import StudyRecord, TrialRecord
from whc.search.sampling.scheduler import Halving, Scheduler

SIMULATIONS = 8  # of the rest; their geometric mean is shown, as it depends on chance which trials train on
MIN_RECENT = 8  # new trials are taken to be like the latest half of all, and like so many at least
MAX_NEAREST = 3  # a running trial is taken to be like one of so many with the most similar pace
OVERTIME_FACTOR = 1.2  # times the seconds worked: for a stretch that already takes longer than any before it
START_S = 10.0  # so many seconds of workers that are always busy count before it is known how busy they are
MIN_SECONDS = 1.0


@dataclass(frozen=True)
class _Training:
    """What a trial takes: seconds of its first stretch, and of an epoch after that.

    `lengths` are the epochs at which it stops, `points` what it reached at each of them so far; both are empty for a
    trial that never trains.
    """

    first_s: float
    epoch_s: float = 0.0
    lengths: tuple[int, ...] = ()
    points: tuple[Point, ...] = ()

    @property
    def is_trained(self) -> bool:
        """Whether it came to a rung or to its end."""
        return bool(self.points)

    def stretch_s(self, stretch: int) -> float:
        """Seconds of one of its stretches, counted from 0."""
        return (self.lengths[stretch] - self.lengths[stretch - 1]) * self.epoch_s if stretch else self.first_s

    def slowed(self, first_s: float) -> _Training:
        """The training of a network like this, which is as much slower as its first stretch is longer."""
        factor = first_s / max(self.first_s, 1e-9)
        points = tuple(Point(point.quality, factor * point.cost) for point in self.points)
        return replace(self, first_s=first_s, epoch_s=factor * self.epoch_s, points=points)


@dataclass(frozen=True)
class _WorkerState:
    """A worker that trains: when it began, and when it ended its first and latest epoch; (0, 0) before the first."""

    began_s: float
    first: tuple[int, float] = (0, 0.0)
    latest: tuple[int, float] = (0, 0.0)
    until: int = 0

    @property
    def epoch_s(self) -> float:
        """Seconds of an epoch; 0 before two of them have ended."""
        epochs = self.latest[0] - self.first[0]
        return (self.latest[1] - self.first[1]) / epochs if epochs else 0.0


class TimeLeft:
    """Observes a search, and estimates how long it still takes.

    Args:
        study: what is searched.
        clock: seconds of searching so far.
    """

    def __init__(self, study: StudyRecord, clock: Callable[[], float]) -> None:
        self._study = study
        self._clock = clock
        self._halving = Halving(**study.scheduler)
        self._scheduler = Scheduler(self._halving)
        self._trainings: dict[str, _Training] = {}  # those that stopped last are the last
        self._running: dict[str, _WorkerState] = {}
        self._began_s = clock()
        self._worked_s = 0.0
        self._slowness = 1.0

    def earlier(self, records: Iterable[TrialRecord]) -> None:
        """Take in the trials that were over, or waited, when this run began."""
        for record in sorted(records, key=lambda record: record.elapsed_s):
            first = record.curve[: self._lengths(record)[0]]
            self._take_in(record, record.before_s + sum(point.seconds for point in first))
        self._began_s = self._clock()

    def running(self, trial_id: str, epoch: int = 0, until: int = 0) -> None:
        """A worker has taken a trial, or has ended an epoch of it.

        Args:
            trial_id: the trial.
            epoch: how many it has trained, 0 when it has just been taken.
            until: the epoch at which this stretch ends.
        """
        now, work = self._clock(), self._running.get(trial_id)
        if work is None or not epoch:
            work = _WorkerState(now)
            if trial_id in self._trainings:
                self._scheduler.gone_on(trial_id, len(self._trainings[trial_id].points) - 1)
            else:
                self._slowness = self._waited()
        if epoch:
            first = work.first if work.first[0] else (epoch, now)
            work = replace(work, first=first, latest=(epoch, now), until=until)
        self._running[trial_id] = work

    def stopped(self, record: TrialRecord) -> None:
        """A trial waits at a rung, or is over."""
        work = self._running.pop(record.trial_id, None)
        seconds = self._clock() - work.began_s if work else 0.0
        self._worked_s += seconds
        before = self._trainings.pop(record.trial_id, None)
        self._take_in(record, before.first_s if before else seconds)

    def _lengths(self, record: TrialRecord) -> tuple[int, ...]:
        return tuple(self._halving.epochs_at(record.config["training"]["epochs"]))

    def _take_in(self, record: TrialRecord, first_s: float) -> None:
        training, lengths = _Training(first_s), self._lengths(record)
        reached = [length for length in lengths if length <= len(record.curve)]
        if reached and record.latency:
            best = [max(point.val_score for point in record.curve[:length]) for length in reached]
            points = tuple(Point(score, record.latency.ms) for score in best)
            training = _Training(first_s, fmean(point.seconds for point in record.curve), lengths, points)
        self._trainings[record.trial_id] = training
        for rung, point in enumerate(training.points[: len(training.lengths) - 1]):
            self._scheduler.reached(record.trial_id, rung, point)
            if record.state != "waiting" or rung < len(training.points) - 1:
                self._scheduler.gone_on(record.trial_id, rung)

    def seconds(self) -> float | None:
        """Seconds left; None while no trial has come to a rung or to its end."""
        if not self._trainings:
            return None
        chance = random.Random(0)  # noqa: S311 (no secret)
        simulated_s = [max(MIN_SECONDS, self._play(chance)) for _ in range(SIMULATIONS)]
        return self._slowness * math.exp(fmean(map(math.log, simulated_s)))

    def _waited(self) -> float:
        """How many times longer the search takes because workers wait for the sampler and for Ray.

        It is measured when a new trial begins: at the end workers wait because no trial is left to begin.
        """
        now = self._clock()
        capacity = self._study.workers * (now - self._began_s)
        worked = self._worked_s + sum(now - work.began_s for work in self._running.values())
        return max(1.0, (capacity + START_S) / (worked + START_S))

    def _play(self, chance: random.Random) -> float:
        """Seconds to the end of the search, as it may go on from here."""
        rest = _RemainingSearch(self._study.workers, copy.deepcopy(self._scheduler), dict(self._trainings), chance)
        for trial_id, work in self._running.items():
            training = self._trainings.get(trial_id)
            stretch = len(training.points) if training else 0
            training = training or self._like(work, chance)
            training = replace(training, epoch_s=work.epoch_s or training.epoch_s)
            rest.train(trial_id, training, self._remainder(work, training, stretch), stretch)
        new = self._study.trials - len(self._trainings.keys() | self._running.keys())
        minutes = self._study.minutes
        return rest.play(new, math.inf if minutes is None else 60 * minutes - self._clock())

    def _like(self, work: _WorkerState, chance: random.Random) -> _Training:
        """A training that is like what a worker does: the worker's own configuration is not known here."""
        trainings = list(self._trainings.values())
        trained = [training for training in trainings if training.is_trained]
        if work.epoch_s and trained:
            by_pace = sorted(trained, key=lambda training: abs(training.epoch_s - work.epoch_s))
            similar = chance.choice(by_pace[:MAX_NEAREST])
            return similar.slowed(similar.first_s * work.epoch_s / similar.epoch_s) if similar.epoch_s else similar
        worked_s = self._clock() - work.began_s
        longer = [training for training in (trained if work.until else trainings) if training.first_s > worked_s]
        if longer:
            return chance.choice(longer)
        return max(trainings, key=lambda training: training.first_s).slowed(OVERTIME_FACTOR * worked_s)

    def _remainder(self, work: _WorkerState, training: _Training, stretch: int) -> float:
        """Seconds to the end of a stretch that a worker is at."""
        epoch, epoch_at = work.latest
        if epoch:
            return max(0.0, (work.until - epoch) * training.epoch_s - (self._clock() - epoch_at))
        return max(0.0, training.stretch_s(stretch) - (self._clock() - work.began_s))


class _RemainingSearch:
    """The simulated rest of a search: which workers are busy until when, and which trials train further."""

    def __init__(
        self, workers: int, scheduler: Scheduler, trainings: dict[str, _Training], chance: random.Random
    ) -> None:
        self._workers = workers
        self._scheduler = scheduler
        self._trainings = trainings
        self._chance = chance
        by_end = list(trainings.values())
        self._recent = by_end[-max(MIN_RECENT, len(by_end) // 2) :]
        self._gains: defaultdict[int, list[float]] = defaultdict(list)
        for training in by_end:
            for rung, (before, after) in enumerate(pairwise(training.points), start=1):
                self._gains[rung].append(after.quality - before.quality)
        self._busy: list[tuple[float, str, int]] = []
        self._new = 0

    def train(self, trial_id: str, training: _Training, until_s: float, stretch: int) -> None:
        """A worker is at a stretch of a trial until then."""
        self._trainings[trial_id] = training
        heapq.heappush(self._busy, (until_s, trial_id, stretch))

    def play(self, new: int, room_s: float) -> float:
        """Seconds to the end.

        Args:
            new: trials still to begin.
            room_s: seconds after which nothing begins or goes on.
        """
        self._new, now = new, 0.0
        while True:
            while len(self._busy) < self._workers and now < room_s and self._hand_out(now):
                pass
            if not self._busy:
                return now
            now, trial_id, stretch = heapq.heappop(self._busy)
            self._stop(trial_id, stretch)

    def _hand_out(self, now: float) -> bool:
        """Give a free worker something to do; returns whether there was anything."""
        due = self._scheduler.next(closing=self._new <= 0)
        if due:
            trial_id, rung = due
            self._scheduler.gone_on(trial_id, rung)
            training = self._trainings[trial_id]
            self.train(trial_id, training, now + training.stretch_s(rung + 1), rung + 1)
        elif self._new > 0:
            training = self._chance.choice(self._recent)
            self.train(f"new {self._new}", training, now + training.first_s, 0)
            self._new -= 1
        else:
            return False
        return True

    def _stop(self, trial_id: str, stretch: int) -> None:
        """A trial has come to the end of a stretch, and waits there unless it was its last."""
        training = self._trainings[trial_id]
        if stretch >= len(training.lengths) - 1:
            return
        if stretch < len(training.points):
            point = training.points[stretch]
        else:  # it gains as much since the rung before as another trial did
            last = training.points[-1]
            point = Point(last.quality + self._chance.choice(self._gains[stretch] or [0.0]), last.cost)
        self._trainings[trial_id] = replace(training, points=(*training.points[:stretch], point))
        self._scheduler.reached(trial_id, stretch, point)
