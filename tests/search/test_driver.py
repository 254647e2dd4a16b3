"""The driver's book-keeping, without workers: trials are handed out, and their records written by hand."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from whc import records
from whc.errors import StudyError
from whc.records import StudyRecord, TrialRecord
from whc.search import space
from whc.search.display import Display
from whc.search.driver import Driver

Record = Callable[..., TrialRecord]


class Stub:
    """An observer that notes its calls in a list shared by all observers."""

    def __init__(self, name: str, calls: list[tuple[str, ...]]) -> None:
        self.name, self.calls = name, calls

    def study_started(self, study: str, description: Mapping[str, Any]) -> None:
        assert description["space_name"] == "hands"
        json.dumps(description)
        self.calls.append((self.name, "started", study))

    def trial_ended(self, record: TrialRecord) -> None:
        self.calls.append((self.name, record.state, record.trial_id))

    def study_ended(self, study: str, folder: Path) -> None:
        assert (folder / "trials.parquet").is_file()
        self.calls.append((self.name, "ended", study))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "runs" / "hands"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def calls() -> list[tuple[str, ...]]:
    return []


@pytest.fixture
def begin(folder: Path, study: StudyRecord, tree: space.Section, calls: list[tuple[str, ...]]) -> Callable[[], Driver]:
    """Gives a started driver, with two observers; each call is a restart."""

    def made() -> Driver:
        display = Display(study, Console(file=io.StringIO()))
        driver = Driver(study, folder, tree, [Stub("first", calls), Stub("second", calls)], display)
        driver.start()
        return driver

    return made


def leave(folder: Path, job: dict[str, Any], record: Record, state: str = "finished", **numbers: float) -> str:
    """What a worker leaves of a job; returns the trial's id."""
    assignment = job["assignment"]
    made = record(assignment.trial_id, state, drawn=assignment.drawn, **numbers)
    records.save(made.model_copy(update={"config": job["config"]}), assignment.folder / "record.json")
    assert assignment.folder == folder / "trials" / assignment.trial_id
    return str(assignment.trial_id)


def test_trials_are_handed_out_and_taken_in(
    begin: Callable[[], Driver], folder: Path, calls: list[tuple[str, ...]], record: Record, study: StudyRecord
) -> None:
    driver = begin()
    assert driver.open_trials == study.trials == 4
    jobs = [driver.next_job() for _ in range(2)]
    assert [job["assignment"].trial_id for job in jobs] == ["00000", "00001"]
    assert driver.open_trials == 2
    first = jobs[0]["assignment"]
    assert first.limits.model_dump(exclude_none=True) == study.limits
    assert (first.runtime.name, first.reference_ms, first.study) == ("onnxruntime_cpu", 0.1, "hands")
    assert first.cache == folder.parent / ".latency"
    assert first.drawn.keys() <= space.distributions(space.compile_space(study.space, "")).keys()
    json.dumps(jobs[0]["config"])

    driver.ended(leave(folder, jobs[1], record, val_f1=0.8))
    driver.ended(leave(folder, jobs[0], record, "infeasible", latency_ms=2.0))
    assert driver.open_trials == 2
    assert {trial_id: one.state for trial_id, one in driver.records.items()} == {
        "00001": "finished",
        "00000": "infeasible",
    }
    driver.finish()
    assert calls == [
        ("first", "started", "hands"),
        ("second", "started", "hands"),
        ("first", "finished", "00001"),
        ("second", "finished", "00001"),
        ("first", "infeasible", "00000"),
        ("second", "infeasible", "00000"),
        ("first", "ended", "hands"),
        ("second", "ended", "hands"),
    ]


def test_a_worker_that_died_leaves_a_failed_trial(
    begin: Callable[[], Driver], folder: Path, calls: list[tuple[str, ...]]
) -> None:
    driver = begin()
    jobs = [driver.next_job() for _ in range(2)]
    driver.ended("00000", "the worker died")
    driver.ended("00001")
    on_disk = {one.trial_id: one for one in records.trial_records(folder)}
    assert {trial_id: (one.state, one.reason) for trial_id, one in on_disk.items()} == {
        "00000": ("failed", "the worker died"),
        "00001": ("failed", "the worker ended without a record"),
    }
    assert on_disk["00000"].config == jobs[0]["config"]
    assert on_disk["00000"].drawn == jobs[0]["assignment"].drawn
    assert on_disk["00000"].data_fingerprint == "f00d"
    assert calls[2:4] == [("first", "failed", "00000"), ("second", "failed", "00000")]
    assert driver.open_trials == 2


