"""Trials: their records, and the functions that read and check them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import AliasChoices, ConfigDict, Field

from whc.config import fingerprint
from whc.errors import StudyError, problem
from whc.records.files import MEND_RECORD, RECORD_SCHEMA, Count, FolderName, Record, Seconds, Share, load
from whc.records.latency import Latency
from whc.records.studies import StudyRecord

State = Literal["finished", "stopped", "infeasible", "failed"]  # `stopped`: cut short, in studies made before


class CurvePoint(Record):
    """Validation score after an epoch (counted from 1), and the seconds that epoch took."""

    epoch: int = Field(ge=1)
    val_score: Share = Field(validation_alias=AliasChoices("val_score", "val_f1"))  # val_f1 in schema 1
    seconds: Seconds


class TrialRecord(Record):
    """One trial: `record.json` in its folder. The trial is over when this file is renamed into place.

    `drawn` holds the sampler's values, by dotted key; `config` is the complete configuration made of them. `before_s`
    counts the seconds before training (export, latency); `elapsed_s` those from the start of the search to the end of
    the trial, without the pauses of the search.
    """

    schema_version: int = Field(RECORD_SCHEMA, alias="schema", le=RECORD_SCHEMA)
    trial_id: FolderName
    study: FolderName
    config: dict[str, Any]
    config_hash: str
    drawn: dict[str, Any] = {}
    state: State
    reason: str = ""
    curve: list[CurvePoint] = []
    val_score: Share | None = Field(None, validation_alias=AliasChoices("val_score", "val_f1"))
    latency: Latency | None = None
    size_bytes: Count | None = None
    params: Count | None = None
    peak_memory_bytes: Count | None = None
    before_s: Seconds = 0.0
    elapsed_s: Seconds = 0.0
    seed: int
    data_fingerprint: str
    code_version: str
    files: dict[str, str] = {}

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


def trial_records(study_folder: Path) -> Iterator[TrialRecord]:
    """Records of all trials that are over, in order of trial id.

    Raises:
        StudyError: a record is damaged, or of another study.
    """
    study = StudyRecord.load(study_folder).study
    for path in sorted((study_folder / "trials").glob("*/record.json")):
        yield load_trial(path, study)


def load_trial(path: Path, study: str) -> TrialRecord:
    """Read the record of a trial, and check that it is complete, unchanged, and in the right folder.

    Args:
        path: record.json in the trial's folder.
        study: the name of the trial's study.

    Raises:
        StudyError: the record is missing, damaged, or of another trial.
    """
    record = load(TrialRecord, path)
    place, has_finished = path.parent.name, record.state == "finished"
    rules: tuple[tuple[str, object, object, str], ...] = (
        ("trial_id", record.trial_id, record.trial_id == place, f"must be {place!r}, as its folder"),
        ("study", record.study, record.study == study, f"must be {study!r}, as in study.yaml"),
        ("config", record.config_hash, fingerprint(record.config) == record.config_hash, "must be what its hash is of"),
        ("val_score", None, record.val_score is not None or not has_finished, "required of a trial that is finished"),
        ("latency", None, record.latency or not (has_finished or record.curve), "required of a trial that has trained"),
    )
    for field, got, is_met, rule in rules:
        if not is_met:
            raise StudyError(problem(f"{path}: {field}", rule, got, MEND_RECORD))
    return record
