"""What earlier versions left in a study's folder is read today: made_before/README.md says what it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from whc.config import dump_yaml, load_yaml
from whc.factory import recipe
from whc.records import LadderTable, LatencySession, StudyRecord, load, load_trial, trial_records
from whc.records.studies import REMOVED_SAMPLERS

MADE = Path(__file__).parent / "made_before"
STUDY = MADE / "hands-1"


def test_the_study() -> None:
    study = StudyRecord.load(STUDY)
    assert (study.study, study.trials, study.seed) == ("hands-1", 16, 3)
    assert study.limits == {"latency_ms": 50, "size_bytes": 3500}
    assert study.floor == pytest.approx(0.5611510791366906)
    assert not {"scheduler", "drop_slower", "patience"} & study.model_dump().keys()  # which its study.yaml has


@pytest.mark.parametrize("name", REMOVED_SAMPLERS)
def test_a_study_of_a_sampler_that_was_removed_goes_on_with_auto(name: str, tmp_path: Path) -> None:
    content = load_yaml(STUDY / "study.yaml")
    (tmp_path / "study.yaml").write_text(dump_yaml({**content, "sampler": name}))
    assert StudyRecord.load(tmp_path).sampler == "auto"


def test_its_trials() -> None:
    infeasible, better, faster = trial_records(STUDY)
    assert [trial.state for trial in (infeasible, better, faster)] == ["infeasible", "finished", "finished"]
    assert infeasible.val_score is None
    assert infeasible.reason == "size_bytes +9% over its limit"
    assert better.val_score == pytest.approx(0.7933884297520661)
    assert [point.epoch for point in better.curve] == [1, 2, 3, 4, 5]
    assert better.val_score == max(point.val_score for point in better.curve)


def test_a_trial_that_was_stopped(tmp_path: Path) -> None:
    record = json.loads((STUDY / "trials" / "00006" / "record.json").read_text())
    path = tmp_path / "00006" / "record.json"
    path.parent.mkdir()
    path.write_text(json.dumps({**record, "state": "stopped", "reason": "stopped after 2 of 5 epochs"}))
    assert load_trial(path, "hands-1").state == "stopped"


def test_a_trial_that_waited_is_none_of_those_that_are_over() -> None:
    assert (STUDY / "trials" / "00009" / "rung.json").is_file()
    assert "00009" not in [trial.trial_id for trial in trial_records(STUDY)]


@pytest.mark.parametrize(
    ("file", "has_val_floor"), [(STUDY / "table.json", True), (MADE / "table_schema_1.json", False)]
)
def test_the_table(file: Path, has_val_floor: bool) -> None:
    table = load(LadderTable, file)
    assert [row.name for row in table.variants] == ["hands_m", "hands_l"]
    assert [row.trial_id for row in table.variants] == ["00007", "00006"]
    assert (table.task, table.labels, table.test_split) == ("classification", ["no_waving_hand", "waving_hand"], True)
    assert table.floor_shown == (pytest.approx(0.5808823529411765), "test")
    assert table.val_floor == (pytest.approx(0.5611510791366906) if has_val_floor else None)
    row = table.variants[0]
    scores = [row.score, row.score_low, row.score_high, row.val_score, *row.score_changed.values(), *row.seeds.values()]
    assert scores == pytest.approx([0.372727, 0.320755, 0.421053, 0.659218, 0.472222, 0.342593, 0.663212], abs=1e-6)
    assert (row.latency_ms, row.size_bytes, row.params) == (pytest.approx(0.008707685823014035), 2993, 125)


def test_latencies_of_a_device() -> None:
    session = load(LatencySession, MADE / "device.json")
    assert [Path(file.path).name for file in session.files] == ["hands_l.onnx", "hands_m.onnx"]
    assert all(file.latency.ratio == pytest.approx(0.34, abs=0.01) for file in session.files)


def test_a_recipe() -> None:
    read = recipe.read(MADE / "recipe.yaml")
    assert (read.prefix, read.min_gain, read.min_over_floor) == ("hands", 0.005, 0.01)
