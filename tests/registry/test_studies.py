"""A search as MLflow shows it: nested, complete, and written once however often it is resumed."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("mlflow.tracking")

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.exceptions import MlflowException

from whc.records import CurvePoint, LadderTable, Latency, State, StudyRecord, TrialRecord
from whc.registry import store
from whc.registry.location import Location
from whc.registry.models import Registry
from whc.registry.studies import StudyLog

Record = Callable[..., TrialRecord]


@pytest.fixture
def record(make_trial: Callable[..., TrialRecord], make_latency: Callable[..., Latency]) -> Record:
    """Gives what a trial of three epochs left: `record(id, state)`."""

    def build(trial_id: str, state: State = "finished") -> TrialRecord:
        trained = state in ("finished", "stopped")
        return make_trial(
            trial_id=trial_id,
            study="hands",
            config={
                "seed": 1,
                "task": "classification",
                "model": {"head": "avg", "backbone": {"baseline": {"width": 8}}},
                "sizes": [1, 2],
            },
            state=state,
            reason="" if state == "finished" else "over the limit",
            curve=[CurvePoint(epoch=epoch, val_score=epoch / 10, seconds=2) for epoch in (1, 2, 3)] if trained else [],
            val_score=0.3 if trained else None,
            latency=make_latency(ms=0.2),
            size_bytes=1000,
        )

    return build


@pytest.fixture
def study(make_study: Callable[..., StudyRecord]) -> StudyRecord:
    return make_study(study="hands")


@pytest.fixture
def client(location: Location) -> MlflowClient:
    return store.connect(location)


def runs(client: MlflowClient, kind: str) -> dict[str, Run]:
    experiment = client.get_experiment_by_name("hands")
    result = client.search_runs([experiment.experiment_id], f"tags.`whc.kind` = '{kind}'")
    return {run.info.run_name: run for run in result}


def test_trials_are_runs_under_the_study(
    location: Location, client: MlflowClient, record: Record, study: StudyRecord, tmp_path: Path
) -> None:
    log = StudyLog(location)
    log.study_started(study, [])
    log.trial_ended(record("t000"))
    log.trial_ended(record("t001", "infeasible"))
    log.study_ended("hands", tmp_path)

    (run,) = runs(client, "study").values()
    assert (run.info.run_name, run.info.status) == ("hands", "FINISHED")
    trials = runs(client, "trial")
    assert sorted(trials) == ["t000", "t001"]
    assert {trial.data.tags["mlflow.parentRunId"] for trial in trials.values()} == {run.info.run_id}
    good, bad = trials["t000"], trials["t001"]
    assert good.data.params == {
        "task": "classification",
        "seed": "1",
        "model.head": "avg",
        "model.backbone.baseline.width": "8",
        "sizes": "[1, 2]",
    }
    chosen = {"val_f1": 0.3, "val_f1_by_epoch": 0.3}
    assert good.data.metrics == {**chosen, "latency_ms": 0.2, "size_bytes": 1000}
    curve = client.get_metric_history(good.info.run_id, "val_f1_by_epoch")
    assert [(point.step, point.value) for point in curve] == [(1, 0.1), (2, 0.2), (3, 0.3)]
    assert [point.timestamp - good.info.start_time for point in curve] == [2000, 4000, 6000]
    assert len(client.get_metric_history(good.info.run_id, "val_f1")) == 1
    assert good.info.end_time - good.info.start_time == 6000
    assert (good.info.status, bad.info.status) == ("FINISHED", "KILLED")
    assert (bad.data.tags["state"], bad.data.tags["reason"]) == ("infeasible", "over the limit")
    assert "val_f1" not in bad.data.metrics


def test_the_study_s_run_shows_what_it_reached(
    location: Location,
    client: MlflowClient,
    record: Record,
    study: StudyRecord,
    tmp_path: Path,
    ladder: Callable[..., tuple[LadderTable, Path]],
) -> None:
    table, folder = ladder("ml", study="hands")
    (folder / "report.html").write_text("page")
    (folder / "table.md").write_text("# hands\n\n| variant |\n\n## Left out\n\nmuch")
    log = StudyLog(location)
    log.study_started(study.model_copy(update={"floor": 0.1}), [])
    for trial in (record("t000"), record("t001").model_copy(update={"val_score": 0.6})):
        log.trial_ended(trial)
    log.study_ended("hands", folder)
    (run,) = runs(client, "study").values()
    assert run.data.metrics["best_val_f1"] == 0.6
    assert run.data.metrics["hypervolume"] == pytest.approx(0.5 * math.log(2))  # twice the slowest is the limit
    assert {file.path for file in client.list_artifacts(run.info.run_id)} == {"study.yaml", "report.html", "table.md"}
    Registry(location).ladder_built(table, folder)
    (run,) = runs(client, "study").values()
    assert run.data.metrics["variants"] == 2
    assert run.data.tags["mlflow.note.content"] == "# hands\n\n| variant |\n"


def test_a_resumed_study_goes_on_in_the_same_run(
    location: Location, client: MlflowClient, record: Record, study: StudyRecord, tmp_path: Path
) -> None:
    for known, ended in ([], ["t000", "t001"]), (["t000", "t001", "t002"], ["t003"]):
        log = StudyLog(location)
        log.study_started(study, [record(trial) for trial in known])
        for trial in ended:
            log.trial_ended(record(trial))
        log.study_ended("hands", tmp_path)
    assert len(runs(client, "study")) == 1
    experiment = client.get_experiment_by_name("hands").experiment_id
    assert len(client.search_runs([experiment], "tags.`whc.kind` = 'trial'")) == 4


def test_a_trial_cut_off_half_way_is_written_again_into_its_run(
    location: Location, client: MlflowClient, record: Record, study: StudyRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = StudyLog(location)
    log.study_started(study, [])
    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, "set_terminated", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            log.trial_ended(record("t000"))
    assert runs(client, "trial")["t000"].info.status == "RUNNING"
    log = StudyLog(location)
    log.study_started(study, [])
    log.trial_ended(record("t000"))
    (trial,) = runs(client, "trial").values()
    assert trial.info.status == "FINISHED"
    assert trial.data.metrics["val_f1"] == 0.3
    curve = client.get_metric_history(trial.info.run_id, "val_f1_by_epoch")
    assert [(point.step, point.value) for point in curve] == [(1, 0.1), (2, 0.2), (3, 0.3)]  # no epoch twice


def test_a_locked_database_delays_trials_and_stops_nothing(
    location: Location,
    client: MlflowClient,
    record: Record,
    study: StudyRecord,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = StudyLog(location)
    log.study_started(study, [])
    with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
        patch.setattr(store, "log", lambda *_: (_ for _ in ()).throw(MlflowException("database is locked")))
        log.trial_ended(record("t000"))
    assert "1 trial not logged yet (database is locked)" in caplog.text
    log.trial_ended(record("t001"))
    assert {name: run.info.status for name, run in runs(client, "trial").items()} == {
        "t000": "FINISHED",
        "t001": "FINISHED",
    }
