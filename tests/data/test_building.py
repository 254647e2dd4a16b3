"""Folders become a data set that loads, leaks nothing, and holds nothing twice."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from whc.data import dataset, report
from whc.data.build_report import BuildReport
from whc.data.building import PAGE_FILE, PARQUET_FILE, REPORT_FILE, build
from whc.data.preprocess import Image
from whc.data.sources import BuildConfig
from whc.errors import DataError, UsageError
from whc.tasks.classification import Classification

load = partial(dataset.load, task=Classification)
read = partial(dataset.read, task=Classification)
inspect = partial(report.inspect, task=Classification)

MakeVideo = Callable[..., Path]
SHARES = (0.7, 0.15, 0.15)
Built = tuple[BuildReport, pd.DataFrame]


def soft(seed: int, height: int = 30, width: int = 40) -> Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def put(root: Path, name: str, picture: Image, *settings: int) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(cv2.imencode(path.suffix, picture[..., ::-1], settings)[1].tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twenty people, two pictures each of both classes."""
    for person in range(20):
        for shot in range(2):
            put(tmp_path / "crops", f"no/p{person:02d}_{shot}.png", soft(person * 10 + shot))
            put(tmp_path / "crops", f"yes/p{person:02d}_{shot}.png", soft(person * 10 + shot + 5))
    return tmp_path / "crops"


def built(folder: Path, **settings: Any) -> Built:
    config = {"kind": "images", "folder": folder, "split": SHARES} | settings
    out = folder.parent / "out"
    result = build(BuildConfig.model_validate(config), Classification, out)
    assert sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file()) == [
        PARQUET_FILE,
        PAGE_FILE,
        REPORT_FILE,
    ]
    assert json.loads((out / REPORT_FILE).read_text(encoding="utf-8")) == result.model_dump(mode="json")
    return result, pq.read_table(out / PARQUET_FILE).to_pandas()


def refusal(kind: type[Exception], folder: Path, **settings: Any) -> str:
    with pytest.raises(kind) as caught:
        built(folder, **settings)
    assert not (folder.parent / "out").exists()
    message = str(caught.value)
    assert "\n" not in message
    assert ", got " in message
    assert "; " in message
    return message


def splits_of(rows: pd.DataFrame, column: str) -> dict[str, set[str]]:
    found = defaultdict(set)
    for value, split in zip(rows[column], rows["split"], strict=True):
        found[value].add(split)
    return dict(found)


def test_it_loads_and_no_person_is_in_two_splits(folder: Path) -> None:
    told, rows = built(folder, group="person")
    corpus = load(folder.parent / "out" / PARQUET_FILE, [(16, 16)])
    assert corpus.labels == ("no", "yes")
    assert told.fingerprint == corpus.fingerprint
    assert sorted(rows["person_id"].unique()) == [f"p{person:02d}" for person in range(20)]
    assert all(len(splits) == 1 for splits in splits_of(rows, "person_id").values())
    assert {name: split.rows for name, split in told.splits.items()} == {"train": 56, "val": 12, "test": 12}
    assert {name: split.strata for name, split in told.splits.items()} == {
        "train": {"no": 28, "yes": 28},
        "val": {"no": 6, "yes": 6},
        "test": {"no": 6, "yes": 6},
    }
    assert rows["split"].tolist() == sorted(rows["split"], key=dataset.SPLIT_NAMES.index)
    for row in rows.itertuples():
        assert row.image_bytes == (folder / str(row.image_path)).read_bytes()
        assert row.label == str(row.image_path).split("/", maxsplit=1)[0] == ("no", "yes")[row.class_id]
    looked = inspect(folder.parent / "out" / PARQUET_FILE)
    assert looked.leaks.people.count == looked.leaks.images.count == 0


def test_the_same_seed_gives_the_same_bytes(folder: Path) -> None:
    def content(seed: int) -> bytes:
        built(folder, group="person", seed=seed)
        return (folder.parent / "out" / PARQUET_FILE).read_bytes()

    first = content(0)
    assert content(0) == first
    assert content(1) != first


