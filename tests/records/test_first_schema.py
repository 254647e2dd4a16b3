"""What whc wrote while it knew one task is read as it is written today."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from whc.config import fingerprint
from whc.errors import ArtifactError
from whc.models.assemble import build
from whc.records import LadderTable, Metric, ModelMetadata, StudyRecord, load, trial_records
from whc.training import checkpoint
from whc.training.checkpoint import Checkpoint
from whc.training.loop import Best
from whc.trials.artifacts import restore
from whc.trials.config import TrialConfig
from whc.trials.learning import trainer

F1 = Metric(key="f1", name="F1")
STUDY = """\
study: wave
space_name: tiny
space: {model: {width: [4, 8]}}
data: hands.parquet
data_fingerprint: 0123456789abcdef
recipe: example
trials: 3
workers: 1
runtime: onnxruntime_cpu
limits: {latency_ms: 0.5}
seed: 0
reference_ms: 0.1
constant_f1: 0.667
host: here
code_version: 0.1.0
"""
LATENCY = {
    "ms": 0.12,
    "low_ms": 0.11,
    "high_ms": 0.13,
    "p90_ms": 0.2,
    "p99_ms": 0.4,
    "ratio": 1.2,
    "runtime": "onnxruntime_cpu",
    "threads": 1,
    "host": "here",
    "noisy": False,
}
TRIAL = {
    "schema": 1,
    "trial_id": "00000",
    "study": "wave",
    "config": {"model": {"width": 8}},
    "config_hash": fingerprint({"model": {"width": 8}}),
    "drawn": {"model.width": 8},
    "state": "finished",
    "reason": "",
    "curve": [{"epoch": 1, "val_f1": 0.5, "seconds": 0.1}, {"epoch": 2, "val_f1": 0.8, "seconds": 0.1}],
    "val_f1": 0.8,
    "latency": LATENCY,
    "size_bytes": 1000,
    "params": 10,
    "peak_memory_bytes": 20000,
    "before_s": 1.0,
    "elapsed_s": 2.0,
    "seed": 0,
    "data_fingerprint": "0123456789abcdef",
    "code_version": "0.1.0",
    "files": {"model.onnx": "00"},
}
VARIANT: dict[str, Any] = {
    "name": "whc_n",
    "f1": 0.8,
    "f1_low": 0.75,
    "f1_high": 0.84,
    "f1_rotated": {"-12": 0.7, "+12": 0.71},
    "val_f1": 0.81,
    "seeds": {"0": 0.81, "1": 0.8},
    "latency_ms": 0.12,
    "latency_low_ms": 0.11,
    "latency_high_ms": 0.13,
    "latency_ratio": 1.2,
    "size_bytes": 1000,
    "params": 10,
    "runtime": "onnxruntime_cpu",
    "onnx": "ladder/whc_n.onnx",
    "config": {"model": {"width": 8}},
    "trial_id": "00000",
    "notes": [],
}
TABLE: dict[str, Any] = {
    "schema": 2,
    "study": "wave",
    "prefix": "whc",
    "task": "classification",
    "labels": ["still", "waving"],
    "data_fingerprint": "0123456789abcdef",
    "code_version": "0.1.0",
    "host": "here",
    "noisy": False,
    "aa_ratio": 1.001,
    "test_split": True,
    "constant_f1": 0.6,
    "constant_val_f1": 0.667,
    "confidence": 0.8,
    "variants_at_95": 1,
    "variants": [VARIANT],
    "left_out": [{"trial_id": "00001", "val_f1": 0.7, "latency_ms": 0.3, "reason": "dominated by trial 00000"}],
}
PROPERTIES = {
    "whc.schema": "1",
    "whc.task": "classification",
    "whc.labels": '["still", "waving"]',
    "whc.positive": "waving",
    "whc.layout": "image",
    "whc.frames": "1",
    "whc.frame_rate": "12.5",
    "whc.height": "48",
    "whc.width": "30",
    "whc.resize": "stretch",
    "whc.interpolation": "area",
    "whc.threshold": "0.4",
    "whc.study": "wave",
    "whc.trial": "00000",
    "whc.data_fingerprint": "0123456789abcdef",
    "whc.code_version": "0.1.0",
}


def test_a_study_and_its_trials(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    record = tmp_path / "trials" / "00000" / "record.json"
    record.parent.mkdir(parents=True)
    record.write_text(json.dumps(TRIAL))
    study = StudyRecord.load(tmp_path)
    assert (study.floor, study.metric, study.labels, study.min_over_floor) == (0.667, F1, [], 0.05)
    (trial,) = trial_records(tmp_path)
    assert trial.val_score == 0.8
    assert [point.val_score for point in trial.curve] == [0.5, 0.8]
    study.save(tmp_path)  # as `whc search --resume` does
    assert "constant_f1" not in (tmp_path / "study.yaml").read_text()
    assert StudyRecord.load(tmp_path) == study


@pytest.mark.parametrize("schema", [1, 2])
def test_a_table(tmp_path: Path, schema: int) -> None:
    newer = {"test_split", "constant_val_f1"} if schema == 1 else set()
    content = {name: value for name, value in TABLE.items() if name not in newer} | {"schema": schema}
    (tmp_path / "table.json").write_text(json.dumps(content))
    table = load(LadderTable, tmp_path / "table.json")
    assert (table.metric, table.test_split, table.floor_shown) == (F1, True, (0.6, "test"))
    assert table.val_floor == (None if schema == 1 else 0.667)
    (row,) = table.variants
    assert (row.score, row.score_low, row.score_high, row.val_score) == (0.8, 0.75, 0.84, 0.81)
    assert row.score_changed == {"-12": 0.7, "+12": 0.71}
    assert row.parts == {}
    assert [left.val_score for left in table.left_out] == [0.7]


def test_a_table_without_a_test_split(tmp_path: Path) -> None:
    unscored = {"f1": None, "f1_low": None, "f1_high": None, "f1_rotated": {"-12": None, "+12": None}}
    content = TABLE | {"test_split": False, "constant_f1": None, "variants": [VARIANT | unscored]}
    (tmp_path / "table.json").write_text(json.dumps(content))
    table = load(LadderTable, tmp_path / "table.json")
    assert table.floor_shown == (0.667, "validation")
    assert table.variants[0].score is None


def test_the_metadata_of_a_file() -> None:
    metadata = ModelMetadata.from_properties(PROPERTIES, "m.onnx")
    assert metadata.task_config == {"threshold": 0.4}
    assert (metadata.labels, metadata.frame_rate, metadata.trial) == (["still", "waving"], 12.5, "00000")


@pytest.mark.parametrize("name", ["threshold", "positive"])
def test_metadata_that_lack_something(name: str) -> None:
    properties = {key: value for key, value in PROPERTIES.items() if key != f"whc.{name}"}
    with pytest.raises(ArtifactError, match=rf"m\.onnx: whc's metadata is damaged \(.*{name}.*export the model again"):
        ModelMetadata.from_properties(properties, "m.onnx")


def test_a_checkpoint_and_the_progress_in_it(tmp_path: Path, bright_corpus: Any) -> None:
    """Training goes on from it: nothing that it learnt, nor its curve, is lost."""
    config = TrialConfig.model_validate(
        {"model": {"width": 4, "depth": 1, "image_size": 16}, "training": {"epochs": 3, "batch_size": 16}}
    )
    training = trainer(config, bright_corpus)
    next(epochs := training.epochs())
    state, best = training.state(), training.best
    epochs.close()
    assert best is not None
    content = {
        "schema": 1,
        "config": config.resolved(),
        "weights": best.weights,
        "labels": ["dark", "bright"],
        "frame_rate": 10.0,
        "data_fingerprint": "bright",
        "code_version": "0.1.0",
        "epoch": 1,
        "val_f1": best.val_score,
        "study": "wave",
        "trial": "00000",
        "interpolation": "area",
        "progress": state
        | {
            "curve": [{"epoch": 1, "val_f1": best.val_score, "seconds": 0.1}],
            "best": {"epoch": 1, "val_f1": best.val_score, "weights": best.weights},
        },
    }
    torch.save(content, tmp_path / "checkpoint.pt")
    read = checkpoint.load(tmp_path / "checkpoint.pt")
    assert read.val_score == best.val_score
    restored, network = restore(read, "checkpoint.pt")
    assert restored == config
    assert all(torch.equal(tensor, best.weights[name]) for name, tensor in network.state_dict().items())
    other = trainer(config, bright_corpus)
    assert read.progress is not None
    other.restore(read.progress)
    assert [point.val_score for point in other.curve] == [best.val_score]
    assert isinstance(other.best, Best)
    assert other.best.val_score == best.val_score
    assert [epoch.epoch for epoch in other.epochs()] == [2, 3]


def test_a_checkpoint_without_progress(tmp_path: Path) -> None:
    config = TrialConfig.model_validate({"model": {"width": 4, "depth": 1, "image_size": 8}})
    fields = {
        "config": config.resolved(),
        "weights": dict(build(config.model, 1).state_dict()),
        "labels": ["no", "yes"],
        "frame_rate": None,
        "data_fingerprint": "0123",
        "code_version": "0.1.0",
        "epoch": 3,
    }
    torch.save({"schema": 1, **fields, "val_f1": 0.75}, tmp_path / "checkpoint.pt")
    read = checkpoint.load(tmp_path / "checkpoint.pt")
    assert isinstance(read, Checkpoint)
    assert (read.val_score, read.progress) == (0.75, None)
