"""Search files, and the study that one starts or goes on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whc.config import shipped
from whc.errors import StudyError, UsageError
from whc.factory import recipe as recipes
from whc.records import StudyRecord
from whc.search.running import study as studies
from whc.search.running.study import REMOVED_KEYS, REMOVED_SAMPLERS, SearchFile, begin, check_same, new_name, read
from whc.trials.run import Limits

GOOD = "name: hands\nrecipe: tiny\nspace: {model: {width: [4, 8]}}\n"


def write(folder: Path, text: str) -> Path:
    path = folder / "hands.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_read(tmp_path: Path) -> None:
    settings, tree = read(write(tmp_path, GOOD))
    assert (settings.name, settings.recipe, settings.trials, settings.data) == ("hands", "tiny", 20, [])
    assert settings.limits.model_dump(exclude_none=True) == {}
    assert set(tree.children) == {"model"}


def test_without_a_recipe_there_is_one_for_any_task(tmp_path: Path) -> None:
    settings, _ = read(write(tmp_path, GOOD.replace("recipe: tiny\n", "")))
    recipe = recipes.read(shipped("factory", settings.recipe))
    assert (recipe.prefix, recipe.refit.epochs) == (None, None)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (GOOD.replace("name: hands", ""), "name: required, got nothing; add it"),
        (GOOD.replace("name: hands", "name: a/b"), "name: string should match pattern"),
        (GOOD.replace("name: hands", f"name: {'x' * 41}"), "name: string should have at most 40 characters"),
        (GOOD + "trials: 0", "trials: must be greater than or equal to 1, got 0; change the value"),
        (GOOD + "workers: 0", "workers: must be greater than or equal to 1, got 0; change the value"),
        (GOOD + "trails: 3", "trails: unknown key; did you mean 'trials'?"),
        (GOOD + "limits: {latency: 3}", "limits.latency: unknown key; did you mean 'latency_ms'?"),
        (GOOD + "runtime: litert", "runtime: must run the .onnx files of trials, got litert; "),
        (
            GOOD + "runtime: abacus",
            "runtime: must be one of litert, onnxruntime_cpu, onnxruntime_cuda, openvino, tensorrt, got ",
        ),
        (GOOD + "runtime: {onnxruntime_cpu: {threads: 0}}", "runtime.onnxruntime_cpu.threads: must be greater than "),
        ("name: hands\nrecipe: tiny\n", "space: required, got nothing; add it"),
        ("name: hands\nrecipe: tiny\nspace: [1]\n", "space: must be a valid dictionary, got [1]; change the value"),
        (GOOD.replace("[4, 8]", "[]"), "space.model.width: must list plain values, got []; "),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UsageError) as error:
        read(path)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{path}: {told}")


def test_mistakes_in_the_file_and_in_its_space_are_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, "names: hands\ntrails: 3\nspace: {model: {widht: 8, depth: {int: [3, 1]}}}\n")
    with pytest.raises(UsageError) as error:
        read(path)
    keys = [line.removeprefix(f"{path}: ").split(":")[0] for line in str(error.value).splitlines()]
    assert sorted(keys) == ["name", "names", "space.model.depth", "space.model.widht", "trails"]


def test_a_key_that_was_removed_is_told_with_all_other_mistakes(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD + "patience: 5\ntrails: 3\nscheduler: {eta: 3, rungs: 2}\ndrop_slower: null\n")
    with pytest.raises(UsageError) as error:
        read(path)
    told = [f"{path}: {key}: removed: {why}" for key, why in REMOVED_KEYS.items()]
    assert str(error.value).splitlines() == [*told, f"{path}: trails: unknown key; did you mean 'trials'?"]
    assert told[0] == (
        f"{path}: scheduler: removed: cutting trials short gained nothing that 16 simulated searches of 20 minutes "
        "could tell from chance (1.005 times the hypervolume without it, p 0.45); delete the line"
    )
    assert "`stop_below: 0.01` takes its place" in told[2]


@pytest.mark.parametrize("name", REMOVED_SAMPLERS)
def test_a_sampler_that_was_removed_is_told_in_one_line(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, GOOD + f"sampler: {name}\n")
    with pytest.raises(UsageError) as error:
        read(path)
    assert str(error.value) == f"{path}: sampler: {name} was removed: {REMOVED_SAMPLERS[name]}"
    assert str(error.value).endswith("; write auto")


@pytest.mark.parametrize(
    "section", ["scheduler:\n  eta: 3\n  rungs: 2\n", "scheduler:\n", "scheduler: {wrong: [1, 2]}\n"]
)
def test_a_removed_section_is_told_in_one_line(tmp_path: Path, section: str) -> None:
    path = write(tmp_path, GOOD + section)
    with pytest.raises(UsageError) as error:
        read(path)
    assert str(error.value) == f"{path}: scheduler: removed: {REMOVED_KEYS['scheduler']}"


def test_a_removed_key_of_an_included_file_is_told_under_that_file(tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text(GOOD + "scheduler: {rungs: 1}\n")
    path = write(tmp_path, "include: base\nname: more\npatience: 5\n")
    with pytest.raises(UsageError) as error:
        read(path)
    scheduler, patience = str(error.value).splitlines()
    assert scheduler.startswith(f"{base}: scheduler: removed: ")
    assert patience.startswith(f"{path}: patience: removed: ")


def test_new_name_is_the_first_free_one(tmp_path: Path) -> None:
    assert new_name(tmp_path / "none yet", "hands") == "hands-1"
    for name in ("hands-1", "hands-2", "hands-4", "feet-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "study.yaml").touch()
    (tmp_path / "hands-3").mkdir()  # of a search that failed before it began
    assert new_name(tmp_path, "hands") == "hands-3"


def test_begin_keeps_the_study_as_resolved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(studies.os, "cpu_count", lambda: 3)
    settings, _ = read(write(tmp_path, GOOD + "limits: {latency_ms: 0.5}\nseed: 5\n"))
    facts = {"data_fingerprint": "f00d", "reference_ms": 0.1, "host": "here", "floor": 0.5}
    study = begin(settings, "hands-1", ["data.parquet"], facts)
    assert (study.study, study.space_name, study.trials, study.workers, study.seed) == ("hands-1", "hands", 20, 3, 5)
    assert study.data == ["data.parquet"]
    assert study.limits == {"latency_ms": 0.5}
    assert study.space == settings.space
    study.save(tmp_path)
    assert StudyRecord.load(tmp_path) == study


def settings_for(space: dict[str, Any], **limits: float) -> SearchFile:
    kept = {"latency_ms": 1.0, "size_bytes": 1_000_000} | limits
    return SearchFile(name="hands", recipe="tiny", space=space, limits=Limits(**kept))


def test_check_same_agrees(study: StudyRecord) -> None:
    check_same(study, None, "f00d")
    check_same(study, settings_for(dict(reversed(study.space.items()))), "f00d")


def test_check_same_shows_what_changed(study: StudyRecord) -> None:
    changed = {**study.space, "training": {"epochs": 3}, "task": "classification"}
    with pytest.raises(StudyError) as error:
        check_same(study, settings_for(changed, latency_ms=2.0), "f00d")
    assert str(error.value) == (
        "hands: space and limits must be those it began with; changed: limits.latency_ms (was 1.0, now 2.0), "
        "space.task (was nothing, now classification), space.training.epochs (was 2, now 3), "
        "space.training.lr (was {'float': [0.001, 0.01], 'log': True}, now nothing); "
        "leave --space out, or start a new study"
    )
    with pytest.raises(StudyError, match=r"space.model \(was \{.{1,60} \[...\], now 0\), .* and 1 more; leave"):
        check_same(study, settings_for({"task": "classification", "other": 1, "training": {}, "model": 0}), "f00d")


def test_check_same_refuses_other_data(study: StudyRecord) -> None:
    with pytest.raises(StudyError, match=r"hands: the data must be .*\(f00d\), got 'beef'; give that data set"):
        check_same(study, None, "beef")
