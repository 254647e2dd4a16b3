"""Parquet files of any writer give the same data set, or say in one line which type a column must have."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whc.data import dataset, parquet, report
from whc.errors import DataError
from whc.tasks.classification import Classification

load = partial(dataset.load, task=Classification)
read = partial(dataset.read, task=Classification)
inspect = partial(report.inspect, task=Classification)

WriteDataset = Callable[..., Path]
Convert = Callable[[list[Any]], object]


def typed(kind: pa.DataType) -> Convert:
    return lambda values: pa.array(values, kind)


def dictionary(values: list[Any]) -> object:
    return pa.array(values).dictionary_encode()


def bytes_of(kind: pa.DataType) -> Convert:
    return lambda files: pa.array([None if file is None else list(file) for file in files], kind)


def padded(files: list[bytes]) -> object:
    """All as long as the longest: what follows the end of a PNG is passed over."""
    longest = max(map(len, files))
    return pa.array([file.ljust(longest, b"\0") for file in files], pa.binary(longest))


def structs(files: list[bytes | None]) -> object:
    return pa.array([{"bytes": file, "path": f"{number}.png"} for number, file in enumerate(files)])


ENCODINGS: dict[str, tuple[str, Convert]] = {
    **{
        f"{name} as {kind}": (name, typed(kind))
        for name in ("split", "label", "image_path", "video_id", "person_id")
        for kind in (pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.large_string()))
    },
    "class_id as int8": ("class_id", typed(pa.int8())),
    "class_id as uint64": ("class_id", typed(pa.uint64())),
    "class_id as dictionary": ("class_id", dictionary),
    "bytes as large_binary": ("image_bytes", typed(pa.large_binary())),
    "bytes as binary_view": ("image_bytes", typed(pa.binary_view())),
    "bytes as dictionary": ("image_bytes", dictionary),
    "bytes of fixed size": ("image_bytes", padded),
    "bytes as list<uint8>": ("image_bytes", bytes_of(pa.list_(pa.uint8()))),
    "bytes as large_list<int64>": ("image_bytes", bytes_of(pa.large_list(pa.int64()))),
    "bytes as struct": ("image_bytes", structs),
    "timestamp as float": ("timestamp", typed(pa.float16())),
    "timestamp as text": ("timestamp", lambda times: [f" {time:04d}" for time in times]),
    "timestamp as dictionary": ("timestamp", dictionary),
    "timestamp as time": ("timestamp", lambda times: [datetime.datetime(2026, 1, 1, 0, 0, time) for time in times]),
    "timestamp as ISO text": ("timestamp", lambda times: [f"2026-01-01T00:00:{time:02d}Z" for time in times]),
    "timestamp as date": ("timestamp", lambda times: [datetime.date(2026, 1, 1 + time) for time in times]),
    "timestamp as time of day": ("timestamp", lambda times: pa.array(times, pa.int32()).cast(pa.time32("s"))),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_encodings_make_no_difference(write_dataset: WriteDataset, encoding: str) -> None:
    name, convert = ENCODINGS[encoding]
    expected = load(write_dataset(), [(8, 8)])
    found = load(write_dataset(lambda columns: columns.update({name: convert(columns[name])})), [(8, 8)])
    np.testing.assert_array_equal(found.images[8, 8], expected.images[8, 8])
    for attribute in ("targets", "splits", "clips", "groups", "timestamps"):
        np.testing.assert_array_equal(getattr(found, attribute), getattr(expected, attribute))
    assert (found.labels, found.clip_rule) == (expected.labels, expected.clip_rule)


WRONG: dict[str, tuple[str, Convert, str]] = {
    "struct of time": ("timestamp", lambda times: [{"a": time} for time in times], "numbers or times, got 'struct<a:"),
    "list of time": ("timestamp", lambda times: [[time] for time in times], "numbers or times, got 'list<"),
    "bytes as time": ("timestamp", lambda times: [b"a" for _ in times], "numbers or times, got 'binary'"),
    "struct of clip": ("video_id", lambda names: [{"a": name} for name in names], "text or numbers, got 'struct<a:"),
    "list of people": ("person_id", lambda names: [[name] for name in names], "text or numbers, got 'list<"),
    "struct of path": ("image_path", lambda names: [{"a": name} for name in names], "text, got 'struct<a:"),
    "struct of split": ("split", lambda names: [{"a": name} for name in names], "text, got 'struct<a:"),
    "fractions as label": ("label", lambda names: [0.5 for _ in names], "text, got 'double'"),
    "struct of class": ("class_id", lambda ids: [{"a": i} for i in ids], "integer, got 'struct<a:"),
    "images as another struct": (
        "image_bytes",
        lambda files: [{"file": file} for file in files],
        "bytes, got 'struct<",
    ),
    "images as large numbers": ("image_bytes", lambda files: [[300] for _ in files], "bytes, got 'list<"),
    "images as text": ("image_bytes", lambda files: ["a.png" for _ in files], "bytes, got 'string'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_other_types_are_told_in_one_line_also_by_info(write_dataset: WriteDataset, wrong: str) -> None:
    name, convert, told = WRONG[wrong]
    path = write_dataset(lambda columns: columns.update({name: convert(columns[name])}))
    for reads in (read, inspect, partial(read, is_labelled=False)):
        with pytest.raises(DataError) as caught:
            reads(path)
        assert str(caught.value).startswith(f"{path}: {name}: must be a column of {told}")
        assert "\n" not in str(caught.value)


def test_columns_of_no_concern_may_be_anything(write_dataset: WriteDataset) -> None:
    path = write_dataset(lambda columns: columns.update(meta=[{"a": [1]}] * 36, filename=[["x"]] * 36))
    assert len(read(path).rows) == 36


def test_a_column_twice_and_text_that_is_no_text(tmp_path: Path, write_dataset: WriteDataset) -> None:
    table = pq.read_table(write_dataset())
    pq.write_table(table.append_column("split", table["split"]), tmp_path / "twice.parquet")
    with pytest.raises(DataError, match=r"twice.parquet: split: must be one column, got 2; drop the others"):
        read(tmp_path / "twice.parquet")
    broken = pa.Array.from_buffers(pa.string(), 36, pa.array([b"\xff"] * 36).buffers())
    pq.write_table(table.set_column(table.column_names.index("label"), "label", broken), tmp_path / "bytes.parquet")
    with pytest.raises(DataError, match=r"bytes.parquet: must be a readable Parquet file, got: .*UTF"):
        read(tmp_path / "bytes.parquet")


def test_files_that_unpack_to_far_more_than_they_are(
    write_dataset: WriteDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet, "MAX_UNPACKED_BYTES", 1 << 20)
    pq.write_table(pa.table({"image_bytes": [b"\0" * 2_000_000]}), tmp_path / "zeros.parquet", compression="zstd")
    pq.write_table(pa.table({"class_id": [0] * 200_000}), tmp_path / "rows.parquet")
    for name in ("zeros", "rows"):
        with pytest.raises(DataError, match=rf"{name}.parquet: must not unpack to more than 1048576 bytes, got \d+; "):
            read(tmp_path / f"{name}.parquet", is_labelled=False)
    assert len(read(write_dataset()).rows) == 36


def test_damaged_files_are_told_in_one_line(write_dataset: WriteDataset, tmp_path: Path) -> None:
    """Whichever byte changes: 300 files."""
    rng = np.random.default_rng(0)
    contents = [write_dataset().read_bytes(), write_dataset(as_huggingface, features(["no", "yes"])).read_bytes()]
    for number in range(300):
        damaged = bytearray(contents[number % 2])
        footer = len(damaged) - 8 - int.from_bytes(damaged[-8:-4], "little")
        start = footer if rng.random() < 0.7 else 0
        for place in rng.integers(start, len(damaged) - 8, rng.integers(1, 6)):
            damaged[place] = rng.integers(256)
        path = tmp_path / "damaged.parquet"
        path.write_bytes(damaged)
        for reads in (inspect, lambda path: load(path, [(8, 8)])):
            try:
                reads(path)
            except DataError as error:
                assert str(error).startswith(str(path))
                assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train", "TRAIN"),
        ("train", "Training"),
        ("val", "valid"),
        ("val", " Validation "),
        ("val", "dev"),
        ("test", "testing"),
    ],
)
def test_splits_may_have_other_names(write_dataset: WriteDataset, name: str, split: str) -> None:
    expected = load(write_dataset(), [(8, 8)])
    path = write_dataset(
        lambda columns: columns.update(split=[split if old == name else old for old in columns["split"]])
    )
    np.testing.assert_array_equal(load(path, [(8, 8)]).splits, expected.splits)
    assert read(path).split_aliases == f"{split} as {name}"
    assert inspect(path).splits[name].rows == 12


def features(names: list[str]) -> dict[str, str]:
    """What Hugging Face's `datasets` writes beside the columns."""
    label = {"label": {"names": names, "_type": "ClassLabel"}}
    return {"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}, **label}}})}


def as_huggingface(columns: dict[str, Any]) -> None:
    """Leave image, label and split alone."""
    columns["image"] = structs(columns.pop("image_bytes"))
    columns["label"] = columns.pop("class_id")
    for name in ("image_path", "video_id", "timestamp", "person_id"):
        del columns[name]


def test_files_of_hugging_face(write_dataset: WriteDataset) -> None:
    expected = load(write_dataset(), [(8, 8)])
    table = read(write_dataset(as_huggingface, features(["no", "yes"])))
    assert (table.labelled.labels, table.rows["class_id"].tolist()) == (("no", "yes"), expected.targets.tolist())
    assert table.rows["image_path"].tolist()[:2] == ["0.png", "1.png"]
    np.testing.assert_array_equal(load(table.path, [(8, 8)]).images[8, 8], expected.images[8, 8])
    # Without names the numbers are the labels.
    for metadata in (None, {"huggingface": "[" * 9999}, {"huggingface": "{}"}, features([])):
        assert read(write_dataset(as_huggingface, metadata)).labelled.labels == ("0", "1")


def test_rows_that_nobody_labelled(write_dataset: WriteDataset) -> None:
    def change(columns: dict[str, Any]) -> None:
        as_huggingface(columns)
        columns["label"][0] = -1

    path = write_dataset(change, features(["no", "yes"]))
    assert read(path, is_labelled=False).rows["label"].isna().tolist()[:2] == [True, False]
    with pytest.raises(DataError, match="label: must have no empty values, got 1"):
        read(path)


def without_bytes(columns: dict[str, Any]) -> None:
    """The pictures, as files beside the data set."""
    del columns["image_bytes"]


def put_pictures(folder: Path, columns: dict[str, Any]) -> None:
    for name, content in zip(columns["image_path"], columns["image_bytes"], strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)


@pytest.mark.parametrize("kind", ["no column", "an empty column", "Windows", "absolute", "struct"])
def test_pictures_may_lie_beside_the_file(write_dataset: WriteDataset, tmp_path: Path, kind: str) -> None:
    expected = load(write_dataset(lambda columns: put_pictures(tmp_path, columns)), [(8, 8)])

    def change(columns: dict[str, Any]) -> None:
        names, files = columns["image_path"], columns.pop("image_bytes")
        if kind == "an empty column":
            columns["image_bytes"] = [None for _ in files]
        elif kind == "Windows":
            columns["image_path"] = [name.replace("/", "\\") for name in names]
        elif kind == "absolute":
            columns["image_path"] = [str(tmp_path / name) for name in names]
        elif kind == "struct":
            columns["image"] = [{"bytes": None, "path": name} for name in columns.pop("image_path")]

    path = write_dataset(change)
    found = load(path, [(8, 8)])
    np.testing.assert_array_equal(found.images[8, 8], expected.images[8, 8])
    assert inspect(path).unreadable.count == 0
    # The pictures are part of the data set.
    first = next(tmp_path.glob("train0/0.png"))
    first.write_bytes(next(tmp_path.glob("train0/1.png")).read_bytes())
    assert load(path, [(8, 8)]).fingerprint != found.fingerprint


def test_bytes_go_before_paths(write_dataset: WriteDataset, tmp_path: Path) -> None:
    plain = read(write_dataset())
    path = write_dataset(lambda columns: put_pictures(tmp_path, {**columns, "image_bytes": [b"other"] * 36}))
    assert read(path).encoded.equals(plain.encoded)
    assert read(path).fingerprint == plain.fingerprint


def test_missing_pictures(write_dataset: WriteDataset, tmp_path: Path) -> None:
    path = write_dataset(without_bytes)
    for reads in (read, inspect, partial(read, is_labelled=False)):
        with pytest.raises(DataError) as caught:
            reads(path)
        told = f"must name pictures that are there, got none of 36, the first '{tmp_path}/train0/0.png'; put"
        assert str(caught.value).startswith(f"{path}: image_path: {told}")
    write_dataset(lambda columns: put_pictures(tmp_path, columns))
    path = write_dataset(without_bytes)
    (tmp_path / "val1" / "1.png").unlink()
    (tmp_path / "val1" / "1.png").mkdir()  # nor is a folder a picture
    assert inspect(path).unreadable.model_dump() == {"count": 1, "examples": ["val1/1.png: empty or missing"]}
    with pytest.raises(
        DataError,
        match=r"val1/1.png: at most 1% of the images may be unreadable \(this one: empty or missing\), got '1 of 36'",
    ):
        load(path, [(8, 8)])


@pytest.mark.parametrize("name", ["a" * 300, "nul\0nul", "../" * 2000, ""])
def test_paths_that_no_file_system_takes_are_unreadable(write_dataset: WriteDataset, tmp_path: Path, name: str) -> None:
    write_dataset(lambda columns: put_pictures(tmp_path, columns))

    def change(columns: dict[str, Any]) -> None:
        without_bytes(columns)
        columns["image_path"][0] = name

    assert inspect(write_dataset(change)).unreadable.count == 1


def test_shards_are_one_data_set(write_dataset: WriteDataset, tmp_path: Path) -> None:
    path = write_dataset(lambda columns: put_pictures(tmp_path, columns))
    whole = pq.read_table(path)
    path.unlink()
    names = [f"{split}-{part:05d}-of-00002.parquet" for split in ("test", "train", "validation") for part in range(2)]
    starts = (24, 30, 0, 6, 12, 18)  # rows of train, val and test, in order of the files
    for number, (name, start) in enumerate(zip(names, starts, strict=True)):
        shard = whole.slice(start, 6).drop_columns(["split", *(["image_bytes", "person_id"] if number == 5 else [])])
        if number % 2:
            shard = shard.set_column(
                shard.column_names.index("class_id"), "class_id", shard["class_id"].cast(pa.int16())
            )
        pq.write_table(shard, tmp_path / name)
    table = read(tmp_path)
    expected = whole.take([row for start in starts for row in range(start, start + 6)]).to_pandas()
    for column in ("class_id", "label", "image_path", "video_id"):
        assert table.rows[column].tolist() == expected[column].tolist()
    assert table.rows["split"].tolist() == expected["split"].tolist()
    assert table.encoded.to_pylist() == expected["image_bytes"].tolist()
    assert (table.rows["person_id"] == table.rows["video_id"]).tolist() == [False] * 30 + [True] * 6
    assert inspect(tmp_path).rows == 36
    before = table.fingerprint
    (tmp_path / names[0]).rename(tmp_path / "dev-00000-of-00002.parquet")
    (tmp_path / names[1]).rename(tmp_path / "dev-00001-of-00002.parquet")
    assert read(tmp_path).fingerprint != before


def test_shards_of_other_types_are_told_by_file(write_dataset: WriteDataset, tmp_path: Path) -> None:
    table = pq.read_table(write_dataset())
    (tmp_path / "dataset.parquet").unlink()
    pq.write_table(table, tmp_path / "0.parquet")
    pq.write_table(table.drop_columns("class_id"), tmp_path / "1.parquet")
    with pytest.raises(DataError, match="class_id: must have no empty values, got 36; fill or drop"):
        read(tmp_path)
    pq.write_table(table.set_column(2, "class_id", pa.array(["0"] * 36)), tmp_path / "1.parquet")
    with pytest.raises(DataError, match=r"1.parquet: class_id: must be a column of integer, got 'string'"):
        read(tmp_path)
