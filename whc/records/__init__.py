"""Files by which the packages exchange data: trial records, ladder tables, ONNX metadata; and observers.

Search and factory never call each other or the registry; they share only these records.
"""

from whc.records.details import LadderDetails, ShownMistake, VariantDetails
from whc.records.files import MEND_RECORD, RECORD_SCHEMA, load, locked, save
from whc.records.ladder import TABLE_SCHEMA, Champion, LadderTable, LeftOut, Part, TriedArtifact, VariantRow
from whc.records.latency import FailedFile, Footprint, IdleReference, Latency, LatencySession, TimedFile, now
from whc.records.metadata import CropRule, ModelMetadata, code_version
from whc.records.metric import NO_TEST_SPLIT, Metric
from whc.records.observers import Gate, LadderObserver, SearchObserver
from whc.records.studies import (
    FileNames,
    SamplerName,
    StudyRecord,
    TimerRecord,
    data_name,
    existing_study,
    study_folder,
)
from whc.records.trials import CurvePoint, State, TrialRecord, load_trial, trial_records
from whc.records.writing import replacing, sha256, write_atomic

__all__ = [
    "MEND_RECORD",
    "NO_TEST_SPLIT",
    "RECORD_SCHEMA",
    "TABLE_SCHEMA",
    "Champion",
    "CropRule",
    "CurvePoint",
    "FailedFile",
    "FileNames",
    "Footprint",
    "Gate",
    "IdleReference",
    "LadderDetails",
    "LadderObserver",
    "LadderTable",
    "Latency",
    "LatencySession",
    "LeftOut",
    "Metric",
    "ModelMetadata",
    "Part",
    "SamplerName",
    "SearchObserver",
    "ShownMistake",
    "State",
    "StudyRecord",
    "TimedFile",
    "TimerRecord",
    "TrialRecord",
    "TriedArtifact",
    "VariantDetails",
    "VariantRow",
    "code_version",
    "data_name",
    "existing_study",
    "load",
    "load_trial",
    "locked",
    "now",
    "replacing",
    "save",
    "sha256",
    "study_folder",
    "trial_records",
    "write_atomic",
]
