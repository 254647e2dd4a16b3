"""A search in MLflow: the study is a run, and its trials are runs nested under it."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlflow import MlflowClient
from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from whc import tasks
from whc.errors import RegistryUnavailable
from whc.records import CurvePoint, LadderTable, SearchObserver, StudyRecord, TrialRecord, trial_records
from whc.records.results import hypervolume_of, scored
from whc.registry import store
from whc.registry.failures import as_registry_errors, reason
from whc.registry.location import Location
from whc.words import quantity

_MLFLOW_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "infeasible": "KILLED", "failed": "FAILED"}
_TRIAL_TAG = "trial_id"
_COUNT_TAG = "trials"  # of a study: how many are over
_PAUSE_S = 60
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _OpenStudy:
    experiment: str
    run_id: str
    run_of_trial: dict[str, str]  # trial id -> run id, for trials whose run has begun
    logged: set[str]  # trials whose run is complete


class StudyLog(SearchObserver):
    """Writes a search to MLflow.

    The records on disk are the truth, and MLflow shows a copy. A database that is locked for a moment, or a server that
    is down, does not stop the search: a record that could not be written is kept, and written with a later trial. What
    is not written at the end is left to `complete`. On resume the study starts with every record; those already written
    are skipped.
    """

    def __init__(self, location: Location) -> None:
        self._location = location
        self._begun: dict[str, StudyRecord] = {}
        self._ended: dict[str, dict[str, TrialRecord]] = {}  # by study, trial id -> record, whether written or not
        self._open: dict[str, _OpenStudy] = {}
        self._waiting: list[TrialRecord] = []
        self._next_try_s = 0.0

    @cached_property
    def _client(self) -> MlflowClient:
        # Connecting creates the database, so connect only when there is a study to write.
        return store.connect_to_write(self._location)

    def study_started(self, study: StudyRecord, earlier: Sequence[TrialRecord]) -> None:
        """Open the study's run, or continue the existing one; write the trials that are over.

        Raises:
            RegistryError: the project's own database cannot be written.
        """
        self._begun[study.study], self._ended[study.study] = study, {}
        try:
            with as_registry_errors(self._location):
                self._opened(study.study)
        except RegistryUnavailable as error:
            _log.warning("%s; the search goes on, and is logged later", error)
            self._pause()
        for record in earlier:
            self.trial_ended(record)

    def trial_ended(self, record: TrialRecord) -> None:
        """Write a trial's run, unless it is already written."""
        self._ended[record.study][record.trial_id] = record
        self._waiting.append(record)
        self._write_waiting()

    def study_ended(self, study: str, folder: Path) -> None:
        """Write what the study reached, attach its page, and close its run; resuming the study opens it again."""
        self._next_try_s = 0.0
        self._write_waiting()
        later = self._location.register_later("the search is not logged", study)
        try:
            with as_registry_errors(self._location):
                run_id = self._opened(study).run_id
                self._client.set_tag(run_id, "folder", str(folder))
                self._client.set_tag(run_id, _COUNT_TAG, str(len(self._ended[study])))
                self._client.log_batch(
                    run_id, metrics=_study_metrics(self._begun[study], list(self._ended[study].values()))
                )
                store.attach(self._client, run_id, folder)
                if self._waiting:  # its run stays open, which says that it is incomplete
                    _log.warning("%s", later)
                else:
                    self._client.set_terminated(run_id)
        except RegistryUnavailable as error:
            _log.warning("%s\n%s", error, later)

    def _opened(self, name: str) -> _OpenStudy:
        """The study's run, which is created or opened again at the first call."""
        if name not in self._open:
            study, client = self._begun[name], self._client
            experiment = store.experiment_id(client, name, self._location)
            run_id = store.study_run_id(client, experiment, study.identity)
            if run_id is None:
                about = {"study": name, store.IDENTITY_TAG: study.identity}
                tags = store.run_tags("study", about, parent=None)
                run_id = client.create_run(experiment, tags=tags, run_name=name).info.run_id
            else:
                client.update_run(run_id, status="RUNNING")
            client.log_dict(run_id, study.model_dump(mode="json"), "study.yaml")
            self._open[name] = _OpenStudy(experiment, run_id, *self._trials_of(experiment, run_id))
        return self._open[name]

    def _pause(self) -> None:
        """Leave a server that does not answer alone for a while: each try may take seconds."""
        if self._location.is_shared:
            self._next_try_s = time.monotonic() + _PAUSE_S
            self.__dict__.pop("_client", None)  # the next try asks first whether it answers

    def _trials_of(self, experiment: str, parent: str) -> tuple[dict[str, str], set[str]]:
        """Run ids of a study's trials by trial id, and the trials that are written completely."""
        run_of_trial: dict[str, str] = {}
        logged: set[str] = set()
        for run in store.runs(self._client, experiment, "trial"):
            if run.data.tags.get(store.PARENT_TAG) == parent:
                trial = run.data.tags[_TRIAL_TAG]
                run_of_trial[trial] = run.info.run_id
                if run.info.status != "RUNNING":
                    logged.add(trial)
        return run_of_trial, logged

    def _write_waiting(self) -> None:
        if time.monotonic() < self._next_try_s:
            return
        try:
            while self._waiting:
                self._write(self._waiting[0])
                del self._waiting[0]
        except (MlflowException, SQLAlchemyError, RegistryUnavailable, RequestException) as error:
            self._pause()
            count, got = quantity(len(self._waiting), "trial"), reason(error, self._location)
            _log.warning("%s: %s not logged yet (%s)", self._location.shown, count, got)

    def _write(self, record: TrialRecord) -> None:
        study = self._opened(record.study)
        if record.trial_id in study.logged:
            return
        now_ms = int(time.time() * 1000)
        run_id = study.run_of_trial.get(record.trial_id)
        if run_id is None:
            begun_ms = now_ms - int(1000 * sum(point.seconds for point in record.curve))
            tags = store.run_tags("trial", {_TRIAL_TAG: record.trial_id}, study.run_id)
            run = self._client.create_run(study.experiment, begun_ms, tags, run_name=record.trial_id)
            run_id = study.run_of_trial[record.trial_id] = run.info.run_id
            new = record.curve
        else:  # its writing was interrupted
            written = self._client.get_metric_history(run_id, _curve_name(record))
            new = record.curve[max((metric.step for metric in written), default=0) :]
        store.log(self._client, run_id, _trial_metrics(record, new, now_ms), record.config, _trial_tags(record))
        # The status is written last: a run still RUNNING on resume was interrupted, and is then completed.
        self._client.set_terminated(run_id, _MLFLOW_STATUS[record.state], now_ms)
        study.logged.add(record.trial_id)


