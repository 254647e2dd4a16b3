"""The driver's book-keeping, without workers: trials are handed out, and their records written by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from whc import records
from whc.errors import StudyError
from whc.records import SearchObserver, StudyRecord
from whc.search.running.driver import Driver
from whc.search.space import space
from whc.trials.dispatch import TrialJob
from whc.trials.storage import Storage

Begin = Callable[..., Driver]
Left = Callable[..., str]


def test_trials_are_handed_out_and_taken_in(
    begin: Begin, folder: Path, calls: list[tuple[str, ...]], study: StudyRecord, leave: Left
) -> None:
    driver = begin()
    assert driver._plan.open_trials == study.trials == 4
    jobs = [driver.next_job() for _ in range(2)]
    assert [job.assignment.trial_id for job in jobs] == ["00000", "00001"]
    assert driver._plan.open_trials == 2
    first = jobs[0].assignment
    assert first.limits.model_dump(exclude_none=True) == study.limits
    assert (first.runtime.name, first.reference_ms, first.study) == ("onnxruntime_cpu", 0.1, "hands")
    assert first.cache == folder.parent / ".latency"
    assert first.drawn.keys() <= space.distributions(space.compile_space(study.space, "")).keys()
    json.dumps(jobs[0].config.resolved())

    driver.ended(leave(jobs[1], val_score=0.8))
    driver.ended(leave(jobs[0], "infeasible", latency_ms=2.0))
    assert driver._plan.open_trials == 2
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


def test_a_worker_that_died_leaves_a_failed_trial(begin: Begin, folder: Path, calls: list[tuple[str, ...]]) -> None:
    driver = begin()
    jobs = [driver.next_job() for _ in range(2)]
    driver.ended("00000", "the worker died")
    driver.ended("00001")
    retried = [driver.next_job() for _ in range(2)]
    assert retried == [replace(job, assignment=replace(job.assignment, is_retry=True)) for job in jobs]
    driver.ended("00000", "the worker died")
    driver.ended("00001")
    on_disk = {one.trial_id: one for one in records.trial_records(folder)}
    assert {trial_id: (one.state, one.reason) for trial_id, one in on_disk.items()} == {
        "00000": ("failed", "the worker died, twice"),
        "00001": ("failed", "the worker left no record, twice"),
    }
    assert on_disk["00000"].config == jobs[0].config.resolved()
    assert on_disk["00000"].drawn == jobs[0].assignment.drawn
    assert on_disk["00000"].data_fingerprint == "f00d"
    assert calls[2:4] == [("first", "failed", "00000"), ("second", "failed", "00000")]
    assert driver._plan.open_trials == 2


def test_a_traceback_of_a_worker_is_kept_and_told_by_its_last_line(begin: Begin, folder: Path) -> None:
    driver = begin()
    text = 'Traceback (most recent call last):\n  File "x.py", line 1\nTypeError: no such thing\n'
    for _ in range(2):
        driver.ended(driver.next_job().assignment.trial_id, text)
    assert driver.records["00000"].reason == "TypeError: no such thing, twice"
    assert (folder / "trials" / "00000" / "traceback.txt").read_text() == text


def test_observers_hear_how_far_a_trial_is(study: StudyRecord, folder: Path, tree: space.Section) -> None:
    heard: list[tuple[object, ...]] = []

    class Listener(SearchObserver):
        def trial_runs(self, trial_id: str, what: str, epoch: int = 0, of_epochs: int = 0) -> None:
            heard.append((trial_id, what, epoch, of_epochs))

    driver = Driver(study, folder, tree, [Listener()])
    driver.start()
    driver.next_job()
    driver.runs("00000", "epoch 1", 1, 2)
    driver.ended("00000", "the worker died")
    assert heard == [("00000", "epoch 1", 1, 2), ("00000", "the worker died, tried again", 0, 0)]


def test_a_record_outlives_the_worker_that_died_after_it(begin: Begin, leave: Left) -> None:
    driver = begin()
    driver.ended(leave(driver.next_job(), val_score=0.8), "the worker died")
    assert driver.records["00000"].state == "finished"


def test_a_restart_keeps_what_ended_and_clears_what_broke_off(
    begin: Begin, folder: Path, calls: list[tuple[str, ...]], leave: Left
) -> None:
    driver = begin()
    jobs = [driver.next_job() for _ in range(3)]
    driver.ended(leave(jobs[0], val_score=0.8))
    torn = folder / "trials" / "00001"
    torn.mkdir()
    (torn / "checkpoint.pt").write_bytes(b"half")
    (torn / ".record.json.1.tmp").write_text("{")
    leave(jobs[2], "infeasible", latency_ms=2.0)  # in place, but the driver was killed before it knew
    calls.clear()

    again = begin()
    assert not torn.exists()
    assert sorted(again.records) == ["00000", "00002"]
    assert again._plan.open_trials == 2
    assert calls == [
        ("first", "started", "hands", "00000", "00002"),
        ("second", "started", "hands", "00000", "00002"),
    ]
    assert again.next_job().assignment.trial_id == "00003"


def test_a_torn_trial_that_was_the_newest(begin: Begin, folder: Path) -> None:
    (folder / "trials" / "00004").mkdir(parents=True)
    driver = begin()
    assert driver.next_job().assignment.trial_id == "00005"
    assert not (folder / "trials" / "00004").exists()


def test_other_things_among_the_trials_are_left_alone(begin: Begin, folder: Path) -> None:
    keep = folder / "trials" / "notes"
    keep.mkdir(parents=True)
    begin()
    assert keep.is_dir()


def test_a_damaged_record_is_told(begin: Begin, folder: Path) -> None:
    path = folder / "trials" / "00000" / "record.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"schema": 1, "trial_id": "00000"')
    with pytest.raises(StudyError, match=r"00000/record.json: .*; delete the file and use --resume"):
        begin()
    assert path.is_file()


def test_finish_writes_a_row_for_each_trial(begin: Begin, folder: Path, leave: Left) -> None:
    driver = begin()
    leave_and_end = [
        ("finished", {"val_score": 0.8}),
        ("infeasible", {"latency_ms": 2.0}),
        ("finished", {"val_score": 0.6}),
    ]
    for state, numbers in leave_and_end:
        driver.ended(leave(driver.next_job(), state, **numbers))
    driver.next_job()
    for _ in range(2):
        driver.ended("00003", "the worker died")
        driver.next_job()
    driver.finish()
    table = pd.read_parquet(folder / "trials.parquet").set_index("trial_id")
    assert table["state"].to_dict() == {
        "00000": "finished",
        "00001": "infeasible",
        "00002": "finished",
        "00003": "failed",
    }
    assert table["val_score"].dropna().to_dict() == {"00000": 0.8, "00002": 0.6}
    assert table["latency_ms"].dropna().to_dict() == {"00000": 0.5, "00001": 2.0, "00002": 0.5}
    assert json.loads(table["config"]["00000"]) == driver.records["00000"].config
    assert json.loads(table["drawn"]["00003"]) == driver.records["00003"].drawn
    assert [path.name for path in folder.glob(".*.tmp")] == []


def test_finish_before_any_trial_has_ended(begin: Begin, folder: Path) -> None:
    begin().finish()
    assert len(pd.read_parquet(folder / "trials.parquet")) == 0


def test_a_worker_that_died_is_tried_again_before_anything_else(begin: Begin, finish: Left) -> None:
    driver = begin()
    job = driver.next_job()
    driver.ended("00000", "the worker died")
    assert not driver.over
    assert driver.next_job() == replace(job, assignment=replace(job.assignment, is_retry=True))
    driver.ended(finish(job, 0.6))
    assert driver.next_job().assignment.trial_id == "00001"


def test_a_full_disk_ends_the_search_where_it_is(
    begin: Begin, folder: Path, monkeypatch: pytest.MonkeyPatch, finish: Left
) -> None:
    driver = begin()
    jobs = [driver.next_job() for _ in range(2)]
    driver.ended(finish(jobs[0], 0.6))
    usage = shutil.disk_usage(folder)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=4096))
        driver.ended("00001", "the worker died")
    assert driver.over
    assert not driver.complete
    assert driver.next_job() is None
    assert str(driver.halted).startswith(f"{folder}: the disk must have room for trials, got '4 KiB'; free some, then")
    driver.finish()

    again = begin()
    assert list(again.records) == ["00000"]
    assert again._plan.open_trials == 3


def test_trials_come_from_where_workers_leave_them(
    begin_changed: Begin, folder: Path, tmp_path: Path, finish: Left
) -> None:
    storage = Storage(str(tmp_path / "shared"), "hands")

    def left(job: TrialJob, val_score: float) -> str:
        """What a worker of another machine leaves of a job."""
        assert job.assignment.storage == storage
        trial_id = finish(job, val_score)
        storage.store(trial_id, folder / "trials" / trial_id)
        shutil.rmtree(folder / "trials" / trial_id)
        return trial_id

    driver = begin_changed(storage=storage.uri)
    driver.ended(left(driver.next_job(), 0.6))
    assert sorted(path.name for path in (folder / "trials" / "00000").iterdir()) == ["record.json"]
    left(driver.next_job(), 0.9)  # the driver is killed before it knows
    waited = tmp_path / "shared" / "hands" / "trials" / "00002"  # as a study made before left it
    waited.mkdir()
    (waited / "rung.json").write_text("{}")

    again = begin_changed(storage=storage.uri)
    assert again.records["00001"].state == "finished"
    assert again._plan.open_trials == 2
    assert not waited.exists()
    for val_score in (0.5, 0.4):
        again.ended(left(again.next_job(), val_score))
    again.finish()
    ids = [one.trial_id for one in records.trial_records(folder)]
    assert ids == ["00000", "00001", "00003", "00004"]
    stored = sorted((tmp_path / "shared" / "hands" / "trials").glob("*/record.json"))
    assert [records.load_trial(path, "hands").trial_id for path in stored] == ids


def test_a_trial_that_waited_in_a_study_made_before_counts_as_broken_off(
    begin: Begin, folder: Path, calls: list[tuple[str, ...]], leave: Left
) -> None:
    driver = begin()
    driver.ended(leave(driver.next_job(), "stopped", val_score=0.7))
    waited = folder / "trials" / "00001"
    waited.mkdir()
    (waited / "rung.json").write_text("{}")
    (waited / "rung.pt").write_bytes(b"weights")
    calls.clear()
    again = begin()
    assert not waited.exists()
    assert {trial_id: one.state for trial_id, one in again.records.items()} == {"00000": "stopped"}
    assert calls[0] == ("first", "started", "hands", "00000")
    assert again._plan.open_trials == 3
    assert again.next_job().assignment.trial_id == "00002"