def test_labels_in_an_order_of_one_s_own_and_three_classes(folder: Path) -> None:
    assert built(folder, labels=("yes", "no"))[0].labels == ["yes", "no"]
    for person in range(6):
        put(folder, f"maybe/p{person:02d}_9.png", soft(900 + person))
    told, rows = built(folder, group="person")
    assert told.labels == ["maybe", "no", "yes"]
    assert all(split.strata["maybe"] >= 1 for split in told.splits.values())
    assert set(zip(rows["class_id"], rows["label"], strict=True)) == {(0, "maybe"), (1, "no"), (2, "yes")}
    assert read(folder.parent / "out" / PARQUET_FILE).labelled.labels == ("maybe", "no", "yes")


def test_one_of_exact_copies_stays_whatever_it_is_encoded_as(folder: Path) -> None:
    put(folder, "no/z.png", soft(0), cv2.IMWRITE_PNG_COMPRESSION, 0)
    put(folder, "no/z.bmp", soft(0))
    told, rows = built(folder)
    assert len(rows) == told.rows == 80
    assert {(left.name, left.reason, left.detail) for left in told.left_out} == {
        ("no/z.bmp", "copy", "exact copy of no/p00_0.png"),
        ("no/z.png", "copy", "exact copy of no/p00_0.png"),
    }


def test_a_picture_in_two_classes_is_in_none(folder: Path) -> None:
    put(folder, "yes/z.png", soft(0))
    told, rows = built(folder)
    assert len(rows) == 79
    assert {(left.name, left.reason) for left in told.left_out} == {
        ("no/p00_0.png", "conflict"),
        ("yes/z.png", "conflict"),
    }
    assert all(left.detail == "labelled in two ways: no/p00_0.png = yes/z.png" for left in told.left_out)


def test_near_duplicates_share_a_split_and_unite_their_people(folder: Path) -> None:
    # Person 0 is also known as 50 to 55: alike in pairs, through other people's pictures.
    for alias in range(50, 56):
        put(folder, f"no/p{alias}_0.jpg", soft(0), cv2.IMWRITE_JPEG_QUALITY, 30 + alias)
        put(folder, f"yes/p{alias}_1.png", soft(alias * 10))
    told, rows = built(folder, group="person")
    assert told.near_duplicates == [["no/p00_0.png", *(f"no/p{alias}_0.jpg" for alias in range(50, 56))]]
    assert told.leaks == []
    united = rows[rows["image_path"].str.contains(r"/p(?:00|5\d)_")]
    assert len(united) == 4 + 12
    assert set(united["person_id"]) == {"p00"}
    assert len(set(united["split"])) == 1


def split_folder(root: Path) -> None:
    for number, split in enumerate(dataset.SPLIT_NAMES):
        for label in ("no", "yes"):
            for i in range(3):
                name = f"{split}/{label}/p{number}{i}_{i}.png"
                put(root, name, soft(number * 100 + i + 50 * (label == "yes")))


def test_a_folder_that_is_split_already(tmp_path: Path) -> None:
    split_folder(tmp_path / "crops")
    put(tmp_path / "crops", "train/no/again.png", soft(200))  # also in test
    put(tmp_path / "crops", "train/no/nearly.jpg", soft(201), cv2.IMWRITE_JPEG_QUALITY, 60)  # nearly in test
    told, rows = built(tmp_path / "crops", split=None)
    assert [split.rows for split in told.splits.values()] == [7, 6, 6]
    assert {(row.split, row.label) for row in rows.itertuples()} == {
        (s, c) for s in dataset.SPLIT_NAMES for c in ("no", "yes")
    }
    assert all(row.image_path.startswith(f"{row.split}/{row.label}/") for row in rows.itertuples())
    assert [(left.name, left.detail) for left in told.left_out] == [
        ("train/no/again.png", "exact copy of test/no/p20_0.png")
    ]
    assert told.leaks == told.near_duplicates == [["test/no/p21_1.png", "train/no/nearly.jpg"]]
    assert inspect(tmp_path / "out" / PARQUET_FILE).leaks.people.count == 1