def complete(location: Location, client: MlflowClient, folder: Path) -> str:
    """Log the search of a study's folder, unless it is logged completely; a line that says so, or is empty.

    The study must be locked: nothing may search it meanwhile.
    """
    if not (folder / "study.yaml").is_file():
        return ""
    study = StudyRecord.load(folder)
    experiment = store.experiment_id(client, study.study, location)

    def is_logged() -> bool:
        run = store.study_run(client, experiment, study.identity)
        if run is None or run.info.status != "FINISHED":
            return False
        count = str(sum(1 for _ in (folder / "trials").glob("*/record.json")))
        return bool(run.data.tags.get(_COUNT_TAG, count) == count)  # a search may go on while the server is down

    if is_logged():
        return ""
    records = list(trial_records(folder))
    log = StudyLog(location)
    log.study_started(study, records)
    log.study_ended(study.study, folder)
    return f"logged the search of {study.study}: {quantity(len(records), 'trial')}" if is_logged() else ""


def describe(client: MlflowClient, run_id: str, table: LadderTable, folder: Path) -> None:
    """Show the ladders on the page of their study's run."""
    client.log_metric(run_id, "variants", sum(len(ladder.variants) for ladder in table.ladders))
    note = folder / "table.md"
    if note.is_file():
        ladder, *_ = note.read_text("utf-8").partition("\n## ")  # what was left out is in the attached file
        client.set_tag(run_id, store.NOTE_TAG, ladder[: store.MAX_NOTE_LENGTH])
    store.attach(client, run_id, folder)


def _trial_tags(record: TrialRecord) -> dict[str, str]:
    return {
        _TRIAL_TAG: record.trial_id,
        "state": record.state,
        "reason": record.reason,
        "study": record.study,
        "config_hash": record.config_hash,
        "data_fingerprint": record.data_fingerprint,
        "code_version": record.code_version,
    }


def _score_name(record: TrialRecord) -> str:
    return f"val_{tasks.metric_of(record.config).key}"


def _curve_name(record: TrialRecord) -> str:
    return f"{_score_name(record)}_by_epoch"


def _study_metrics(study: StudyRecord, ended: Sequence[TrialRecord]) -> list[Metric]:
    """The best score so far and the hypervolume."""
    scores = [record.val_score for record in scored(ended) if record.val_score is not None]
    now_ms = int(time.time() * 1000)
    best = [Metric(f"best_val_{study.metric.key}", study.metric.value(max(scores)), now_ms, 0)] if scores else []
    return [*best, Metric("hypervolume", hypervolume_of(study, ended), now_ms, 0)]


def _trial_metrics(record: TrialRecord, new: Sequence[CurvePoint], now_ms: int) -> list[Metric]:
    """The score after each new epoch, at the time when that epoch ended, and the trial's own numbers.

    The score of the chosen epoch is a metric of its own, which MLflow's tables show.
    """
    metric, ended_ms = tasks.metric_of(record.config), float(now_ms)
    curve = []
    for point in reversed(new):
        curve.append(Metric(_curve_name(record), metric.value(point.val_score), int(ended_ms), point.epoch))
        ended_ms -= 1000 * point.seconds
    values = {
        "latency_ms": record.latency.ms if record.latency else None,
        "size_bytes": record.size_bytes,
        "params": record.params,
        "peak_memory_bytes": record.peak_memory_bytes,
    }
    if record.val_score is not None:
        values[_score_name(record)] = metric.value(record.val_score)
    return curve[::-1] + [Metric(key, value, now_ms, 0) for key, value in values.items() if value is not None]
