"""The report names what is wrong with a data set, also with one that training refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from whc.data import dataset
from whc.data import report as reports
from whc.data.report import MAX_EXAMPLES
from whc.errors import DataError
from whc.tasks.classification import Classification

inspect = partial(reports.inspect, task=Classification)
load = partial(dataset.load, task=Classification)
read = partial(dataset.read, task=Classification)


def test_a_sound_data_set(write_dataset: Callable[..., Path]) -> None:
    path = write_dataset(metadata={"whc.frame_rate": "10"})
    report = inspect(path)
    assert report.path == str(path)
    assert report.fingerprint == read(path).fingerprint
    assert report.rows == 36
    assert report.labels == ["no", "yes"]
    assert report.frame_rate == 10
    assert report.sizes == {"10x12": 36}
    assert report.unreadable.count == 0
    for split in dataset.SPLIT_NAMES:
        found = report.splits[split]
        assert (found.rows, found.people, found.clips) == (12, 4, 4)
        assert found.strata == {"no": 6, "yes": 6}
    assert report.leaks.people.count == report.leaks.clips.count == report.leaks.images.count == 0
    assert json.loads(json.dumps(report.model_dump(mode="json")))["splits"]["val"]["rows"] == 12


def test_leaks_are_counted_and_named(write_dataset: Callable[..., Path]) -> None:
    def leak(columns: dict[str, Any]) -> None:
        # Row 0 is in train, row 12 in val, row 24 in test.
        columns["person_id"][0] = columns["person_id"][12] = columns["person_id"][24] = "Ada"
        columns["video_id"][0] = columns["video_id"][24] = "clip"
        # The same pixels in another file are the same image; a repetition within a split is no leak.
        picture = cv2.imdecode(np.frombuffer(columns["image_bytes"][1], np.uint8), cv2.IMREAD_COLOR)
        columns["image_bytes"][13] = cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
        columns["image_bytes"][2] = columns["image_bytes"][3]

    leaks = inspect(write_dataset(leak)).leaks
    assert leaks.people.model_dump() == {"count": 1, "examples": ["Ada (train, val, test)"]}
    assert leaks.clips.model_dump() == {"count": 1, "examples": ["clip (train, test)"]}
    assert leaks.images.model_dump() == {"count": 1, "examples": ["train0/1.png (train) = val0/1.png (val)"]}


def test_a_huge_picture_is_told_by_its_header(write_dataset: Callable[..., Path]) -> None:
    huge = write_dataset(lambda columns: columns["image_bytes"].__setitem__(4, b"P5 10001 10000 255\n"))
    assert inspect(huge).unreadable.examples == ["train1/1.png: over 100 megapixels"]


def test_only_the_first_few_are_named(write_dataset: Callable[..., Path]) -> None:
    def spoil(columns: dict[str, Any]) -> None:
        columns["image_bytes"][:20] = [None, *[b"broken"] * 19]
        columns["person_id"] = [str(i % 12) for i in range(36)]

    report = inspect(write_dataset(spoil))
    assert report.unreadable.count == 20
    assert report.unreadable.examples == [
        "train0/0.png: empty or missing",
        "train0/1.png: cannot be decoded",
        "train0/2.png: cannot be decoded",
        "train1/0.png: cannot be decoded",
        "train1/1.png: cannot be decoded",
    ]
    assert report.leaks.people.count == 12
    assert len(report.leaks.people.examples) == MAX_EXAMPLES
    # Unreadable images equal each other only in being unreadable.
    assert report.leaks.images.count == 0
    assert report.sizes == {"10x12": 16}


def test_it_goes_on_where_training_refuses(write_dataset: Callable[..., Path]) -> None:
    def one_class(columns: dict[str, Any]) -> None:
        columns["class_id"] = [0] * 36
        columns["label"] = ["no"] * 36
        columns["split"] = ["train"] * 36
        columns["image_bytes"] = [b"broken"] * 36

    path = write_dataset(one_class)
    with pytest.raises(DataError):
        load(path, [(8, 8)])
    report = inspect(path)
    assert report.splits["train"].strata == {"no": 36}
    assert (report.splits["test"].rows, report.splits["test"].strata) == (0, {"no": 0})
    assert report.unreadable.count == 36
    assert report.sizes == {}


def test_any_channels_and_the_commonest_sizes(write_dataset: Callable[..., Path], png: Callable[..., bytes]) -> None:
    def vary(columns: dict[str, Any]) -> None:
        for i in range(36):
            columns["image_bytes"][i] = png(i, size=(4 + i % 7, 9), channels=(1, 3, 4)[i % 3])

    report = inspect(write_dataset(vary))
    assert report.unreadable.count == 0
    assert len(report.sizes) == MAX_EXAMPLES
    assert next(iter(report.sizes.items())) == ("9x4", 6)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a Parquet file"):
        inspect(tmp_path / "nothing.parquet")