def test_a_folder_without_a_test_split(tmp_path: Path) -> None:
    split_folder(tmp_path / "crops")
    shutil.rmtree(tmp_path / "crops" / "test")
    (tmp_path / "crops" / "val").rename(tmp_path / "crops" / "validation")
    told, rows = built(tmp_path / "crops", split=None)
    assert rows["split"].value_counts().to_dict() == {"train": 6, "val": 6}
    assert [split.rows for split in told.splits.values()] == [6, 6, 0]
    renamed, missing = told.notes
    assert renamed == "folder validation read as val"
    assert missing.startswith("no test split: nothing can be scored on test; --split 70/15/15")
    told, rows = built(tmp_path / "crops", split=(0.4, 0.3, 0.3), group="person")
    assert set(rows["split"]) == set(dataset.SPLIT_NAMES)
    assert all(len(splits) == 1 for splits in splits_of(rows, "person_id").values())
    assert told.notes == ["train and validation taken together and split again"]


def test_an_absent_class_of_test_is_no_absent_test(tmp_path: Path) -> None:
    split_folder(tmp_path / "crops")
    shutil.rmtree(tmp_path / "crops" / "test" / "no")
    assert "got none of 'no' in test" in refusal(DataError, tmp_path / "crops", split=None)


def test_groups_of_a_folder_that_is_split_already(tmp_path: Path) -> None:
    split_folder(tmp_path / "crops")
    _, rows = built(tmp_path / "crops", split=None, group="person")
    assert rows["person_id"].nunique() == 9
    put(tmp_path / "crops", "val/yes/p00_7.png", soft(999))
    with pytest.raises(
        DataError, match=r"group 'p00' must lie in one split, got \['train/no/p00_0.png', 'val/yes/p00_7.png'\]"
    ):
        built(tmp_path / "crops", split=None, group="person")


def test_clips(tmp_path: Path, make_video: MakeVideo) -> None:
    for clip in range(8):
        for label in ("no", "yes"):
            frames = [soft(clip * 100 + i + 50 * (label == "yes"), 32, 32) for i in range(9)]
            make_video(frames, fps=10, name=f"crops/{label}/{clip}.mp4")
    told, rows = built(tmp_path / "crops", kind="videos", fps=5.0, min_frames=2)
    assert told.frame_rate == 5
    assert read(tmp_path / "out" / PARQUET_FILE).frame_rate == 5
    assert len(rows) == 16 * 5
    assert all(len(splits) == 1 for splits in splits_of(rows, "video_id").values())
    for name, clip_rows in rows.groupby("video_id"):
        assert clip_rows["timestamp"].tolist() == list(range(5))
        assert clip_rows["image_path"].tolist() == [f"{name}/{number:05d}.jpg" for number in range(5)]
        assert set(clip_rows["person_id"]) == {name}
    assert {split.clips for split in told.splits.values()} == {12, 2}
    assert load(tmp_path / "out" / PARQUET_FILE, [(16, 16)]).frame_rate == 5


def test_copied_clips_and_clips_that_share_scenes(tmp_path: Path, make_video: MakeVideo) -> None:
    for clip in range(6):
        for label in ("no", "yes"):
            frames = [soft(clip * 100 + i + 50 * (label == "yes"), 32, 32) for i in range(4)]
            make_video(frames, fps=10, name=f"crops/{label}/{clip}.mp4")
    crops = tmp_path / "crops"
    (crops / "no" / "same.mp4").write_bytes((crops / "no" / "0.mp4").read_bytes())
    (crops / "no" / "both.mp4").write_bytes((crops / "yes" / "1.mp4").read_bytes())
    make_video([soft(200 + i, 64, 64) for i in range(4)], fps=10, name="crops/no/larger.mp4")
    told, rows = built(crops, kind="videos", fps=10.0)
    assert {left.name: left.reason for left in told.left_out} == {
        "no/same.mp4": "copy",
        "no/both.mp4": "conflict",
        "yes/1.mp4": "conflict",
    }
    assert told.near_duplicates == [["no/2.mp4", "no/larger.mp4"]]
    assert set(rows[rows["video_id"] == "no/larger.mp4"]["person_id"]) == {"no/2.mp4"}


