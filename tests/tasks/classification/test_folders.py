"""What lies in a folder: what is read, what is left out and why, what is refused."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from whc.data.sources import BuildConfig, SourceScan
from whc.errors import DataError, UsageError
from whc.tasks.classification.folders import scan

SHARES = (0.7, 0.15, 0.15)


def put(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def look_into(folder: Path, **settings: Any) -> SourceScan:
    return scan(BuildConfig(kind="images", folder=folder, **settings))


def refusal(kind: type[Exception], folder: Path, **settings: Any) -> str:
    with pytest.raises(kind) as caught:
        look_into(folder, **settings)
    message = str(caught.value)
    assert "\n" not in message
    assert "; " in message
    return message


def test_class_folders_nest_and_are_sorted(tmp_path: Path) -> None:
    put(tmp_path, "b/2.png", "b/1.JPG", "a/anna/day/3.webp", "a/x.bmp")
    result = look_into(tmp_path, split=SHARES)
    assert result.labels == ("a", "b")
    assert [(s.name, s.split, s.stratum) for s in result.sources] == [
        ("a/anna/day/3.webp", None, "a"),
        ("a/x.bmp", None, "a"),
        ("b/1.JPG", None, "b"),
        ("b/2.png", None, "b"),
    ]
    assert all(source.path == tmp_path / source.name and source.inner == source.name for source in result.sources)
    assert result.left_out == []


def test_split_folders(tmp_path: Path) -> None:
    put(tmp_path, *(f"{split}/{label}/1.png" for split in ("train", "val", "test") for label in "ab"), "old/a/1.png")
    result = look_into(tmp_path)
    assert {(s.name, s.inner, s.split, s.stratum) for s in result.sources} == {
        (f"{split}/{label}/1.png", f"{label}/1.png", split, label)
        for split in ("train", "val", "test")
        for label in "ab"
    }
    assert [(left.name, left.reason) for left in result.left_out] == [("old", "other")]


def test_labels_may_be_in_any_order_and_are_the_map(tmp_path: Path) -> None:
    put(tmp_path, "yes/1.png", "no/1.png", "maybe/1.png")
    assert look_into(tmp_path, split=SHARES).labels == ("maybe", "no", "yes")
    assert look_into(tmp_path, split=SHARES, labels=("yes", "no", "maybe")).labels == ("yes", "no", "maybe")
    message = refusal(DataError, tmp_path, split=SHARES, labels=("yes", "no"))
    assert message.startswith(f"{tmp_path}: labels must not lie outside the map yes, no, got ['maybe']; ")
    message = refusal(DataError, tmp_path, split=SHARES, labels=("yes", "no", "maybe", "never"))
    assert "got ['maybe', 'no', 'yes']; add never" in message


def test_what_is_no_picture_is_told_and_never_read(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    put(outside, "secret.png")
    root = tmp_path / "root"
    put(
        root, "a/1.png", "b/1.png", "a/notes.txt", "a/.hidden.png", "a/.git/1.png", "README.md", "b/noext", ".old/x.png"
    )
    put(root, "b/two\nlines.png")
    (root / os.fsdecode(b"b/\xff.png")).touch()
    (root / "a" / "link.png").symlink_to(outside / "secret.png")
    (root / "b" / "folder").symlink_to(outside)
    (root / "c").symlink_to(outside)
    os.mkfifo(root / "b" / "pipe.png")
    result = look_into(root, split=SHARES)
    assert [source.name for source in result.sources] == ["a/1.png", "b/1.png"]
    assert {(left.name, left.reason) for left in result.left_out} == {
        ("a/notes.txt", "other"),
        ("a/.hidden.png", "hidden"),
        ("a/.git", "hidden"),
        ("README.md", "other"),
        ("b/noext", "other"),
        (".old", "hidden"),
        ("b/two\\nlines.png", "other"),
        ("b/\\udcff.png", "other"),
        ("a/link.png", "link"),
        ("b/folder", "link"),
        ("c", "link"),
        ("b/pipe.png", "other"),
    }
    assert all("\n" not in left.name + left.detail for left in result.left_out)


def test_pictures_are_told_by_their_names_or_first_bytes(tmp_path: Path) -> None:
    put(tmp_path, "a/1.avif", "a/2.heic", "b/3.pbm")
    (tmp_path / "b" / "unnamed").write_bytes(b"\x89PNG\r\n\x1a\n")
    assert [s.name for s in look_into(tmp_path, split=SHARES).sources] == [
        "a/1.avif",
        "a/2.heic",
        "b/3.pbm",
        "b/unnamed",
    ]


def test_videos_are_told_apart_from_pictures(tmp_path: Path) -> None:
    put(tmp_path, "a/1.mp4", "b/1.MKV", "b/1.png")
    result = scan(BuildConfig(kind="videos", folder=tmp_path, split=SHARES))
    assert [source.name for source in result.sources] == ["a/1.mp4", "b/1.MKV"]
    assert [left.name for left in result.left_out] == ["b/1.png"]
    message = refusal(DataError, tmp_path, split=SHARES)
    assert (
        message == f"{tmp_path / 'a'}: must hold images, got {{'.mp4': 1}}; fill or remove the folder, or use --videos"
    )


def test_layouts_that_are_refused(tmp_path: Path) -> None:
    assert "got: No such file or directory" in refusal(DataError, tmp_path / "none", split=SHARES)
    put(tmp_path, "file")
    assert "got: Not a directory" in refusal(DataError, tmp_path / "file", split=SHARES)
    assert "two classes or more, got []" in refusal(DataError, tmp_path, split=SHARES)
    put(tmp_path, "a/1.png")
    assert "two classes or more, got ['a']" in refusal(DataError, tmp_path, split=SHARES)
    (tmp_path / "b").mkdir()
    assert "must hold images, got 'an empty folder'" in refusal(DataError, tmp_path, split=SHARES)
    assert "must hold the folders train and val, and test to score it, got ['a', 'b']; " in refusal(DataError, tmp_path)


def test_a_split_folder_with_shares(tmp_path: Path) -> None:
    put(tmp_path, "Testing/a/1.png", "train/a/1.png", "val/a/1.png")
    assert "--split: must be left out" in refusal(UsageError, tmp_path, split=SHARES)
    shutil.rmtree(tmp_path / "val")
    message = refusal(DataError, tmp_path)
    assert "got ['Testing', 'train']; add val; or --split 70/15/15 splits again what is there" in message


@pytest.mark.parametrize("name", ["valid", "Validation", "dev"])
def test_splits_may_have_other_names_and_test_may_be_missing(tmp_path: Path, name: str) -> None:
    put(tmp_path, "training/a/1.png", "training/b/1.png", f"{name}/a/x/1.png", f"{name}/b/1.png")
    result = look_into(tmp_path)
    assert {(s.name, s.inner, s.split) for s in result.sources} == {
        ("training/a/1.png", "a/1.png", "train"),
        ("training/b/1.png", "b/1.png", "train"),
        (f"{name}/a/x/1.png", "a/x/1.png", "val"),
        (f"{name}/b/1.png", "b/1.png", "val"),
    }
    assert sorted(result.notes) == sorted(["folder training read as train", f"folder {name} read as val"])


def test_what_has_no_test_split_may_be_split_again(tmp_path: Path) -> None:
    put(tmp_path, "train/a/1.png", "train/b/1.png", "valid/a/1.png")
    result = look_into(tmp_path, split=SHARES)
    assert [(s.name, s.inner, s.split, s.stratum) for s in result.sources] == [
        ("train/a/1.png", "a/1.png", None, "a"),
        ("train/b/1.png", "b/1.png", None, "b"),
        ("valid/a/1.png", "a/1.png", None, "a"),
    ]
    assert result.notes == ["train and valid taken together and split again"]


def test_class_folders_may_be_called_like_splits(tmp_path: Path) -> None:
    put(tmp_path, "valid/1.png", "invalid/1.png")
    assert look_into(tmp_path, split=SHARES).labels == ("invalid", "valid")
