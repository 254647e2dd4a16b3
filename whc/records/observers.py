"""Who is told about searches and ladders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from whc.records.ladder import LadderTable
from whc.records.trials import TrialRecord


class SearchObserver(Protocol):
    """Told about a search by its driver, and only by it."""

    def study_started(self, study: str, description: Mapping[str, Any]) -> None:
        """Called once before the first trial; `description` is the resolved study.yaml."""

    def trial_waits(self, record: TrialRecord) -> None:
        """Called each time that a trial has come to a rung, with its curve so far."""

    def trial_ended(self, record: TrialRecord) -> None:
        """Called once for each trial, when its record is in place."""

    def study_ended(self, study: str, folder: Path) -> None:
        """Called when the search stops, finished or not."""


class LadderObserver(Protocol):
    """Told about a ladder once its table is on disk."""

    def ladder_built(self, table: LadderTable, folder: Path) -> Sequence[str]:
        """Take over the variants in `folder`; returns a line to print for each."""
