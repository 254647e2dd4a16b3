"""Reading and decoding: what is accepted, what is refused, and in which words."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from whc.data import dataset
from whc.data.preprocess import decode, resize
from whc.errors import DataError
from whc.tasks.classification import Classification

load = partial(dataset.load, task=Classification)
read = partial(dataset.read, task=Classification)

SIZES = [(8, 8), (16, 12)]

Change = Callable[[dict[str, Any]], object]
WriteDataset = Callable[..., Path]


def drop(name: str) -> Change:
    return lambda columns: columns.pop(name)


def put(name: str, row: int, value: object) -> Change:
    return lambda columns: columns[name].__setitem__(row, value)


def become(name: str, convert: Callable[[list[Any]], object]) -> Change:
    return lambda columns: columns.__setitem__(name, convert(columns[name]))


def empty(columns: dict[str, Any]) -> None:
    types = {"class_id": pa.int64(), "timestamp": pa.int64(), "image_bytes": pa.binary()}
    for name in columns:
        columns[name] = pa.array([], types.get(name, pa.string()))


def one_class_in(wanted: str) -> Change:
    def change(columns: dict[str, Any]) -> None:
        for i, split in enumerate(columns["split"]):
            if split == wanted:
                columns["class_id"][i], columns["label"][i] = 0, "no"

    return change


def moved(source: str, target: str) -> Change:
    """No rows of one split: they are another's."""

    def change(columns: dict[str, Any]) -> None:
        columns["split"] = [target if split == source else split for split in columns["split"]]

    return change


def unreadable_test_split(columns: dict[str, Any]) -> None:
    """A test split of one image that cannot be read, few enough not to be refused for that."""
    moved("test", "val")(columns)
    for name, values in columns.items():
        columns[name] = [value for _ in range(4) for value in values]
    columns["split"][-1], columns["image_bytes"][-1] = "test", b"not an image"


def third_class(columns: dict[str, Any]) -> None:
    for i, path in enumerate(columns["image_path"]):
        if path.split("/")[0].endswith("3"):
            columns["class_id"][i], columns["label"][i] = 2, "maybe"


