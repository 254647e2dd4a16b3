"""Observers of searches and ladders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from whc.records.ladder import Champion, LadderTable
from whc.records.studies import StudyRecord
from whc.records.trials import TrialRecord

Gate = Callable[[LadderTable, Path, Sequence[Champion]], str]
"""Says why a ladder in a study's folder may not replace the champions of its prefix; empty if it may."""


class SearchObserver:
    """Observer of a search; only the driver calls it. A subclass overrides the calls that it needs."""

    def study_started(self, study: StudyRecord, earlier: Sequence[TrialRecord]) -> None:
        """Called once before the first trial; `earlier` are the trials that ended in earlier runs."""

    def trial_runs(self, trial_id: str, what: str, epoch: int = 0, of_epochs: int = 0) -> None:
        """Called when a worker takes a trial, and after each epoch of it.

        Args:
            trial_id: id of the trial.
            what: its progress in words.
            epoch: number of epochs trained, 0 when a worker has just taken it.
            of_epochs: number of epochs that it trains in all.
        """

    def timer_lost(self, trial_id: str, reason: str) -> None:
        """Called when a trial begins to wait for the device that times it; with an empty reason when that is over."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Called once for each trial that ends, when its record is in place."""

    def expected(self, share: float) -> None:
        """Called after a trial has ended, with the share of the hypervolume that the next ten are expected to add."""

    def study_ended(self, study: str, folder: Path) -> None:
        """Called when the search stops, whether it is complete or not."""


class LadderObserver(Protocol):
    """Observer of a ladder, called once its table is on disk."""

    def ladder_built(self, table: LadderTable, folder: Path) -> Sequence[str]:
        """Process the variants in `folder`; returns a line to print for each."""
