"""The report is drawn when a search stops, of what was over before and what ended since."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from whc.records import StudyRecord, TrialRecord
from whc.search.showing import report
from whc.search.showing.report_observer import ReportObserver


def test_it_is_the_page_of_all_trials_that_are_over(
    study: StudyRecord, record: Callable[..., TrialRecord], tmp_path: Path
) -> None:
    ended = [record("00000", "finished", val_score=0.7), record("00002", "infeasible", latency_ms=2.0)]
    observer = ReportObserver()
    observer.study_started(study, ended[:1])
    observer.trial_runs("00002", "starts")
    observer.trial_ended(ended[1])
    assert not list(tmp_path.iterdir())
    observer.study_ended(study.study, tmp_path)
    expected = report.write(study, ended, tmp_path / "expected")
    assert (tmp_path / "report.html").read_bytes() == expected.read_bytes()
