"""Which files a data set is read from, and what is said of folders that are none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from whc.data.shards import data_files, is_folder_of_shards, split_in_name
from whc.errors import DataError


def put(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "is_one"),
    [
        (["train-00000-of-00002.parquet", "train-00001-of-00002.parquet", "README.md"], True),
        (["train.parquet", "Validation.parquet"], True),
        (["0000.parquet", "0001.parquet"], True),
        (["hands_1.parquet", "hands_2.parquet"], True),
        (["part-00000-1c0f-c000.snappy.parquet"], True),
        (["dataset.parquet"], False),
        (["faces.parquet", "hands.parquet"], False),
        (["dataset.parquet", "train.parquet"], False),
        ([".train.parquet"], False),
        (["train.csv"], False),
        (["deeper/train.parquet"], False),
    ],
)
def test_shards_are_told_by_their_names(tmp_path: Path, names: list[str], is_one: bool) -> None:
    assert is_folder_of_shards(put(tmp_path, *names)) is is_one


def test_shards_are_read_in_order_and_all_of_them(tmp_path: Path) -> None:
    put(tmp_path, *(f"{split}-{number:05d}-of-00002.parquet" for split in ("train", "val") for number in (1, 0)))
    assert [file.name for file in data_files(tmp_path)] == [
        f"{split}-{number:05d}-of-00002.parquet" for split in ("train", "val") for number in (0, 1)
    ]
    (tmp_path / "val-00000-of-00002.parquet").unlink()
    with pytest.raises(DataError, match="must hold all 2 shards of 'val', got 1; copy the missing"):
        data_files(tmp_path)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("validation-00000-of-00002.parquet", "val"),
        ("Dev.parquet", "val"),
        ("test_1.parquet", "test"),
        ("x.parquet", None),
    ],
)
def test_split_in_a_name(name: str, split: str | None) -> None:
    assert split_in_name(Path("train", name)) == split


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["dataset.parquet", "report/report.json"], "give {0}/dataset.parquet"),
        (["faces.parquet", "hands.parquet"], "give {0}/faces.parquet"),
        (["data/train-00000-of-00001.parquet"], "give {0}/data"),
        (["train/no/1.png"], "whc data build --images {0}`"),
    ],
)
def test_a_folder_is_told_which_file_to_name(tmp_path: Path, names: list[str], named: str) -> None:
    with pytest.raises(DataError, match=re.escape(named.format(tmp_path)) + "$") as caught:
        data_files(put(tmp_path, *names))
    assert str(caught.value).startswith(f"{tmp_path}: must be a Parquet file, or a folder of shards")
