"""The driver of a search: it hands out trials, takes in their records, and tells the observers."""

from __future__ import annotations

import errno
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import pandas as pd

from whc import records
from whc.errors import StudyError, WhcError, problem
from whc.latency.timer import Timer
from whc.plugins import Choice
from whc.records import SearchObserver, StudyRecord, TrialRecord, replacing
from whc.search.sampling import warm_start
from whc.search.sampling.plan import Plan
from whc.search.space import space
from whc.trials.dispatch import TrialJob
from whc.trials.packing import Packing
from whc.trials.run import Assignment, Limits
from whc.trials.storage import RECORD_FILE, Storage

FETCHED_FILES = ("checkpoint.pt", "model.onnx", RECORD_FILE)  # of a trial, from where workers leave it
MEND_STEP = "delete its record and use --resume"
MIN_FREE_BYTES = 4 << 20  # of a disk: with less, workers die


class Driver:
    """One running search: it plays the plan on workers, and alone writes to the journal and the observers.

    Call `start`; then `next_job` whenever a worker is free and `ended` whenever one is done, until `over`; then, in any
    case, `finish`. What ends it early is in `halted`: a full disk, or anything that went wrong.
    """

    def __init__(
        self,
        study: StudyRecord,
        folder: Path,
        tree: space.Section,
        observers: Sequence[SearchObserver],
        timer: Timer | None = None,
    ) -> None:
        self.study = study
        self.folder = folder
        self._observers = observers
        self._tree = tree
        self._timer = timer
        self._runtime: Choice = study.chosen_runtime
        self._plan = Plan(study, tree, folder / "optuna.journal", self.elapsed_s)
        self._jobs: dict[str, TrialJob] = {}
        self._storage = Storage(study.storage, study.study) if study.storage else None
        self.packing = Packing(0, {})
        self.halted: Exception | None = None
        self._began = time.time()

    def start(self) -> None:
        """Take in the trials that have ended, and remove the folders of those that broke off."""
        remaining, number = [], 0
        for trial_id in self._storage.trial_ids() if self._storage else []:
            self._fetch(trial_id)
        for path in sorted((self.folder / "trials").glob("*")):
            if not path.name.isdecimal() or path.is_symlink():
                continue
            number = max(number, int(path.name) + 1)
            record = self._left(path)
            if record is None:
                shutil.rmtree(path)
                if self._storage:
                    self._storage.drop(path.name)
            else:
                self._check_drawn(record, path)
                remaining.append(record)
        self._began = time.time() - max((record.elapsed_s for record in remaining), default=0.0)
        earlier = warm_start.earlier_trials(self.study.warm_start, self.folder.parent, self.study, self._tree)
        self._plan.start(remaining, earlier, number)
        for observer in self._observers:
            observer.study_started(self.study, remaining)

    def _left(self, folder: Path) -> TrialRecord | None:
        """The record of a trial that is over; None of a trial that broke off."""
        path = folder / RECORD_FILE
        return records.load_trial(path, self.study.study) if path.is_file() else None

    def _check_drawn(self, record: TrialRecord, folder: Path) -> None:
        """Raises StudyError where the space could not have drawn a record."""
        where = f"{folder}: drawn"
        try:
            for key, distribution in space.distributions(self._tree).items():
                if key in record.drawn:
                    where = f"{folder}: drawn.{key}"
                    warm_start.in_range(distribution, record.drawn[key])
            where = f"{folder}: config"
            epochs = record.config["training"]["epochs"]
            if not isinstance(epochs, int) or epochs < max(1, len(record.curve)):
                raise ValueError(f"training.epochs of {epochs} does not fit the curve")
        except (ValueError, TypeError, KeyError) as error:
            reason = str(error).splitlines()[0]
            raise StudyError(f"{where}: must be what the study's space can draw, got: {reason}; {MEND_STEP}") from error

    def _fetch(self, trial_id: str) -> None:
        """Fetch a trial from the storage, unless its record is here."""
        folder = self.folder / "trials" / trial_id
        if self._storage and not (folder / RECORD_FILE).is_file():
            folder.mkdir(parents=True, exist_ok=True)
            self._storage.fetch(trial_id, FETCHED_FILES, folder)

    def _end(self, record: TrialRecord) -> None:
        """Write a record that no worker wrote."""
        folder = self.folder / "trials" / record.trial_id
        records.save(record, folder / RECORD_FILE)
        if self._storage:
            self._storage.store(record.trial_id, folder)

    @property
    def records(self) -> dict[str, TrialRecord]:
        """The trials that are over."""
        return self._plan.records

    @property
    def over(self) -> bool:
        """Whether the search has nothing left to do, or cannot go on."""
        return self.halted is not None or self._plan.over

    @property
    def complete(self) -> bool:
        """Whether the search has nothing left to do."""
        return self._plan.over

    @property
    def nearest_miss(self) -> TrialRecord | None:
        """If none of the first trials keeps the limits, the trial that comes nearest; None otherwise."""
        return self._plan.nearest_miss

    @contextmanager
    def _halts_when_full(self) -> Iterator[None]:
        """A full disk ends the search; it can be resumed, as a record on disk is whole or does not exist."""
        try:
            yield
        except OSError as error:
            has_room = shutil.disk_usage(self.folder).free >= MIN_FREE_BYTES
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) and has_room:
                raise
            self._halt()

    def _halt(self) -> None:
        resumed = f"--study {self.study.study}" + (f" --storage {self.study.storage}" if self.study.storage else "")
        next_step = f"free some, then `whc search --resume {resumed}`"
        free = f"{shutil.disk_usage(self.folder).free >> 10} KiB"
        self.halted = StudyError(problem(str(self.folder), "the disk must have room for trials", free, next_step))

    def elapsed_s(self) -> float:
        """Seconds of searching so far, pauses of the whole search left out."""
        return time.time() - self._began

    def next_job(self) -> TrialJob | None:
        """The job of a free worker; None while there is none."""
        trial = None
        if not self.halted:
            with self._halts_when_full():
                trial = self._plan.next()
        if trial is None:
            return None
        assignment = Assignment(
            trial_id=trial.trial_id,
            study=self.study.study,
            folder=self.folder / "trials" / trial.trial_id,
            limits=Limits(**self.study.limits),
            runtime=self._runtime,
            reference_ms=self.study.reference_ms,
            cache=self.folder.parent / ".latency",
            drawn=trial.drawn,
            began=self._began,
            is_retry=trial.is_retry,
            storage=self._storage,
            timer=self._timer,
        )
        job = TrialJob(trial.config, assignment, self.packing.share(trial.config, alone=trial.is_retry))
        self._jobs[trial.trial_id] = job
        return job

    def runs(self, trial_id: str, what: str, epoch: int = 0, of_epochs: int = 0) -> None:
        """Tell the observers that a worker has taken a trial, or has ended an epoch of it."""
        for observer in self._observers:
            observer.trial_runs(trial_id, what, epoch, of_epochs)

    def timer_lost(self, trial_id: str, reason: str) -> None:
        """Tell the observers that a trial waits for its timer; with an empty reason that it goes on."""
        for observer in self._observers:
            observer.timer_lost(trial_id, reason)

    def ended(self, trial_id: str, error: str = "") -> None:
        """Take in what a worker left of a trial; where the worker died, the trial is repeated once.

        Args:
            trial_id: the trial.
            error: what stopped the worker, in a few words or as a traceback; empty where nothing did.
        """
        with self._halts_when_full():
            self._ended(trial_id, error)

    def _ended(self, trial_id: str, error: str) -> None:
        job = self._jobs.pop(trial_id)
        self._fetch(trial_id)
        record = self._left(job.assignment.folder)
        if record is None and shutil.disk_usage(self.folder).free < MIN_FREE_BYTES:
            self._halt()
            return
        if record is None:
            if "\n" in error:
                records.write_atomic(job.assignment.folder / "traceback.txt", error)
            reason = error.strip().rpartition("\n")[2] or "the worker left no record"
            if self._plan.died(trial_id):
                self.runs(trial_id, f"{reason}, tried again")
                return
            record = self._failed(job, f"{reason}, twice")
            self._end(record)
        self._plan.ended(record)
        share = self._plan.expected_share
        for observer in self._observers:
            observer.trial_ended(record)
            if share is not None:
                observer.expected(share)

    def _failed(self, job: TrialJob, reason: str) -> TrialRecord:
        return TrialRecord(
            trial_id=job.assignment.trial_id,
            study=self.study.study,
            config=job.config.resolved(),
            config_hash=job.config.hash,
            drawn=job.assignment.drawn,
            state="failed",
            reason=reason,
            elapsed_s=self.elapsed_s(),
            seed=job.config.training.seed,
            data_fingerprint=self.study.data_fingerprint,
            code_version=records.code_version(),
        )

    def finish(self) -> None:
        """Write trials.parquet, and tell the observers."""
        with self._halts_when_full():
            self._write_table()
        for observer in self._observers:
            # Where the disk is full, what observers write to may be full, too.
            with self._halts_when_full(), suppress(WhcError) if self.halted else nullcontext():
                observer.study_ended(self.study.study, self.folder)

    def _write_table(self) -> None:
        table = pd.DataFrame([_row(record) for record in self.records.values()])
        table.attrs["study"] = self.study.model_dump(mode="json")
        with replacing(self.folder / "trials.parquet") as temporary:
            table.to_parquet(temporary)


def _row(record: TrialRecord) -> dict[str, Any]:
    """A record as a row of trials.parquet; nested fields are JSON."""
    fields = record.model_dump(mode="json", exclude={"files", "schema_version"})
    nested = {name: json.dumps(fields[name]) for name in ("config", "drawn", "curve", "latency")}
    latency = record.latency.model_dump(include={"ms", "low_ms", "high_ms", "ratio", "host"}) if record.latency else {}
    return {**fields, **nested, **{f"latency_{name}": value for name, value in latency.items()}}
