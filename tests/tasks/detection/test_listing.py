"""Splits of pictures with labels: by lists, by folders, or anew; groups by the names of pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc.data.sources import SourceScan
from whc.errors import DataError, UsageError
from whc.tasks.detection import listing

Look = Callable[..., SourceScan]
Put = Callable[..., Path]

ROW = "0 0.5 0.5 0.25 0.5\n"


def splits(scan: SourceScan) -> dict[str, str | None]:
    return {source.name: source.split for source in scan.sources}


@pytest.fixture
def folder(put: Put) -> Path:
    """Four pictures in `images`, with lists."""
    for name in "abcd":
        put(f"images/{name}.png")
        put(f"labels/{name}.txt", ROW)
    put("train.txt", "images/a.png\n\n./images/b.png\n")
    return put("val.txt", "images/c.png")


def test_lists_give_the_splits(folder: Path, look: Look) -> None:
    scan = look(folder, lists=[folder / "val.txt", folder / "train.txt"])
    assert splits(scan) == {"images/a.png": "train", "images/b.png": "train", "images/c.png": "val"}
    assert scan.notes == ["pictures with labels that are in no list: 1"]
    assert look(folder, lists=["train.txt", "val.txt"]).sources == scan.sources


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("lists/train.txt", "../images/a.png"),
        ("lists/train.txt", "images/a.png"),
        ("images/train.txt", "a.png"),
        ("ImageSets/Main/train.txt", "a  1\n"),
        ("lists/person_train.txt", "images\\a.png"),
        ("lists/Training.txt", "{folder}/images/a.png"),
    ],
)
def test_lines_are_below_the_folder_or_the_list(put: Put, folder: Path, look: Look, name: str, lines: str) -> None:
    put(name, lines.format(folder=folder))
    assert splits(look(folder, lists=[folder / name, folder / "val.txt"])) == {
        "images/a.png": "train",
        "images/c.png": "val",
    }


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("images/c.png", "val.txt line 1: must name no picture of another list, got "),
        ("images/a.png\nimages/x.png", "train.txt line 2: must name a picture that is there, got 'images/x.png'"),
        ("../outside.png", "train.txt line 1: must name pictures below"),
        ("/etc/passwd", "train.txt line 1: must name pictures below"),
        ("labels/a.txt", "train.txt line 1: must name a picture that is there"),
    ],
)
def test_lists_that_cannot_be(put: Put, folder: Path, look: Look, lines: str, told: str) -> None:
    (folder.parent / "outside.png").touch()
    put("train.txt", lines)
    with pytest.raises(DataError) as caught:
        look(folder, lists=[folder / "train.txt", folder / "val.txt"])
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lists", "settings", "told"),
    [
        (["train.txt"], {}, "--lists: must be lists of train and val"),
        (["train.txt", "train.txt"], {}, "--lists: must be one list for each split"),
        (["train.txt", "other.txt"], {}, "--lists: must be one list for each split, called train, val and test"),
        (["train.txt", "val.txt"], {"split": (0.7, 0.15, 0.15)}, "--lists: must go without --split"),
    ],
)
def test_lists_that_are_not_those_of_splits(
    folder: Path, look: Look, lists: list[str], settings: dict[str, Any], told: str
) -> None:
    with pytest.raises(UsageError, match=told):
        look(folder, lists=lists, **settings)


@pytest.mark.parametrize("name", ["images/{}/1.png", "{}/images/1.png", "{}/1.png", "images/{}2017/1.png"])
def test_folders_give_the_splits(put: Put, look: Look, name: str) -> None:
    for split in ("train", "valid", "test"):
        picture = name.format(split)
        put(picture)
        folder = put(picture.replace("images", "labels").replace(".png", ".txt"), ROW)
    put("loose.png")
    put("loose.txt", ROW)
    scan = look(folder, split=None)
    assert sorted(splits(scan).values(), key=str) == ["test", "train", "val"]
    assert [(left.name, left.detail) for left in scan.left_out] == [("loose.png", "not in train, val or test")]
    with pytest.raises(UsageError, match="--split: must be left out"):
        look(folder)


def test_folders_may_be_split_again(put: Put, look: Look) -> None:
    for split in ("train", "val"):
        put(f"{split}/1.png")
        folder = put(f"{split}/1.txt", ROW)
    scan = look(folder)
    assert set(splits(scan).values()) == {None}
    assert scan.notes == ["train and val split again"]
    put("val/1.txt", "").joinpath("val/1.png").unlink()
    with pytest.raises(DataError, match=r"must hold pictures of train and val, .*; give lists with --lists train.txt"):
        look(folder, split=None)


@pytest.mark.parametrize(
    ("name", "inner"),
    [
        ("images/train/cam1/a_1.png", "/cam1/a_1.png"),
        ("train/images/a_1.png", "/a_1.png"),
        ("JPEGImages/a.png", "/a.png"),
        ("cam/test/train/a.png", "/cam/train/a.png"),
    ],
)
def test_groups_do_not_look_at_folders_of_splits(name: str, inner: str) -> None:
    assert listing.inner_name(name) == inner
