"""Decides what a search does next. It has no workers, no files and no clock of its own.

The driver plays it on Ray's workers, the replay on a table of trainings that were recorded. The loop:

    plan.start(records)
    while not plan.over:
        while (trial := plan.next()) is not None: ...  # give it to a free worker
        ...                                            # wait for one, then
        plan.ended(record)                             # or plan.died(trial_id)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from whc.records import StudyRecord, TrialRecord
from whc.records.results import hypervolume_of
from whc.search.sampling.searcher import Sampler, constraints
from whc.search.space import space
from whc.trials.config import TrialConfig

FIRST_TRIALS = 20  # one of them must keep the limits
NEXT_TRIALS = 10  # for which it is said what they are expected to add


@dataclass(frozen=True)
class PlannedTrial:
    """A trial for a worker; `is_retry` says that a worker has died of it."""

    trial_id: str
    config: TrialConfig
    drawn: dict[str, Any]
    is_retry: bool = False


class Plan:
    """The state of one search.

    `expected_share` is the share of the hypervolume that the next ten trials are expected to add, None while there are
    too few to say, or none that is worth anything.

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
        self.records: dict[str, TrialRecord] = {}
        self._running: dict[str, PlannedTrial] = {}
        self._to_retry: list[str] = []
        self._retried: set[str] = set()
        self._next = 0
        self.expected_share: float | None = None

    def start(self, records: Sequence[TrialRecord] = (), earlier: Sequence[TrialRecord] = (), number: int = 0) -> None:
        """Take in the trials that have ended.

        Args:
            records: of this study, one a trial.
            earlier: trials of other studies for the sampler to learn from.
            number: of the first new trial.
        """
        self._next = number
        self.records.update({record.trial_id: record for record in records})
        self.expected_share = self._expected_share()
        self._sampler.start(records, earlier)

    @property
    def open_trials(self) -> int:
        """New trials still to be handed out."""
        if self._out_of_time or self._pays_no_more or self.nearest_miss:
            return 0
        return max(0, self._study.trials - len(self.records) - len(self._running))

    @property
    def _out_of_time(self) -> bool:
        return self._study.minutes is not None and self._clock() >= 60 * self._study.minutes

    @property
    def _pays_no_more(self) -> bool:
        share, least = self.expected_share, self._study.stop_below
        return share is not None and least is not None and share < least

    @property
    def nearest_miss(self) -> TrialRecord | None:
        """If the first trials of the search are all over a limit, the trial that is least over; None otherwise."""
        ended = self.records.values()
        if len(ended) < FIRST_TRIALS or any(record.state != "infeasible" for record in ended):
            return None
        return min(ended, key=lambda record: max(constraints(record, self._study).values(), default=0.0))

    @property
    def over(self) -> bool:
        """Whether no trial runs, and none is left to hand out."""
        return not self._running and not self.open_trials

    def next(self) -> PlannedTrial | None:
        """A trial for a free worker, first of all one whose worker died; None while there is none."""
        if self._to_retry:
            return self._running[self._to_retry.pop(0)]
        if not self.open_trials:
            return None
        trial_id = f"{self._next:05d}"
        self._next += 1
        config, drawn = self._sampler.ask(trial_id)
        self._running[trial_id] = PlannedTrial(trial_id, config, drawn)
        return self._running[trial_id]

    def died(self, trial_id: str) -> bool:
        """A worker died before its trial had ended; returns whether the trial is handed out a second time."""
        is_first = trial_id not in self._retried
        self._retried.add(trial_id)
        if is_first:
            self._running[trial_id] = replace(self._running[trial_id], is_retry=True)
            self._to_retry.append(trial_id)
        return is_first

    def ended(self, record: TrialRecord) -> None:
        """Take in a trial that is over."""
        self._running.pop(record.trial_id, None)
        self._sampler.tell(record)
        self.records[record.trial_id] = record
        self.expected_share = self._expected_share()

    def _expected_share(self) -> float | None:
        """At most what the sampler expects of the best ones; of a sampler that expects nothing, what the past added."""
        if len(self.records) <= NEXT_TRIALS:
            return None
        ended = sorted(self.records.values(), key=lambda record: record.elapsed_s)
        before, now = (hypervolume_of(self._study, part) for part in (ended[:-NEXT_TRIALS], ended))
        if not now:
            return None
        gain = self._sampler.largest_gain
        return (now - before if gain is None else NEXT_TRIALS * gain) / now
