"""Searches played on recorded trainings: the same trials as a real search would run, in simulated time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
import pytest

from whc.errors import UsageError
from whc.records import StudyRecord
from whc.search.running.replay import TrainingTable, replay
from whc.search.space import space
from whc.trials.config import TrialConfig

EPOCHS = 4
# One training for each width and depth: wider is better and slower, deeper only slower.
F1 = {4: 0.6, 8: 0.8}


@pytest.fixture
def study(study: StudyRecord) -> StudyRecord:
    changes = {"trials": 12, "workers": 2, "sampler": "random"}
    return study.model_copy(update=changes)


@pytest.fixture
def raw(raw: dict[str, Any]) -> dict[str, Any]:
    return {**raw, "training": {"epochs": EPOCHS, "lr": {"float": [1e-3, 1e-2], "log": True}}}


@pytest.fixture
def tree(raw: dict[str, Any]) -> space.Section:
    return space.compile_space(raw, "space.yaml")


@pytest.fixture
def path(tree: space.Section, study: StudyRecord, tmp_path: Path) -> Path:
    """A table of twenty trainings; an epoch takes 10 s, what comes before training 5 s."""
    rows = []
    sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for number in range(20):
        config = TrialConfig.model_validate(space.suggest(tree, sampled.ask()))
        width, depth = config.model.width, config.model.depth
        curve = [{"epoch": i, "val_score": F1[width] * i / EPOCHS, "seconds": 10.0} for i in range(1, EPOCHS + 1)]
        ms = width * depth / 100
        fixed = {"p90_ms": ms, "p99_ms": ms, "runtime": "onnxruntime_cpu", "threads": 1, "host": "there"}
        latency = {"ms": ms, "low_ms": ms, "high_ms": ms, "ratio": 10 * ms, **fixed}
        nested = {"config": config.resolved(), "curve": curve, "latency": latency}
        numbers = {"before_s": 5.0, "size_bytes": 1000 * width, "params": 250 * width, "peak_memory_bytes": 10**6}
        rows.append(
            {"trial_id": f"{number:05}", "state": "finished", **numbers} | {k: json.dumps(v) for k, v in nested.items()}
        )
    frame = pd.DataFrame(rows)
    frame.attrs["study"] = study.model_dump(mode="json")
    frame.to_parquet(tmp_path / "trials.parquet")
    return tmp_path / "trials.parquet"


def test_the_nearest_training_answers(path: Path, tree: space.Section) -> None:
    table = TrainingTable(path, tree)
    assert len(table) == 20
    common = {"model.backbone": "baseline", "model.head": "avg", "model.image_size": 16, "training.lr": 3e-3}
    for width in (4, 8):
        found = table.nearest({**common, "model.width": width, "model.depth": 4})
        assert found.curve[-1].val_score == pytest.approx(F1[width])


def test_what_explains_nothing_does_not_decide_who_is_nearest(path: Path, tree: space.Section) -> None:
    table = TrainingTable(path, tree)
    sampled = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    for _ in range(50):
        trial = sampled.ask()
        width = space.suggest(tree, trial)["model"]["width"]
        assert table.nearest(trial.params).curve[-1].val_score == pytest.approx(F1[width])


def test_a_training_is_nearest_to_itself(path: Path, tree: space.Section) -> None:
    table = TrainingTable(path, tree)
    for drawn, recorded in table._trainings:
        assert table.nearest(drawn) == recorded


def test_a_search_is_played_to_its_end(path: Path, tree: space.Section, study: StudyRecord) -> None:
    played = replay(study, tree, TrainingTable(path, tree))
    assert len(played) == study.trials
    assert all((one.state, len(one.curve)) == ("finished", EPOCHS) for one in played)
    # Two workers, no pause: the seconds of everything trained, shared by two, and one trial more at most.
    work = sum(5.0 + 10.0 * len(one.curve) for one in played)
    assert work / 2 <= played[-1].elapsed_s <= work / 2 + 45
    times = [one.elapsed_s for one in played]
    assert times == sorted(times)


def test_what_is_over_a_limit_takes_no_training(path: Path, tree: space.Section, study: StudyRecord) -> None:
    limited = study.model_copy(update={"limits": {"latency_ms": 0.2}, "workers": 1})
    played = replay(limited, tree, TrainingTable(path, tree))
    for one in played:
        assert one.latency is not None
        assert (one.state == "infeasible") == (one.latency.ms > 0.2)
        assert (one.curve == []) == (one.state == "infeasible")


def test_the_same_seed_plays_the_same_search(path: Path, tree: space.Section, study: StudyRecord) -> None:
    table = TrainingTable(path, tree)
    assert replay(study, tree, table) == replay(study, tree, table)
    other = study.model_copy(update={"seed": study.seed + 1})
    assert replay(study, tree, table) != replay(other, tree, table)


def test_a_table_of_a_study_made_before(path: Path, tree: space.Section, study: StudyRecord) -> None:
    """Its study has fields that were removed, and the older name of the floor; one of its trials was stopped."""
    frame = pd.read_parquet(path)
    frame.loc[0, "state"] = "stopped"
    before = {**study.model_dump(mode="json"), "scheduler": {"eta": 3, "rungs": 2}, "drop_slower": 4.0, "patience": 5}
    before["constant_f1"] = before.pop("floor")
    frame.attrs["study"] = before
    frame.to_parquet(path)
    table = TrainingTable(path, tree)
    assert (table.study, len(table)) == (study, 19)
    assert len(replay(study, tree, table)) == study.trials


def test_a_table_must_be_one_and_fit(path: Path, tree: space.Section, tmp_path: Path) -> None:
    (tmp_path / "text.parquet").write_text("no table")
    for name in ("missing.parquet", "text.parquet"):
        with pytest.raises(UsageError, match=rf"^--replay .*{name}: must be the trials.parquet of a study"):
            TrainingTable(tmp_path / name, tree)
    other = space.compile_space({"model": {"width": [24, 32]}}, "other.yaml")
    with pytest.raises(UsageError, match="must hold finished trials that the space could draw, got none;"):
        TrainingTable(path, other)
