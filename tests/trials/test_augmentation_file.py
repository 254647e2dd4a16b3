"""`training.augmentation` may be the path of a file; what the file says takes its place."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from whc import tasks
from whc.config import validate
from whc.errors import UsageError
from whc.search.running import study
from whc.search.space import space as spaces
from whc.trials.augmentation_file import filled_in
from whc.trials.config import TrialConfig

ORIGINAL = """
data_augment:
  HorizontalFlip: {prob: 0.5, class_swap_map: {0: 1}}
  Mosaic: {prob: 0.25}
  RandomFog: {prob: 0.1}
  RemoveOutliers: 0.001
"""
BOXES: dict[str, Any] = {"task": "detection", "model": {"head": "centre"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "aug.yaml").write_text(ORIGINAL, encoding="utf-8")
    (tmp_path / "ours.yaml").write_text("flip: 0.25\nblur: 0.5\n", encoding="utf-8")
    return tmp_path


def naming(path: str, **content: Any) -> dict[str, Any]:
    return {**content, "training": {"epochs": 1, "augmentation": path}}


def read(content: dict[str, Any], folder: Path) -> TrialConfig:
    return validate(TrialConfig, filled_in(content, folder, "c.yaml"), "c.yaml")


def test_a_file_of_ours(folder: Path) -> None:
    config = read(naming("ours.yaml"), folder)
    assert (config.training.augmentation.flip, config.training.augmentation.blur) == (0.25, 0.5)
    assert config.training.epochs == 1
    assert config.resolved()["training"]["augmentation"]["flip"] == 0.25


def test_a_path_from_the_working_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    assert read(naming("ours.yaml"), folder / "elsewhere").training.augmentation.flip == 0.25


def test_an_original_s_file_sets_parameters_of_the_task_too(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        config = read(naming("aug.yaml", **BOXES), folder)
    assert config.training.augmentation.mosaic == 0.25
    assert config.resolved()["task"]["detection"].items() >= {"flip_swaps": {"0": "1"}, "min_area": 0.001}.items()
    assert caplog.messages == [f"{folder / 'aug.yaml'}: RandomFog: left out, as whc has no such operation"]
    assert tasks.build(config.task, ["left", "right"]).check_labels() == ""


def test_parameters_that_are_written_stay(folder: Path) -> None:
    task = {"detection": {"flip_swaps": {"left": "right"}}}
    config = read(naming("aug.yaml", **BOXES | {"task": task}), folder)
    assert config.resolved()["task"]["detection"]["flip_swaps"] == {"left": "right"}


def test_a_task_without_boxes_says_what_it_cannot_do(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = filled_in(naming("aug.yaml"), folder, "c.yaml")
    assert content["task"] == {"classification": {}}
    assert sorted(message.partition(": ")[2] for message in caplog.messages)[1:] == [
        "its flip_swaps is left out, as task classification has none",
        "its min_area is left out, as task classification has none",
    ]
    with pytest.raises(UsageError, match=r"training.augmentation.mosaic: must be 0, as task classification has one"):
        validate(TrialConfig, content, "c.yaml")


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("nowhere.yaml", "c.yaml: training.augmentation: must be a mapping, or the path of a YAML file, got 'nowhere"),
        ("wrong.yaml", "c.yaml: training.augmentation.flp: unknown key; did you mean 'flip'?"),
    ],
)
def test_wrong_files_are_refused_in_one_line(folder: Path, path: str, told: str) -> None:
    (folder / "wrong.yaml").write_text("flp: 0.5\n", encoding="utf-8")
    with pytest.raises(UsageError) as refused:
        read(naming(path), folder)
    assert str(refused.value).startswith(told)
    assert len(str(refused.value).splitlines()) == 1


def test_a_search_s_space_may_name_a_file(folder: Path) -> None:
    lines = ["name: x", "recipe: smile", "space:", "  task: detection", "  model: {head: centre, width: [4, 8]}"]
    (folder / "space.yaml").write_text("\n".join([*lines, "  training: {augmentation: aug.yaml}"]), encoding="utf-8")
    settings, tree = study.read(folder / "space.yaml")
    assert settings.space["training"]["augmentation"]["mosaic"] == 0.25
    assert settings.space["task"]["detection"]["min_area"] == 0.001
    assert set(spaces.distributions(tree)) == {"model.width"}