def all_of_class(class_id: int, name: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(columns: dict[str, Any]) -> None:
        columns[name] = [
            value if of == class_id else old for of, old in zip(columns["class_id"], columns[name], strict=True)
        ]

    return change


BAD_INPUT: list[tuple[str, Change, str]] = [
    ("missing column", drop("class_id"), "add class_id"),
    ("several missing columns", lambda columns: (columns.pop("split"), columns.pop("label")), "add split, label"),
    ("class_id of text", become("class_id", lambda ids: [str(i) for i in ids]), "convert the column"),
    ("class_id of fractions", become("class_id", lambda ids: [float(i) for i in ids]), "convert the column"),
    ("images as text", become("image_bytes", lambda files: ["a.png" for _ in files]), "convert the column"),
    ("split of numbers", become("split", lambda splits: [0 for _ in splits]), "convert the column"),
    ("timestamps as structs", become("timestamp", lambda times: [{"a": t} for t in times]), "convert the column"),
    (
        "unknown split",
        put("split", 3, "holdout"),
        "test (or dev, testing, training, valid, validation), got 'holdout'",
    ),
    ("empty", empty, "build the data set again"),
    ("no labels in places", put("label", 2, None), "fill or drop those rows"),
    ("no class_id in places", put("class_id", 2, None), "fill or drop those rows"),
    ("no split in places", put("split", 2, None), "fill or drop those rows"),
    ("gap in class ids", all_of_class(1, "class_id", 2), "mend class_id and label"),
    ("class ids from 1", become("class_id", lambda ids: [i + 1 for i in ids]), "mend class_id and label"),
    ("two labels of one class", put("label", 0, "nope"), "mend class_id and label"),
    ("one label of two classes", all_of_class(1, "label", "no"), "mend class_id and label"),
    ("one class in a split", one_class_in("val"), "split the data again"),
    (
        "one class in all",
        lambda columns: (all_of_class(1, "label", "no")(columns), all_of_class(1, "class_id", 0)(columns)),
        "at least two classes",
    ),
    ("one class in the test split", one_class_in("test"), "split the data again"),
    ("unreadable test split", unreadable_test_split, "split the data again"),
    (
        "no val split",
        moved("val", "test"),
        "{'train': 12, 'test': 24}; give a part of test, whole people or clips, the ",
    ),
    ("no train split", moved("train", "val"), "give a part of val, whole people or clips, the split 'train'"),
    ("only train", lambda columns: (moved("val", "train")(columns), moved("test", "train")(columns)), "split 'val'"),
    ("unreadable images", put("image_bytes", 0, b"not an image"), "whc data info"),
    ("missing images", put("image_bytes", 0, None), "whc data info"),
]


def test_there_may_be_three_classes(write_dataset: WriteDataset) -> None:
    corpus = load(write_dataset(third_class), SIZES)
    assert corpus.labels == ("no", "yes", "maybe")
    assert np.bincount(corpus.targets).tolist() == [18, 9, 9]


def test_there_may_be_no_test_split(write_dataset: WriteDataset) -> None:
    assert load(write_dataset(), SIZES).has_test
    corpus = load(write_dataset(moved("test", "val")), SIZES)
    assert not corpus.has_test
    assert np.bincount(corpus.splits).tolist() == [12, 24]


def test_each_split_must_have_all_three(write_dataset: WriteDataset) -> None:
    def change(columns: dict[str, Any]) -> None:
        third_class(columns)
        one_class_in("val")(columns)

    with pytest.raises(DataError, match="split 'val': must have readable rows of every class, 'yes' has none"):
        load(write_dataset(change), SIZES)


@pytest.mark.parametrize(("change", "told"), [case[1:] for case in BAD_INPUT], ids=[case[0] for case in BAD_INPUT])
def test_bad_input_is_told_in_one_line(write_dataset: WriteDataset, change: Change, told: str) -> None:
    path = write_dataset(change)
    with pytest.raises(DataError) as caught:
        load(path, SIZES)
    check_message(caught.value, path, told)


def test_crops_need_no_labels_to_be_read(write_dataset: WriteDataset) -> None:
    def images_alone(columns: dict[str, Any]) -> None:
        for name in columns.keys() - {"image_bytes"}:
            del columns[name]

    path = write_dataset(images_alone)
    with pytest.raises(DataError, match="add split, class_id, label"):
        read(path)
    table = read(path, is_labelled=False)
    assert table.labelled is None
    assert len(table.rows) == len(table.encoded) == 36
    assert table.rows.loc[3, ["split", "class_id", "label", "image_path"]].tolist() == ["", None, None, "row 3"]


def test_labels_of_crops_may_be_told_in_places(write_dataset: WriteDataset) -> None:
    def change(columns: dict[str, Any]) -> None:
        for name in ("split", "class_id", "label"):
            columns[name][:2] = [None, None]
        columns["split"][2], columns["label"][2] = "holdout", "neither"

    rows = read(write_dataset(change), is_labelled=False).rows
    assert rows["split"].tolist()[1:4] == ["", "holdout", "train"]
    assert rows["class_id"].isna().tolist()[1:4] == [True, False, False]
    assert rows["label"].tolist()[2:4] == ["neither", "yes"]


def test_crops_without_images_are_refused(write_dataset: WriteDataset) -> None:
    path = write_dataset(lambda columns: (columns.pop("image_bytes"), columns.pop("image_path")))
    with pytest.raises(DataError, match="must have the columns image_bytes, got"):
        read(path, is_labelled=False)


def check_message(error: DataError, path: Path, told: str) -> None:
    message = str(error)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert told in message
    assert ", got" in message
    assert "; " in message


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "nothing.parquet"
    for wrong, told in ((path, "whc data synth"), (tmp_path, "whc data build --images")):
        with pytest.raises(DataError) as caught:
            read(wrong)
        check_message(caught.value, wrong, told)


@pytest.mark.parametrize("content", [b"", b"PAR1", b"not parquet at all", b"PAR1" + bytes(200) + b"PAR1"])
def test_corrupt_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "dataset.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read(path)
    check_message(caught.value, path, "copy or build it again")


def test_truncated_file(write_dataset: WriteDataset) -> None:
    path = write_dataset()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="copy or build it again"):
        read(path)


