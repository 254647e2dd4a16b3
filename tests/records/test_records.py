"""What is left on disk comes back, and what is damaged is told in one line."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc import records
from whc.config import fingerprint
from whc.errors import ArtifactError, StudyError, UsageError
from whc.records import (
    CurvePoint,
    LadderTable,
    Latency,
    LeftOut,
    Metric,
    ModelMetadata,
    Part,
    StudyRecord,
    TrialRecord,
    VariantRow,
    existing_study,
    load,
    locked,
    save,
    study_folder,
    trial_records,
    write_atomic,
)

MakeStudy = Callable[..., StudyRecord]
LATENCY = Latency(
    ms=0.12, low_ms=0.11, high_ms=0.13, p90_ms=0.2, p99_ms=0.4, ratio=2, runtime="onnxruntime_cpu", threads=1, host="x"
)
METADATA = ModelMetadata(
    task="classification",
    labels=["neutral", "lächelnd 😀", "null"],
    task_config={"threshold": 0.4},
    layout="frame_stack",
    frames=4,
    frame_rate=12.5,
    height=48,
    width=30,
    resize="stretch",
    interpolation="area",
    study="1",
    trial="true",
    data_fingerprint="0123",
    code_version="0.1+abc",
)
VARIANT = VariantRow(
    name="M",
    score=0.8,
    score_low=0.75,
    score_high=0.84,
    shown="F1 0.8000 (0.750 to 0.840)",
    score_changed={"-12": 0.7, "+12": 0.71},
    parts={"left": Part(score=0.9, low=0.8, high=0.95, shown="F1 0.9000 (0.800 to 0.950)")},
    seeds={"0": 0.81, "1": 0.8},
    val_score=0.81,
    latency_ms=0.12,
    latency_low_ms=0.11,
    latency_high_ms=0.13,
    size_bytes=1000,
    params=200,
    runtime="onnxruntime_cpu",
    file="ladder/m.onnx",
    config={"model": {"width": 8}},
    trial_id="t1",
)


def trial(trial_id: str = "t1", **changes: object) -> TrialRecord:
    fields = {
        "trial_id": trial_id,
        "study": "wave",
        "config": {"model": {"width": 8}},
        "config_hash": fingerprint({"model": {"width": 8}}),
        "drawn": {"model.width": 8},
        "state": "finished",
        "curve": [CurvePoint(epoch=1, val_score=0.5, seconds=0.1)],
        "val_score": 0.5,
        "latency": LATENCY,
        "size_bytes": 1000,
        "params": 10,
        "seed": 0,
        "data_fingerprint": "f",
        "code_version": "0.1",
        "files": {"model.onnx": "00"},
        **changes,
    }
    return TrialRecord.model_validate(fields)


TABLE = LadderTable(
    study="wave",
    prefix="whc",
    task="classification",
    labels=["still", "waving"],
    metric=Metric(key="f1", name="F1"),
    data_fingerprint="f",
    code_version="0.1",
    host="x",
    floor=0.4,
    confidence=0.8,
    noisy=False,
    aa_ratio=1.001,
    variants_at_95=1,
    variants=[VARIANT],
    left_out=[LeftOut(trial_id="t2", val_score=0.4, latency_ms=0.3, reason="dominated by M")],
)


@pytest.mark.parametrize(
    "record",
    [
        trial(),
        trial(state="infeasible", latency=None, val_score=None, reason="over"),
        TABLE,
        VARIANT,
        LATENCY,
        METADATA,
    ],
)
def test_round_trip(tmp_path: Path, record: records.AnyRecord) -> None:
    path = tmp_path / "deeper" / "record.json"
    save(record, path)
    assert records.load(type(record), path) == record
    assert [file.name for file in path.parent.iterdir()] == ["record.json"]


def test_the_schema_is_written_under_its_short_name(tmp_path: Path) -> None:
    save(TABLE, tmp_path / "table.json")
    assert '"schema": 6' in (tmp_path / "table.json").read_text()


def test_a_table_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    content = json.loads(TABLE.model_dump_json(by_alias=True)) | {"schema": 7}
    (tmp_path / "table.json").write_text(json.dumps(content))
    with pytest.raises(StudyError, match=r"table\.json: schema: .* less than or equal to 6, got 7; upgrade whc"):
        load(LadderTable, tmp_path / "table.json")


def test_study_round_trip(tmp_path: Path, make_study: MakeStudy) -> None:
    study = make_study(
        space={"model": {"width": [4, 8], "backbone": {"baseline": {}}}, "lr": {"float": [0.001, 0.1], "log": True}},
        data="runs/daten ä.parquet",
        data_fingerprint="1234567890123e45",
        runtime={"onnxruntime_cpu": {"threads": 1}},
        limits={"latency_ms": 0.5},
    )
    study.save(tmp_path)
    assert StudyRecord.load(tmp_path) == study


def test_a_damaged_study_names_the_key(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("study: wave\ntrails: 3\n")
    with pytest.raises(UsageError, match=r"study\.yaml: trails: unknown key; did you mean 'trials'"):
        StudyRecord.load(tmp_path)


def test_write_atomic_replaces_the_whole_file(tmp_path: Path) -> None:
    for text in ("first, and long", "zweitens ä"):
        write_atomic(tmp_path / "a.txt", text)
        assert (tmp_path / "a.txt").read_text(encoding="utf-8") == text
    assert [file.name for file in tmp_path.iterdir()] == ["a.txt"]


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def crash(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(KeyboardInterrupt):
        write_atomic(path, "new")
    assert path.read_text() == "old"


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff\xfe\x00", b"null", b'{"trial_id": 3}', b'{"unknown": 1, "state": "odd"}']
)
def test_a_damaged_record_is_told_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "record.json"
    path.write_bytes(content)
    with pytest.raises(StudyError) as caught:
        records.load(TrialRecord, path)
    assert str(caught.value).startswith(f"{path}: ")
    assert ": :" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_record(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="must be readable"):
        records.load(TrialRecord, tmp_path / "record.json")


def test_trial_records_are_those_in_place_in_order(tmp_path: Path, make_study: MakeStudy) -> None:
    make_study(study="wave").save(tmp_path)
    for trial_id in ("b", "a", "c"):
        save(trial(trial_id), tmp_path / "trials" / trial_id / "record.json")
    unfinished = tmp_path / "trials" / "d"
    unfinished.mkdir()
    (unfinished / ".record.json.1.tmp").write_text("{")
    assert [record.trial_id for record in trial_records(tmp_path)] == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["wave", "wave-2.1_b", "0", "a" * 64, "-x"])
def test_study_names(tmp_path: Path, name: str) -> None:
    assert study_folder(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "../x", "a/b", "a/../../b", "/etc", "a\\b", "wave\n", "ä", "a b", "a" * 65, "\0"]
)
def test_study_names_that_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="study name: must be letters") as caught:
        study_folder(tmp_path, name)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=8))
def test_no_study_name_leaves_the_folder(name: str) -> None:
    runs = Path("/somewhere/runs")
    try:
        folder = study_folder(runs, name)
    except UsageError:
        return
    assert Path(os.path.normpath(folder)).parent == runs


def test_existing_study(tmp_path: Path, make_study: MakeStudy) -> None:
    with pytest.raises(StudyError, match="must hold a study, got none"):
        existing_study(tmp_path, None)
    for age, name in enumerate(("new", "old")):
        make_study().save(tmp_path / name)
        os.utime(tmp_path / name / "study.yaml", (1000 - age, 1000 - age))
    assert existing_study(tmp_path, None) == tmp_path / "new"
    assert existing_study(tmp_path, "old") == tmp_path / "old"
    (tmp_path / "empty").mkdir()
    with pytest.raises(StudyError, match="no such study, got 'empty'; studies here: old, new"):
        existing_study(tmp_path, "empty")
    with pytest.raises(UsageError):
        existing_study(tmp_path, "../runs")


def test_locked_refuses_a_second_holder(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(StudyError, match="must not be in use"), locked(tmp_path):
        pytest.fail("held twice")
    with locked(tmp_path):
        pass


def test_the_lock_is_let_go_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), locked(tmp_path):
        raise KeyError
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("changes", [{}, {"frame_rate": None}, {"labels": [], "task_config": {"output": "rotation"}}])
def test_metadata_round_trip(changes: dict[str, object]) -> None:
    metadata = METADATA.model_copy(update=changes)
    properties = metadata.to_properties()
    assert all(key.startswith("whc.") and isinstance(value, str) for key, value in properties.items())
    assert ModelMetadata.from_properties({**properties, "author": "somebody"}, "m.onnx") == metadata


def test_metadata_is_readable_by_people() -> None:
    properties = METADATA.to_properties()
    assert properties["whc.labels"] == '["neutral", "lächelnd 😀", "null"]'
    assert properties["whc.task_config"] == '{"threshold": 0.4}'
    assert properties["whc.frame_rate"] == "12.5"
    assert properties["whc.schema"] == "2"


@given(st.lists(st.text(max_size=5), min_size=2, max_size=2), st.text(max_size=5))
def test_metadata_keeps_any_text(labels: list[str], study: str) -> None:
    metadata = METADATA.model_copy(update={"labels": labels, "study": study})
    assert ModelMetadata.from_properties(metadata.to_properties(), "m.onnx") == metadata


PROPERTIES = METADATA.to_properties()
REQUIRED = [field.alias or name for name, field in ModelMetadata.model_fields.items() if field.is_required()]


@pytest.mark.parametrize(
    ("properties", "said"),
    [
        ({}, "must carry whc's metadata, got none"),
        ({"whc.schema": "3", "whc.mood": "good"}, "metadata schema must be at most 2, got 3; upgrade whc"),
        (PROPERTIES | {"whc.schema": "3"}, "upgrade whc"),
        (PROPERTIES | {"whc.schema": "one"}, "damaged"),
        (PROPERTIES | {"whc.schema": '"2"'}, "upgrade whc"),
        (PROPERTIES | {"whc.height": "tall"}, "damaged"),
        (PROPERTIES | {"whc.mood": "1"}, "damaged"),
        *(({k: v for k, v in PROPERTIES.items() if k != f"whc.{name}"}, "damaged") for name in REQUIRED),
    ],
)
def test_metadata_that_is_refused(properties: dict[str, str], said: str) -> None:
    with pytest.raises(ArtifactError, match=said) as caught:
        ModelMetadata.from_properties(properties, "m.onnx")
    assert str(caught.value).startswith("m.onnx: ")
    assert "\n" not in str(caught.value)


def test_code_version_starts_with_the_version() -> None:
    from whc import __version__

    assert records.code_version().startswith(__version__)


def project_with_study(project: Path, data: Path, make_study: Callable[..., StudyRecord]) -> Path:
    folder = project / "runs" / "hands"
    make_study(data=records.data_name(data, folder)).save(folder)
    return folder


@pytest.mark.parametrize("is_copied", [False, True])
def test_a_moved_or_copied_project_has_its_own_data(
    is_copied: bool, tmp_path: Path, make_study: Callable[..., StudyRecord]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    (old / "data").mkdir(parents=True)
    (old / "data" / "hands.parquet").touch()
    project_with_study(old, old / "data" / "hands.parquet", make_study)
    if is_copied:
        shutil.copytree(old, new)
    else:
        old.rename(new)
    folder = new / "runs" / "hands"
    assert StudyRecord.load(folder).data == ["data/hands.parquet"]
    assert StudyRecord.load(folder).data_paths(folder) == [new / "data" / "hands.parquet"]


def test_data_of_the_current_folder_is_named_from_it(
    tmp_path: Path, make_study: Callable[..., StudyRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("hands.parquet").touch()
    folder = project_with_study(Path(), Path("hands.parquet"), make_study)
    assert StudyRecord.load(folder).data == ["hands.parquet"]
    assert StudyRecord.load(folder).data_paths(folder) == [tmp_path / "hands.parquet"]


def test_data_elsewhere_keeps_its_whole_path(tmp_path: Path, make_study: Callable[..., StudyRecord]) -> None:
    elsewhere = tmp_path / "elsewhere" / "hands.parquet"
    elsewhere.parent.mkdir()
    elsewhere.touch()
    for spelt in (elsewhere, tmp_path / "project" / ".." / "elsewhere" / "hands.parquet"):
        (tmp_path / "project").mkdir(exist_ok=True)
        folder = project_with_study(tmp_path / "project", spelt, make_study)
        assert StudyRecord.load(folder).data == [str(elsewhere)]
        assert StudyRecord.load(folder).data_paths(folder) == [elsewhere]
    (tmp_path / "project" / "hands.parquet").touch()  # of the same name, but not it
    assert StudyRecord.load(folder).data_paths(folder) == [elsewhere]


def test_the_end_of_a_path_that_is_gone_is_looked_for(tmp_path: Path, make_study: Callable[..., StudyRecord]) -> None:
    folder, data = tmp_path / "runs" / "hands", tmp_path / "data" / "hands.parquet"
    study = make_study(data="/no/such/project/data/hands.parquet")
    assert study.data_paths(folder) == [Path(study.data[0])]
    data.parent.mkdir()
    data.touch()
    assert study.data_paths(folder) == [data]
