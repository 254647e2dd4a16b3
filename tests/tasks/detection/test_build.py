"""From label files to a data set that loads: nothing is lost, moved, or in two splits."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whc.data import dataset, report
from whc.data.build_report import BuildReport
from whc.data.building import PAGE_FILE, PARQUET_FILE, build
from whc.data.sources import BuildConfig
from whc.errors import DataError

Put = Callable[..., Path]
ROW = "0 0.5 0.5 0.25 0.5\n"
SHARES = (0.6, 0.2, 0.2)


@pytest.fixture
def built(task: Any, tmp_path: Path) -> Callable[..., BuildReport]:
    """Builds `out/dataset.parquet`, split anew unless told otherwise."""

    def make(folder: Path, **changes: Any) -> BuildReport:
        split = {} if "lists" in changes else {"split": SHARES}
        config = BuildConfig.model_validate({"kind": "images", "folder": folder} | split | changes)
        return build(config, task, tmp_path / "out")

    return make


def turned_jpeg(orientation: int) -> bytes:
    """A picture 40 wide and 30 high in the file, to be shown as an EXIF orientation says."""
    picture = np.random.default_rng(0).integers(0, 256, (30, 40, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", picture)[1].tobytes()
    tiff = b"MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12\x00\x03\x00\x00\x00\x01" + bytes(
        [0, orientation, 0, 0, 0, 0, 0, 0]
    )
    exif = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + jpeg[2:]


def test_a_data_set_is_built_loaded_and_reported(put: Put, built: Any, task: Any, tmp_path: Path) -> None:
    put("classes.txt", "person\nhand")
    for number in range(30):
        put(f"images/{number:02d}.png")
        folder = put(f"labels/{number:02d}.txt", "".join(f"{i % 2} 0.5 0.5 0.{i + 1} 0.5\n" for i in range(number % 6)))
    told = built(folder)
    strata = {name: sum(split.strata[name] for split in told.splits.values()) for name in told.splits["train"].strata}
    assert strata == {"no box": 5, "1 box": 5, "2 or 3 boxes": 10, "4 boxes or more": 10}
    assert all(split.strata[name] for split in told.splits.values() for name in strata)
    assert (told.rows, told.labels) == (30, ["person", "hand"])
    corpus = dataset.load(tmp_path / "out" / PARQUET_FILE, [(8, 8)], task)
    assert corpus.targets.shape == (30, 5, 5)
    assert sorted((corpus.targets[..., 4] >= 0).sum(1).tolist()) == sorted(number % 6 for number in range(30))
    seen = report.inspect(tmp_path / "out" / PARQUET_FILE, task)
    assert {name: split.strata for name, split in seen.splits.items()} == {
        name: split.strata for name, split in told.splits.items()
    }
    before = (tmp_path / "out" / PARQUET_FILE).read_bytes()
    built(folder)
    assert (tmp_path / "out" / PARQUET_FILE).read_bytes() == before
    built(folder, seed=1)
    assert (tmp_path / "out" / PARQUET_FILE).read_bytes() != before


def test_copies_with_other_boxes_are_a_conflict_in_any_order_of_boxes(put: Put, built: Any) -> None:
    first, second = "0 0.5 0.5 0.25 0.5\n", "0 0.25 0.25 0.125 0.125\n"
    for number in range(12):
        put(f"{number:02d}.png")
        folder = put(f"{number:02d}.txt", first)
    for copy, of, labels in (("same", "00", first), ("other", "01", second), ("more", "02", first + second)):
        put(f"{copy}.png", (folder / f"{of}.png").read_bytes())
        put(f"{copy}.txt", labels)
    put("03.txt", first + second)
    put("turned.png", (folder / "03.png").read_bytes())
    put("turned.txt", second + first)
    left = {(entry.name, entry.reason) for entry in built(folder).left_out}
    conflicts = {(name, "conflict") for name in ("01.png", "other.png", "02.png", "more.png")}
    assert left == conflicts | {("same.png", "copy"), ("turned.png", "copy")}


@pytest.mark.parametrize(
    ("orientation", "size", "is_kept"),
    [(1, (40, 30), True), (6, (30, 40), True), (6, (40, 30), False), (1, (80, 60), True), (1, (40, 40), False)],
)
def test_labels_for_another_shape_than_the_picture_shows_are_not_used(
    put: Put, built: Any, voc_text: Any, orientation: int, size: tuple[int, int], is_kept: bool
) -> None:
    for number in range(9):
        put(f"{number}.png")
        put(f"{number}.xml", voc_text(("dog", 1, 1, 20, 20)))
    put("turned.jpg", turned_jpeg(orientation))
    told = built(put("turned.xml", voc_text(("dog", 1, 1, 20, 20), size=size)))
    assert told.rows == 9 + is_kept
    details = [(left.name, left.reason) for left in told.left_out]
    assert details == ([] if is_kept else [("turned.jpg", "unreadable")])


def test_a_stratum_of_large_groups_does_not_stop_the_split(put: Put, built: Any) -> None:
    for number in range(12):
        put(f"images/cam{number % 3}/{number}.png")
        folder = put(f"labels/cam{number % 3}/{number}.txt", ROW if number == 0 else "")
    told = built(folder, group="person")
    assert [split.people for split in told.splits.values()] == [1, 1, 1]
    with pytest.raises(DataError, match="must hold a group for each split, got 1; make groups smaller"):
        built(folder, group="/(c)")


def test_lists_that_share_near_duplicates_are_told(put: Put, built: Any) -> None:
    for number in range(4):
        put(f"{number}.png")
        put(f"{number}.txt", ROW)
    folder = put("train.txt", "0.png\n1.png")
    put("val.txt", "2.png\n3.png")
    brighter = cv2.imdecode(np.frombuffer((folder / "0.png").read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    put("3.png", cv2.imencode(".png", cv2.add(brighter, 3))[1].tobytes())
    told = built(folder, lists=["train.txt", "val.txt"])
    assert told.leaks == [["0.png", "3.png"]]
    assert {name: split.rows for name, split in told.splits.items()} == {"train": 2, "val": 2, "test": 0}


def test_data_sets_with_other_classes_are_not_joined(put: Put, built: Any, task: Any, tmp_path: Path) -> None:
    paths = []
    for names in ("a\nb", "b\na", "a\nb"):
        put("classes.txt", names)
        for number in range(4):
            put(f"{number}.png")
            folder = put(f"{number}.txt", ROW + "1 0.25 0.25 0.25 0.25")
        built(folder)
        paths.append((tmp_path / "out" / PARQUET_FILE).rename(tmp_path / f"{len(paths)}.parquet"))
    assert len(dataset.read([paths[0], paths[2]], task).rows) == 8
    with pytest.raises(DataError, match=r"all must have the same metadata whc.labels, got .*; build them again with"):
        dataset.read(paths, task)


places = st.integers(1, 9999).map(lambda number: number / 10_000)


@st.composite
def inside(draw: Any) -> tuple[int, float, float, float, float]:
    """A box that lies in its picture, to six digits."""
    left, right, top, bottom = draw(places), draw(places), draw(places), draw(places)
    cx, cy = (left + right) / 2, (top + bottom) / 2
    return draw(st.integers(0, 2)), cx, cy, abs(right - left) or 1e-4, abs(bottom - top) or 1e-4


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(inside(), max_size=5, unique_by=lambda box: box[1:]), min_size=6, max_size=6).filter(any))
def test_boxes_come_back_as_they_were_written(
    put: Put, built: Any, task: Any, tmp_path: Path, lists: list[list[Sequence[float]]]
) -> None:
    put("classes.txt", "a\nb\nc")
    written = {}
    for number, boxes in enumerate(lists):
        lines = [f"{box[0]} " + " ".join(f"{value:.6f}" for value in box[1:]) for box in boxes]
        put(f"images/{number}.png")
        folder = put(f"labels/{number}.txt", "\n".join(lines))
        rows = [[*map(float, line.split()[1:]), float(line.split()[0])] for line in lines]
        written[f"images/{number}.png"] = np.array(rows, np.float32).reshape(-1, 5)
    built(folder)
    table = dataset.read(tmp_path / "out" / PARQUET_FILE, task)
    assert table.labelled is not None
    assert table.labelled.labels == ("a", "b", "c")
    assert table.labelled.targets.shape[1] == max(1, *map(len, lists))
    for name, target in zip(table.rows["image_path"], table.labelled.targets, strict=True):
        expected = written.pop(name)
        np.testing.assert_array_equal(target[: len(expected)], expected)
        assert (target[len(expected) :] == -1).all()
    assert not written


@pytest.mark.parametrize(
    ("name", "settings", "pictures", "boxes"),
    [
        ("person2", {"lists": ["train.txt", "val.txt", "test.txt"]}, [3364, 323, 269], [5869, 545, 432]),
        ("person", {"lists": ["train.txt", "val.txt"]}, [171, 45, 0], [416, 71, 0]),
    ],
)
def test_real_pictures_have_the_counts_of_their_readme(
    shared: Path, built: Any, task: Any, tmp_path: Path, name: str, settings: Any, pictures: list[int], boxes: list[int]
) -> None:
    told = built(shared / "data" / name, classes=["person"], **settings)
    assert [split.rows for split in told.splits.values()] == pictures
    assert json.loads(told.model_dump_json())["left_out"] == []
    corpus = dataset.load(tmp_path / "out" / PARQUET_FILE, [(8, 8)], task)
    counts = (corpus.targets[..., 4] >= 0).sum(1)
    assert [int(counts[corpus.splits == split].sum()) for split in range(3)] == boxes


def test_the_page_shows_the_boxes(put: Put, built: Any, tmp_path: Path) -> None:
    for number in range(9):  # but for one pixel, as copies are left out
        picture = np.zeros((96, 96, 3), np.uint8)
        picture[0, number] = 255
        put(f"{number}.png", cv2.imencode(".png", picture)[1].tobytes())
        put(f"{number}.txt", "0 0.5 0.5 0.5 0.25\n")
    built(put("classes.txt", "hand"))
    page = (tmp_path / "out" / PAGE_FILE).read_text(encoding="utf-8")
    encoded = re.findall(r'src="data:image/webp;base64,([^"]+)"', page)
    assert len(encoded) >= 8
    for text in encoded:
        picture = cv2.imdecode(np.frombuffer(base64.b64decode(text), np.uint8), cv2.IMREAD_COLOR)
        assert picture[48, 30:66].max() < 60  # inside
        assert picture[34:38, 48].max() > 150  # the upper side