def test_folders_below_a_class_without_groups_are_noted(folder: Path) -> None:
    assert built(folder)[0].notes == []
    put(folder, "no/anna/1.png", soft(990))
    assert "--group person" in built(folder)[0].notes[0]
    assert built(folder, group="video")[0].notes == []


def test_classes_must_reach_every_split(folder: Path) -> None:
    for person in range(2):
        put(folder, f"maybe/p{person:02d}_9.png", soft(900 + person))
    message = refusal(DataError, folder, group="person")
    assert "every split must have rows of every class, got 2 groups of 'maybe' for 3 splits; add people" in message
    put(folder, "maybe/copy.png", soft(901))
    assert "(left out: 1, such as maybe/p01_9.png: exact copy of maybe/copy.png)" in refusal(DataError, folder)
    split_folder(folder.parent / "split")
    for path in (folder.parent / "split" / "val" / "no").iterdir():
        path.write_bytes((folder.parent / "split" / "train" / "no" / path.name.replace("p1", "p0")).read_bytes())
    assert "got none of 'no' in train" in refusal(DataError, folder.parent / "split", split=None)


def test_out_in_a_circle_of_links_or_not_in_utf8(folder: Path) -> None:
    loop = folder.parent / "loop"
    loop.symlink_to("loop")
    with pytest.raises(UsageError, match=r"--out: must be a folder, got .*loop"):
        build(BuildConfig(kind="images", folder=folder, split=(0.7, 0.15, 0.15)), Classification, loop)
    with pytest.raises(UsageError, match=r"udcff: must have a name in UTF-8, got other bytes; rename it"):
        build(
            BuildConfig(kind="images", folder=folder, split=(0.7, 0.15, 0.15)), Classification, folder.parent / "\udcff"
        )


def test_out_must_be_a_folder_elsewhere(folder: Path) -> None:
    config = BuildConfig(kind="images", folder=folder, split=SHARES)
    with pytest.raises(UsageError, match="--out: must lie outside"):
        build(config, Classification, folder / "no" / "out")
    with pytest.raises(UsageError, match="--out: must be a folder"):
        build(config, Classification, Path(__file__) / "out")
    (folder.parent / "out" / PARQUET_FILE).mkdir(parents=True)
    with pytest.raises(IsADirectoryError, match=str(PARQUET_FILE)):
        build(config, Classification, folder.parent / "out")
    assert [path for path in (folder.parent / "out").rglob("*") if path.is_file() and path.suffix == ".tmp"] == []


@pytest.mark.parametrize("failing", ["whc.data.build_page.page", "whc.data.build_report.summarize"])
def test_a_build_that_is_stopped_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    built(folder)
    out = folder.parent / "out"
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    put(folder, "no/new.png", soft(990))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(failing, stopped)
        built(folder)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_real_faces_keep_their_people_apart(shared: Path, tmp_path: Path) -> None:
    table = pq.read_table(shared / "data" / "smile" / "dataset.parquet")
    for row in table.select(["image_bytes", "label", "person_id", "image_path"]).to_pylist()[::5]:
        path = tmp_path / "crops" / row["label"] / str(row["person_id"]) / Path(row["image_path"]).name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(row["image_bytes"])
    told, rows = built(tmp_path / "crops", group="person", labels=("no_smiling", "smiling"))
    assert told.rows + len(told.left_out) == 2104
    assert all(len(splits) == 1 for splits in splits_of(rows, "person_id").values())
    classes = np.array([list(split.strata.values()) for split in told.splits.values()])
    np.testing.assert_allclose(classes / classes.sum(0), np.repeat(np.array(SHARES)[:, None], 2, 1), atol=0.003)
