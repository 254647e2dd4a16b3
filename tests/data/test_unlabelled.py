"""Pictures beside a labelled data set: what of them may be learnt from, and how they join it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whc.data import unlabelled
from whc.data.dataset import SPLIT_NAMES, load
from whc.data.windows import unlabelled_windows, windows
from whc.errors import DataError
from whc.tasks.classification import Classification


def picture(seed: int) -> np.ndarray:
    return cv2.resize(np.random.default_rng(seed).integers(0, 255, (6, 6, 3), np.uint8), (32, 32))


def row(seed: int, scale: float = 1.0, **columns: Any) -> dict[str, Any]:
    shown = np.clip(picture(seed) * scale, 0, 255).astype(np.uint8)
    return {"image_bytes": cv2.imencode(".png", shown)[1].tobytes(), **columns}


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """Pictures 0 to 29 of ten people, in three splits and two classes."""
    rows = [
        row(i, split=SPLIT_NAMES[i // 10], class_id=i % 2, label="ab"[i % 2], person_id=f"p{i // 3}") for i in range(30)
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "labelled.parquet")
    return tmp_path / "labelled.parquet"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_what_is_judged_on_stays_unseen(labelled: Path, tmp_path: Path) -> None:
    """Near-duplicates of validation and test, other pictures of these people, and people that those splits name."""
    rows = [row(100 + i, person_id=f"q{i}") for i in range(4)]
    rows += [row(12, 0.9, person_id="q7"), row(25, 1.05, person_id="q8")]  # brightened copies of val and test
    rows += [row(110, person_id="q7"), row(111, person_id="q8"), row(112, person_id="p9")]  # p9 is of test
    rows += [row(3, person_id="q9"), row(113, person_id="p0")]  # of the training split
    more = unlabelled.read(write(tmp_path / "more.parquet", rows), [labelled], Classification)
    assert more.numbers.tolist() == [0, 1, 2, 3, 9, 10]
    assert (more.duplicates, more.relatives) == (2, 3)
    assert str(more) == (
        f"6 pictures of {tmp_path / 'more.parquet'} without their labels "
        "(2 near-duplicates of validation and test pictures and 3 more of their people are left out)"
    )


def test_pictures_alone_are_enough(labelled: Path, tmp_path: Path) -> None:
    """Row numbers are no names; nothing is learnt from the labelled file that its training split does not show."""
    more = unlabelled.read(
        write(tmp_path / "more.parquet", [row(i) for i in range(200, 240)]), [labelled], Classification
    )
    assert (len(more.numbers), more.duplicates, more.relatives) == (40, 0, 0)
    own = unlabelled.read(labelled, [labelled], Classification)
    assert set(own.numbers) <= set(range(10))
    assert own.duplicates == 20


def test_they_join_as_rows_of_no_split(labelled: Path, tmp_path: Path) -> None:
    more = unlabelled.read(
        write(tmp_path / "more.parquet", [row(i) for i in range(200, 205)]), [labelled], Classification
    )
    corpus = load(labelled, [(16, 16), (8, 8)], Classification)
    whole = unlabelled.joined(corpus, more, Classification)
    assert len(whole.images[16, 16]) == len(whole.images[8, 8]) == len(whole.targets) == len(whole.groups) == 35
    for split in SPLIT_NAMES:
        assert windows(whole, split, 1).index.tolist() == windows(corpus, split, 1).index.tolist()
    extra = unlabelled_windows(whole, 1)
    assert extra is not None
    assert extra.index.ravel().tolist() == list(range(30, 35))
    assert unlabelled_windows(corpus, 1) is None
    np.testing.assert_array_equal(
        whole.images[16, 16][30], cv2.resize(picture(200)[..., ::-1], (16, 16), interpolation=cv2.INTER_AREA)
    )


def test_clips_are_windows(labelled: Path, tmp_path: Path) -> None:
    rows = [row(300 + i, video_id=f"v{i // 4}", timestamp=i % 4) for i in range(8)]
    more = unlabelled.read(write(tmp_path / "more.parquet", rows), [labelled], Classification, frames=3)
    extra = unlabelled_windows(unlabelled.joined(load(labelled, [(8, 8)], Classification), more, Classification), 3)
    assert extra is not None
    assert extra.index.tolist() == [[30, 31, 32], [31, 32, 33], [34, 35, 36], [35, 36, 37]]


def test_files_that_cannot_be_used(labelled: Path, tmp_path: Path) -> None:
    cases: list[tuple[list[dict[str, Any]], int, str]] = [
        ([{"picture": b"x"}], 1, "must have the columns image_bytes"),
        ([{"image_bytes": b"no picture"}], 1, "at most 1% of the images may be unreadable"),
        (
            [row(15), row(25)],
            1,
            "must have pictures of other people than the validation and test splits, got 'none of 2",
        ),
        ([row(400), row(401)], 3, "must have a clip of at least 3 frames, by video_id and timestamp, got '1 frame'"),
    ]
    for rows, frames, told in cases:
        with pytest.raises(DataError) as caught:
            unlabelled.read(write(tmp_path / "more.parquet", rows), [labelled], Classification, frames)
        assert told in str(caught.value)
        assert str(caught.value).startswith(f"{tmp_path / 'more.parquet'}")
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match=r"none\.parquet"):
        unlabelled.read(tmp_path / "none.parquet", [labelled], Classification)