def test_a_record_outlives_the_worker_that_died_after_it(
    begin: Callable[[], Driver], folder: Path, record: Record
) -> None:
    driver = begin()
    driver.ended(leave(folder, driver.next_job(), record, val_f1=0.8), "the worker died")
    assert driver.records["00000"].state == "finished"


def test_a_restart_keeps_what_ended_and_clears_what_broke_off(
    begin: Callable[[], Driver], folder: Path, calls: list[tuple[str, ...]], record: Record
) -> None:
    driver = begin()
    jobs = [driver.next_job() for _ in range(3)]
    driver.ended(leave(folder, jobs[0], record, val_f1=0.8))
    torn = folder / "trials" / "00001"
    torn.mkdir()
    (torn / "checkpoint.pt").write_bytes(b"half")
    (torn / ".record.json.1.tmp").write_text("{")
    leave(folder, jobs[2], record, "infeasible", latency_ms=2.0)  # in place, but the driver was killed before it knew
    calls.clear()

    again = begin()
    assert not torn.exists()
    assert sorted(again.records) == ["00000", "00002"]
    assert again.open_trials == 2
    assert calls == [
        ("first", "started", "hands"),
        ("first", "finished", "00000"),
        ("first", "infeasible", "00002"),
        ("second", "started", "hands"),
        ("second", "finished", "00000"),
        ("second", "infeasible", "00002"),
    ]
    assert again.next_job()["assignment"].trial_id == "00003"


def test_a_torn_trial_that_was_the_newest(begin: Callable[[], Driver], folder: Path) -> None:
    (folder / "trials" / "00004").mkdir(parents=True)
    driver = begin()
    assert driver.next_job()["assignment"].trial_id == "00005"
    assert not (folder / "trials" / "00004").exists()


def test_other_things_among_the_trials_are_left_alone(begin: Callable[[], Driver], folder: Path) -> None:
    keep = folder / "trials" / "notes"
    keep.mkdir(parents=True)
    begin()
    assert keep.is_dir()


def test_a_damaged_record_is_told(begin: Callable[[], Driver], folder: Path) -> None:
    path = folder / "trials" / "00000" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 1, "trial_id": "00000"')
    with pytest.raises(StudyError, match=r"00000/record.json: .*; delete the file and use --resume"):
        begin()
    assert path.is_file()


def test_finish_writes_a_row_for_each_trial(begin: Callable[[], Driver], folder: Path, record: Record) -> None:
    driver = begin()
    leave_and_end = [("finished", {"val_f1": 0.8}), ("infeasible", {"latency_ms": 2.0}), ("finished", {"val_f1": 0.6})]
    for state, numbers in leave_and_end:
        driver.ended(leave(folder, driver.next_job(), record, state, **numbers))
    driver.next_job()
    driver.ended("00003", "the worker died")
    driver.finish()
    table = pd.read_parquet(folder / "trials.parquet").set_index("trial_id")
    assert table["state"].to_dict() == {
        "00000": "finished",
        "00001": "infeasible",
        "00002": "finished",
        "00003": "failed",
    }
    assert table["val_f1"].dropna().to_dict() == {"00000": 0.8, "00002": 0.6}
    assert table["latency_ms"].dropna().to_dict() == {"00000": 0.5, "00001": 2.0, "00002": 0.5}
    assert json.loads(table["config"]["00000"]) == driver.records["00000"].config
    assert json.loads(table["drawn"]["00003"]) == driver.records["00003"].drawn
    assert [path.name for path in folder.glob(".*.tmp")] == []


def test_finish_before_any_trial_has_ended(begin: Callable[[], Driver], folder: Path) -> None:
    begin().finish()
    assert len(pd.read_parquet(folder / "trials.parquet")) == 0
