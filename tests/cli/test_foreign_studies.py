"""What is read back from a study's folder is checked first: a foreign or damaged one is told in one line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc.config import dump_yaml, fingerprint, load_yaml
from whc.data.synthetic import render
from whc.records import CurvePoint, Latency, StudyRecord, TrialRecord, save

COMMANDS = ("studies show foreign", "search --resume --study foreign", "factory build-table --study foreign")
SPACE = {"model": {"width": [32, 64], "dropout": 0.3}, "training": {"epochs": 12}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render(tmp_path_factory.mktemp("data"), clips=6)


@pytest.fixture
def study(
    home: Path,
    data: Path,
    make_study: Callable[..., StudyRecord],
    make_trial: Callable[..., TrialRecord],
    make_latency: Callable[..., Latency],
) -> Path:
    """A study of one trial, all of which has ended."""
    from whc.data.dataset import load
    from whc.tasks.classification import Classification

    folder = home / "runs" / "foreign"
    facts = {"data": str(data), "data_fingerprint": load(data, [(32, 32)], Classification).fingerprint, "trials": 1}
    make_study(study="foreign", space=SPACE, **facts).save(folder)
    curve = [CurvePoint(epoch=1, val_score=0.8, seconds=1.0)]
    ended = {"study": "foreign", "drawn": {"model.width": 32}, "val_score": 0.8, "curve": curve, "params": 10}
    record = make_trial(**ended, latency=make_latency(0.5), size_bytes=1000)
    save(record, folder / "trials" / "00000" / "record.json")
    return folder


@pytest.fixture(autouse=True)
def no_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Creating a registry's tables takes seconds, and no command gets as far as writing to it."""
    monkeypatch.setattr("whc.registry.studies.StudyLog", lambda location: None)


def changed(record: Any, key: str, value: Any) -> Any:
    """A nested mapping with another value at a dotted key."""
    *sections, last = key.split(".")
    node = record
    for section in sections:
        node = node[int(section) if section.isdecimal() else section]
    node[last] = value
    return record


NAN = float("nan")
RECORDS = [
    ("trial_id", "../../../../PWNED", "trial_id: String should match pattern"),
    ("trial_id", "00001", "trial_id: must be '00000', as its folder, got '00001'"),
    ("study", "another", "study: must be 'foreign', as in study.yaml, got 'another'"),
    ("study", "../x", "study: String should match pattern"),
    ("state", "waiting", "state: Input should be 'finished', 'stopped', 'infeasible' or 'failed'"),
    ("latency", None, "latency: required of a trial that has trained"),
    ("val_score", None, "val_score: required of a trial that is finished"),
    ("val_score", 1.5, "val_score: Input should be less than or equal to 1, got 1.5"),
    ("val_score", NAN, "val_score: "),
    ("size_bytes", -1, "size_bytes: Input should be greater than or equal to 0"),
    ("curve.0.val_score", -0.1, "curve.0.val_score: Input should be greater than or equal to 0"),
    ("curve.0.epoch", 0, "curve.0.epoch: Input should be greater than or equal to 1"),
    *(("latency." + name, value, f"latency.{name}: ") for name in ("ms", "ratio", "low_ms") for value in (0, -1, NAN)),
    ("config.model.width", 99_999, "config: must be what its hash is of"),
    ("config", {}, "config: must be what its hash is of"),
]


@pytest.mark.parametrize(("key", "value", "told"), RECORDS)
def test_a_record_that_no_trial_leaves(key: str, value: Any, told: str, study: Path, whc_command: Any) -> None:
    path = study / "trials" / "00000" / "record.json"
    path.write_text(json.dumps(changed(json.loads(path.read_text()), key, value)))
    before = {found for found in study.parent.parent.rglob("*") if found.name != "lock"}
    for command in COMMANDS:
        ended = whc_command(*command.split())
        assert (ended.code, ended.out) == (1, ""), ended.err
        (line,) = ended.err.splitlines()
        assert line.startswith(f"error: {Path('runs/foreign/trials/00000/record.json')}: {told}"), line
        assert "; delete the file and use --resume" in line
    assert {found for found in study.parent.parent.rglob("*") if found.name != "lock"} == before


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("drawn.model.width", 48, "drawn.model.width: must be what the study's space can draw, got: 48 is no choice"),
        ("drawn.model.width", None, "drawn.model.width: must be what"),
        ("config.training.epochs", 0, "config: must be what the study's space can draw"),
        ("config.training.epochs", "x", "config: must be what the study's space can draw"),
        ("config", {}, "config: must be what the study's space can draw"),
    ],
)
def test_a_record_of_another_space_is_not_resumed(
    key: str, value: Any, told: str, study: Path, whc_command: Any
) -> None:
    path = study / "trials" / "00000" / "record.json"
    record = json.loads(path.read_text())
    if key.startswith("drawn."):
        record["drawn"][key.removeprefix("drawn.")] = value
    else:
        changed(record, key, value)
        record["config_hash"] = fingerprint(record["config"])
    path.write_text(json.dumps(record))
    ended = whc_command("search", "--resume")
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {Path('runs/foreign/trials/00000')}: {told}"), line


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("study", "../../x"),
        ("reference_ms", 0),
        ("floor", 2),
        ("trials", 0),
        ("workers", -1),
        ("limits", {"latency_ms": 0}),
        ("limits", {"mood": 1}),
        ("sampler", "guess"),
        ("runtime", "abacus"),
        ("runtime", {"onnxruntime_cpu": {"threads": -1}}),
        ("warm_start", ["../x"]),
        ("space", {"model": {"width": ["wide"]}}),
    ],
)
def test_a_study_that_no_search_begins(key: str, value: Any, study: Path, whc_command: Any) -> None:
    content = load_yaml(study / "study.yaml")
    (study / "study.yaml").write_text(dump_yaml({**content, key: value}))
    ended = whc_command("search", "--resume", "--study", "foreign")
    assert ended.code in (1, 2)
    assert ended.out == ""
    assert "Traceback" not in ended.err
    assert all(line.startswith("error: ") and key in line for line in ended.err.splitlines()), ended.err


def test_a_storage_is_not_touched_unless_it_is_named_again(study: Path, home: Path, whc_command: Any) -> None:
    theirs = home / "victim" / "foreign" / "trials" / "00007" / "thesis.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("years of work")
    content = load_yaml(study / "study.yaml")
    storage = str(home / "victim")
    (study / "study.yaml").write_text(dump_yaml({**content, "storage": storage}))
    ended = whc_command("search", "--resume", "--study", "foreign")
    assert (ended.code, ended.out) == (1, "")
    (line,) = ended.err.splitlines()
    assert line.startswith("error: runs/foreign/study.yaml: storage: must be named again")
    assert line.endswith(f"add --storage {storage}")
    assert theirs.read_text() == "years of work"
