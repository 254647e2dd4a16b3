"""The driver's book-keeping: hands out trials, takes in their records, and keeps every other view in step with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from whc import records
from whc.plugins import Choice
from whc.records import SearchObserver, StudyRecord, TrialRecord
from whc.search import space
from whc.search.display import Display
from whc.search.searcher import Sampler
from whc.search.study import RUNTIMES
from whc.trials import dispatch
from whc.trials.config import TrialConfig
from whc.trials.run import Assignment, Limits


class Driver:
    """One running search: hands out trials and takes in records; nobody else writes to journal and observers."""

    def __init__(
        self,
        study: StudyRecord,
        folder: Path,
        tree: space.Section,
        observers: Sequence[SearchObserver],
        display: Display,
    ) -> None:
        self.study = study
        self.folder = folder
        self.display = display
        self._observers = observers
        self._runtime: Choice = RUNTIMES.parse(study.runtime)
        self._sampler = Sampler(tree, study, folder / "optuna.journal")
        self.records: dict[str, TrialRecord] = {}
        self._jobs: dict[str, tuple[TrialConfig, Assignment]] = {}
        self._next = 0

    def start(self) -> None:
        """Take in what has ended before, and clear away what broke off."""
        for path in (self.folder / "trials").glob("*"):
            if not path.name.isdigit():
                continue
            self._next = max(self._next, int(path.name) + 1)
            if not (path / "record.json").is_file():
                shutil.rmtree(path)
        for record in records.trial_records(self.folder):
            self.records[record.trial_id] = record
        self._sampler.start(self.records.values())
        self.display.earlier(list(self.records.values()))
        for observer in self._observers:
            observer.study_started(self.study.study, self.study.model_dump(mode="json"))
            for record in self.records.values():
                observer.trial_ended(record)

    @property
    def open_trials(self) -> int:
        """Trials still to be handed out."""
        return self.study.trials - len(self.records) - len(self._jobs)

    def next_job(self) -> dict[str, Any]:
        """The next trial, under the next free number."""
        trial_id = f"{self._next:05d}"
        self._next += 1
        config, drawn = self._sampler.ask(trial_id)
        assignment = Assignment(
            trial_id=trial_id,
            study=self.study.study,
            folder=self.folder / "trials" / trial_id,
            limits=Limits(**self.study.limits),
            runtime=self._runtime,
            reference_ms=self.study.reference_ms,
            cache=self.folder.parent / ".latency",
            drawn=drawn,
        )
        self._jobs[trial_id] = (config, assignment)
        return dispatch.job(config, assignment)

    def ended(self, trial_id: str, error: str = "") -> None:
        """Take in the record of a trial whose worker is done with it; a worker that died leaves none, so write one."""
        config, assignment = self._jobs.pop(trial_id)
        path = assignment.folder / "record.json"
        if not path.is_file():
            record = TrialRecord(
                trial_id=trial_id,
                study=self.study.study,
                config=config.resolved(),
                config_hash=config.hash,
                drawn=assignment.drawn,
                state="failed",
                reason=error or "the worker ended without a record",
                seed=config.training.seed,
                data_fingerprint=self.study.data_fingerprint,
                code_version=records.code_version(),
            )
            records.save(record, path)
        record = records.load(TrialRecord, path)
        self.records[trial_id] = record
        self._sampler.tell(record)
        self.display.ended(record)
        for observer in self._observers:
            observer.trial_ended(record)

    def finish(self) -> None:
        """Write trials.parquet and tell the observers."""
        table = pd.DataFrame([_row(record) for record in self.records.values()])
        temporary = self.folder / ".trials.parquet.tmp"
        table.to_parquet(temporary)
        temporary.replace(self.folder / "trials.parquet")
        for observer in self._observers:
            observer.study_ended(self.study.study, self.folder)


def _row(record: TrialRecord) -> dict[str, Any]:
    """A record as a row of trials.parquet; what is nested goes in as JSON."""
    fields = record.model_dump(mode="json", exclude={"latency", "files", "schema_version"})
    nested = {name: json.dumps(fields[name]) for name in ("config", "drawn", "curve")}
    latency = record.latency.model_dump(include={"ms", "low_ms", "high_ms", "ratio", "host"}) if record.latency else {}
    return {**fields, **nested, **{f"latency_{name}": value for name, value in latency.items()}}
