"""`whc data build` from a table that names pictures: what becomes of it, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from whc import plugins


@pytest.fixture
def folder(home: Path) -> Path:
    """24 different pictures, of six people."""
    rng = np.random.default_rng(0)
    for number in range(24):
        cv2.imwrite(str(home / f"{number}.png"), rng.integers(0, 256, (16, 16, 3), np.uint8))
    return home


def build(whc_command: Callable[..., Any], folder: Path, content: str, *options: str) -> Any:
    (folder / "labels.csv").write_text(content)
    return whc_command("data", "build", "--csv", folder / "labels.csv", "--out", folder / "out", *options)


def test_people_stay_in_one_split(whc_command: Callable[..., Any], folder: Path) -> None:
    rows = [f"{number}.png,{'yes' if number % 2 else 'no'},{number // 4}" for number in range(24)]
    ended = build(whc_command, folder, "\n".join(["image,label,person_id", *rows]), "--split", "50/25/25")
    assert ended.code == 0, ended.err
    table = pq.read_table(folder / "out" / "dataset.parquet").to_pandas()
    assert len(table) == 24
    assert table.groupby("person_id")["split"].nunique().tolist() == [1] * 6
    assert set(zip(table["class_id"], table["label"], strict=True)) == {(0, "no"), (1, "yes")}


def test_given_splits_are_kept(whc_command: Callable[..., Any], folder: Path) -> None:
    splits = {0: "train", 1: "valid", 2: "test"}
    rows = [f"{number}.png,{'yes' if number % 2 else 'no'},{splits[number // 2 % 3]}" for number in range(24)]
    ended = build(whc_command, folder, "\n".join(["image,label,split", *rows]), "--labels", "yes,no")
    assert ended.code == 0, ended.err
    table = pq.read_table(folder / "out" / "dataset.parquet").to_pandas()
    assert table["split"].value_counts().to_dict() == {"train": 8, "val": 8, "test": 8}
    assert set(zip(table["class_id"], table["label"], strict=True)) == {(0, "yes"), (1, "no")}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("image,label\n0.png,no\n0.png,yes\n", "image: must name a picture once, got '0.png'"),
        ("image,label\n../0.png,no\n", "line 2: image: must be the path of a picture below the folder"),
        ("picture,label\n0.png,no\n", "must have a column image"),
        ("image,label\n", "must have rows, got none"),
        ("image,label\n0.png,\n", "line 2: label: must not be empty"),
        ("image,weight\n0.png,3\n", "must have a column label"),
        ("", "must be a CSV file, got: No columns"),
        ("image,label\n0.png,no\n1.png,yes,3,4\n", "must be a CSV file, got: Error tokenizing"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    whc_command: Callable[..., Any], folder: Path, content: str, told: str
) -> None:
    ended = build(whc_command, folder, content, "--split", "50/25/25")
    assert ended.code == 1
    assert told in ended.err
    assert ended.err.count("\n") == 1


def test_a_split_that_nobody_gives(whc_command: Callable[..., Any], folder: Path) -> None:
    assert "must have a column split" in build(whc_command, folder, "image,label\n0.png,no\n").err
    rows = "image,label,split\n0.png,no,train\n1.png,no,holdout\n"
    assert "line 3: split: must be one of train, val, test, got 'holdout'" in build(whc_command, folder, rows).err
    gone = build(whc_command, folder, "image,label,split\nx.png,no,train\n")
    assert "x.png" in gone.err


BOTH = "\n".join(["image,label,yaw,pitch,roll", *(f"{number}.png,no,{number - 12},5.5,-3" for number in range(24))])


def test_labels_of_several_tasks_are_asked_back(whc_command: Callable[..., Any], folder: Path) -> None:
    ended = build(whc_command, folder, BOTH, "--split", "50/25/25")
    assert ended.code == 1
    got = "'label of classification; yaw, pitch, roll of head_pose'"
    assert f"labels.csv: must have labels of one task, got {got}; name the task with --task" in ended.err
    ended = build(whc_command, folder, BOTH, "--split", "50/25/25", "--task", "head_pose")
    assert ended.code == 0, ended.err
    table = pq.read_table(folder / "out" / "dataset.parquet")
    assert sorted(table["yaw"].to_pylist()) == [number - 12 for number in range(24)]
    assert "label" not in table.column_names


def test_data_info_asks_which_task_too(whc_command: Callable[..., Any], folder: Path) -> None:
    assert build(whc_command, folder, BOTH, "--split", "50/25/25", "--task", "head_pose").code == 0
    table = pq.read_table(folder / "out" / "dataset.parquet")
    pq.write_table(table.append_column("label", [["no"] * 24]), folder / "both.parquet")
    ended = whc_command("data", "info", folder / "both.parquet")
    assert ended.code == 1
    assert "must have labels of one task" in ended.err
    ended = whc_command("data", "info", folder / "both.parquet", "--task", "head_pose")
    assert ended.code == 0, ended.err
    assert "front" in ended.out
    ended = whc_command("data", "info", folder / "both.parquet", "--task", "head_pse")
    assert ended.code == 2
    assert f"--task: must be one of {', '.join(plugins.names('tasks'))}, got 'head_pse'; did you mean" in ended.err
