"""`report.html` at the end of a search."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whc.records import SearchObserver, StudyRecord, TrialRecord


class ReportObserver(SearchObserver):
    """Draws the report of a search when it stops, finished or not."""

    def __init__(self) -> None:
        self._study: StudyRecord | None = None
        self._ended: list[TrialRecord] = []

    def study_started(self, study: StudyRecord, earlier: Sequence[TrialRecord]) -> None:
        """Keep the study, and its trials that are over."""
        self._study = study
        self._ended = [record for record in earlier if record.state != "waiting"]

    def trial_ended(self, record: TrialRecord) -> None:
        """Keep a trial that is over."""
        self._ended.append(record)

    def study_ended(self, study: str, folder: Path) -> None:
        """Draw the report."""
        from whc.search.showing import report  # plotly takes a second to import, and is of no use before the end

        assert self._study is not None  # noqa: S101 (study_started comes first)
        report.write(self._study, self._ended, folder / "report.html")