@pytest.mark.parametrize("rate", ["fast", "0", "-10", "nan", "inf", "", "null"])
def test_bad_frame_rate(write_dataset: WriteDataset, rate: str) -> None:
    path = write_dataset(metadata={"whc.frame_rate": rate})
    with pytest.raises(DataError) as caught:
        read(path)
    check_message(caught.value, path, "frames a second")


def test_frame_rate(write_dataset: WriteDataset) -> None:
    assert read(write_dataset()).frame_rate is None
    assert read(write_dataset(metadata={"whc.frame_rate": "12.5"})).frame_rate == 12.5


def test_a_huge_picture_is_told_by_its_header(write_dataset: WriteDataset) -> None:
    path = write_dataset(put("image_bytes", 4, b"P5 10001 10000 255\n"))
    with pytest.raises(DataError, match=r"train1/1\.png: at most 1% .* \(this one: over 100 megapixels\), got '1 of"):
        load(path, [(8, 8)])


def test_one_percent_of_unreadable_images_is_tolerated(write_dataset: WriteDataset) -> None:
    def spoil(count: int) -> Callable[[dict[str, Any]], None]:
        return lambda columns: columns["image_bytes"].__setitem__(slice(0, count), [b"broken"] * count)

    # 3 splits x 10 clips x 10 frames = 300 rows.
    size = {"clips_per_split": 10, "frames": 10}
    corpus = load(write_dataset(spoil(3), **size), SIZES)
    assert corpus.unreadable == ("train0/0.png", "train0/1.png", "train0/2.png")
    assert len(corpus.targets) == len(corpus.splits) == len(corpus.clips) == len(corpus.timestamps) == 297
    assert all(len(images) == 297 for images in corpus.images.values())
    with pytest.raises(DataError, match="got '4 of 300'"):
        load(write_dataset(spoil(4), **size), SIZES)


def test_rows_keep_their_order_and_images(write_dataset: WriteDataset) -> None:
    path = write_dataset()
    seen: list[tuple[int, int]] = []
    corpus = load(path, SIZES, on_progress=lambda done, count: seen.append((done, count)))
    table = read(path)
    for i, encoded in enumerate(table.encoded):
        picture = decode(encoded.as_py())
        assert picture is not None
        for size in SIZES:
            np.testing.assert_array_equal(corpus.images[size][i], resize(picture, *size))
    assert corpus.interpolation == "area"
    other = load(path, SIZES, interpolation="bilinear_antialias")
    assert other.interpolation == "bilinear_antialias"
    expected = resize(decode(table.encoded[0].as_py()), *SIZES[0], "bilinear_antialias")  # type: ignore[arg-type]
    np.testing.assert_array_equal(other.images[SIZES[0]][0], expected)
    assert corpus.labels == ("no", "yes")
    assert [dataset.SPLIT_NAMES[i] for i in corpus.splits] == table.rows["split"].tolist()
    assert corpus.targets.tolist() == table.rows["class_id"].tolist()
    assert corpus.unreadable == ()
    assert seen[-1] == (36, 36)


