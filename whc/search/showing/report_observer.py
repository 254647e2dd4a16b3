"""`report.html` at the end of a search, and when a ladder is built."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from whc.records import LadderTable, SearchObserver, StudyRecord, TrialRecord


class ReportObserver(SearchObserver):
    """Draws the page of a study when its search stops, finished or not, and when its ladder is built."""

    def __init__(self) -> None:
        self._study: StudyRecord | None = None
        self._ended: list[TrialRecord] = []

    def study_started(self, study: StudyRecord, earlier: Sequence[TrialRecord]) -> None:
        """Keep the study, and its trials that are over."""
        self._study = study
        self._ended = list(earlier)

    def trial_ended(self, record: TrialRecord) -> None:
        """Keep a trial that is over."""
        self._ended.append(record)

    def study_ended(self, study: str, folder: Path) -> None:
        """Draw the page."""
        from whc.search.showing import report

        assert self._study is not None  # noqa: S101 (study_started comes first)
        report.write(self._study, self._ended, folder)

    def ladder_built(self, table: LadderTable, folder: Path) -> list[str]:
        """Draw the page with the ladder; gives the line with its path."""
        from whc.search.showing import report

        del table  # it is in the folder
        return [f"page: {report.draw(folder)}"]