def test_a_task_may_ask_for_larger_pictures_too(write_dataset: WriteDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dataset()
    assert load(path, SIZES).larger == {}
    monkeypatch.setattr(Classification, "decode_scale", 1.5)
    corpus = load(path, [(8, 8), (12, 12)])
    assert {size: images.shape for size, images in corpus.larger.items()} == {
        (8, 8): (36, 12, 12, 3),
        (12, 12): (36, 18, 18, 3),
    }
    assert set(corpus.images) == {(8, 8), (12, 12)}
    assert corpus.larger[8, 8] is corpus.images[12, 12]
    assert corpus.image_bytes == {(8, 8): 36 * 3 * (8**2 + 12**2), (12, 12): 36 * 3 * (12**2 + 18**2)}
    assert corpus.nbytes == 36 * 3 * (8**2 + 12**2 + 18**2)
    picture = decode(read(path).encoded[5].as_py())
    assert picture is not None
    np.testing.assert_array_equal(corpus.larger[12, 12][5], resize(picture, 18, 18))


def test_every_array_is_plain_and_64_bits_wide(write_dataset: WriteDataset) -> None:
    corpus = load(write_dataset(), SIZES)
    for array in (corpus.targets, corpus.splits, corpus.clips, corpus.groups, corpus.timestamps):
        assert array.dtype == np.int64
        assert array.shape == (36,)
    assert {size: images.shape for size, images in corpus.images.items()} == {s: (36, *s, 3) for s in SIZES}


def test_without_the_optional_columns_rows_stand_alone(write_dataset: WriteDataset) -> None:
    path = write_dataset(lambda columns: [columns.pop(name, None) for name in dataset.OPTIONAL_COLUMNS])
    corpus = load(path, SIZES)
    assert len(set(corpus.clips.tolist())) == len(set(corpus.groups.tolist())) == 36


@pytest.mark.parametrize("convert", [pa.array, lambda names: pa.array(names).dictionary_encode()])
def test_optional_names_may_be_missing_in_places(
    write_dataset: WriteDataset, convert: Callable[[list[str | None]], pa.Array]
) -> None:
    def change(columns: dict[str, Any]) -> None:
        for name in ("image_path", "video_id", "person_id"):
            columns[name] = convert([None, *columns[name][1:]])

    rows = read(write_dataset(change)).rows
    assert rows.iloc[0][["image_path", "video_id", "person_id"]].tolist() == ["row 0"] * 3


@pytest.mark.parametrize("numbers", [[0, 1, 2], [None, 1, 2]])
def test_clips_and_people_may_be_numbers(write_dataset: WriteDataset, numbers: list[int | None]) -> None:
    def change(columns: dict[str, Any]) -> None:
        columns["video_id"] = columns["person_id"] = pa.array((numbers * 12)[:36], pa.int64())

    assert read(write_dataset(change)).rows["video_id"].notna().all()


def test_columns_may_be_dictionaries(write_dataset: WriteDataset) -> None:
    def change(columns: dict[str, Any]) -> None:
        for name in ("split", "label"):
            columns[name] = pa.array(columns[name]).dictionary_encode()

    assert load(write_dataset(change), SIZES).labels == ("no", "yes")


def test_fingerprint_follows_the_content(write_dataset: WriteDataset) -> None:
    first = read(write_dataset()).fingerprint
    assert read(write_dataset()).fingerprint == first
    assert read(write_dataset(put("timestamp", 0, 9))).fingerprint != first


def test_several_files_are_one_data_set_of_different_people(write_dataset: WriteDataset) -> None:
    path = write_dataset()
    one, both = load(path, SIZES), load([path, path], SIZES)
    np.testing.assert_array_equal(both.targets, np.tile(one.targets, 2))
    np.testing.assert_array_equal(both.images[SIZES[0]][36:], one.images[SIZES[0]])
    for array in (both.groups, both.clips):
        assert not set(array[:36].tolist()) & set(array[36:].tolist())
    assert both.fingerprint != one.fingerprint
    assert load([path], SIZES).fingerprint == one.fingerprint


def test_files_of_different_frame_rates_are_no_data_set(write_dataset: WriteDataset, tmp_path: Path) -> None:
    (tmp_path / "slow.parquet").write_bytes(write_dataset(metadata={"whc.frame_rate": "5"}).read_bytes())
    with pytest.raises(DataError, match="all must have the same frame rate, got"):
        load([tmp_path / "slow.parquet", write_dataset()], SIZES)
