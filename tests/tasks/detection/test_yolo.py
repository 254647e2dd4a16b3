"""YOLO's text files: found beside their pictures, read line by line, bad lines told with file and line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc.data.sources import BuildConfig, SourceScan
from whc.errors import DataError, UsageError
from whc.tasks.detection import files

Look = Callable[..., SourceScan]
Put = Callable[..., Path]

ROW = "0 0.5 0.5 0.25 0.5\n"


def boxes(scan: SourceScan) -> dict[str, Any]:
    return {source.name: source.cells["boxes"] for source in scan.sources}


def left_out(scan: SourceScan) -> list[tuple[str, str, str]]:
    return [(left.name, left.reason, left.detail) for left in scan.left_out]


def claims(folder: Path, **settings: Any) -> bool:
    return files.claims(BuildConfig.model_validate({"kind": "images", "folder": folder} | settings))


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("a.png", "a.txt"),
        ("deep/a.b.png", "deep/a.b.txt"),
        ("images/a.png", "labels/a.txt"),
        ("images/train/a.png", "labels/train/a.txt"),
        ("train/images/a.png", "train/labels/a.txt"),
        ("images/images/a.png", "images/labels/a.txt"),
    ],
)
def test_labels_are_beside_or_in_the_folder_of_labels(put: Put, look: Look, picture: str, label: str) -> None:
    put(picture)
    folder = put(label, ROW)
    assert claims(folder)
    assert boxes(look(folder)) == {picture: [[0.5, 0.5, 0.25, 0.5, 0.0]]}


def test_the_folder_of_pictures_itself_may_be_given(put: Put, look: Look) -> None:
    put("images/a.png")
    put("classes.txt", "person\n")
    folder = put("labels/a.txt", ROW)
    assert claims(folder / "images")
    scan = look(folder / "images")
    assert boxes(scan) == {"a.png": [[0.5, 0.5, 0.25, 0.5, 0.0]]}
    assert scan.labels == ("person",)


def test_labels_may_lie_anywhere_if_told(put: Put, look: Look) -> None:
    put("images/train/a.png")
    put("labels/train/a.txt", ROW)
    for place in ("other/train/a.txt", "flat/a.txt", "whole/images/train/a.txt"):
        folder = put(place, "0 0.5 0.5 1 1")
        scan = look(folder, label_path=folder / place.split("/")[0])
        assert boxes(scan) == {"images/train/a.png": [[0.5, 0.5, 1.0, 1.0, 0.0]]}
    assert any("label files not used in" in note for note in look(folder).notes)


def test_pictures_without_objects_stay_and_those_without_labels_are_told(put: Put, look: Look) -> None:
    put("images/a.png")
    put("images/empty.png")
    put("images/blank.png")
    put("images/none.png")
    put("labels/empty.txt", "")
    put("labels/blank.txt", "\n \n")
    put("labels/lonely.txt", ROW)
    put("README.txt", "these are pictures")
    scan = look(put("labels/a.txt", ROW))
    assert {source.name: source.stratum for source in scan.sources} == {
        "images/a.png": "1 box",
        "images/blank.png": "no box",
        "images/empty.png": "no box",
    }
    assert left_out(scan) == [
        ("labels/lonely.txt", "no picture", "labels without a picture of their name"),
        ("images/none.png", "no labels", "no labels of its name"),
    ]
    assert scan.metadata == {"whc.labels": '["class 0"]'}


def test_lists_and_names_are_no_labels(put: Put, look: Look) -> None:
    for name in ("classes.txt", "train.txt", "val.txt"):
        put(name, "train.png\nclasses.png\n")
        put(name.replace("txt", "png"))
    put("data.yaml", "names: [train, 'no']\ntrain: ../train\nnc: 2\n")
    put("test.png")
    put("test.txt", ROW)  # a picture may well be called so
    scan = look(put("a.png"))
    assert boxes(scan).keys() == {"test.png"}
    assert {name for name, reason, _ in left_out(scan) if reason == "no labels"} == {
        "a.png",
        "classes.png",
        "train.png",
        "val.png",
    }
    assert scan.labels == ("train", "no")


@pytest.mark.parametrize(
    ("name", "content", "labels"),
    [
        ("data.yaml", "names:\n  0: person\n  3: hand\n", ("person", "hand")),
        ("data.yaml", "names: [person, b, c, hand]\n", ("person", "b", "c", "hand")),
        ("labels/classes.txt", "person\nb\nc\nhand\n\n", ("person", "b", "c", "hand")),
        ("obj.names", "person\r\nb\r\nc\r\nhand", ("person", "b", "c", "hand")),
        ("other.yaml", "names: [x]", ("class 0", "class 1", "class 2", "class 3")),
    ],
)
def test_names_of_classes(put: Put, look: Look, name: str, content: str, labels: tuple[str, ...]) -> None:
    put(name, content)
    put("images/a.png")
    scan = look(put("labels/a.txt", ROW + "3 0.5 0.5 0.1 0.1"))
    assert scan.labels == labels
    assert [box[4] for box in boxes(scan)["images/a.png"]] == [0, labels.index("hand") if "hand" in labels else 3]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("names: [no, yes]", "data.yaml: names: must be a list of names, or a map"),
        ("names: {a: 1}", "data.yaml: names: must be a list of names, or a map"),
        ("names: [a, a]", "data.yaml: names: must be different, got 'a'; rename"),
        ("names: [", "data.yaml: line 1: must be valid YAML"),
    ],
)
def test_names_that_cannot_be(put: Put, look: Look, content: str, told: str) -> None:
    put("data.yaml", content)
    put("a.png")
    with pytest.raises(DataError) as caught:
        look(put("a.txt", ROW))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_classes_are_kept_by_name_or_number_in_the_order_asked_for(put: Put, look: Look) -> None:
    put("classes.txt", "person\ndog\nhand")
    put("a.png")
    put("b.png")
    put("b.txt", "1 0.5 0.5 0.1 0.1")
    folder = put("a.txt", "".join(f"{i} 0.5 0.5 0.{i + 1} 0.5\n" for i in range(3)))
    for classes in (("hand", "person"), ("2", "0"), ("hand", "0")):
        scan = look(folder, classes=classes)
        assert scan.labels == ("hand", "person")
        assert [box[4] for box in boxes(scan)["a.png"]] == [1, 0]
        assert boxes(scan)["b.png"] == []
        assert "boxes of classes that --classes does not name: 2" in scan.notes
    for classes in (("cat",), ("person", "0"), ("3",)):
        with pytest.raises(UsageError, match="--classes: must be different classes of person, dog, hand, got"):
            look(folder, classes=classes)


def test_classes_that_nobody_names(put: Put, look: Look) -> None:
    put("a.png")
    folder = put("a.txt", "".join(f"{i} 0.5 0.5 0.{i + 1} 0.5\n" for i in range(4)))
    named = look(folder, classes=("person", "hand"))
    assert (named.labels, len(boxes(named)["a.png"])) == (("person", "hand"), 2)
    numbered = look(folder, classes=("3", "0", "7"))
    assert numbered.labels == ("class 3", "class 0", "class 7")
    assert [box[4] for box in boxes(numbered)["a.png"]] == [1, 0]
    assert "classes without a box: 1 (class 7); --classes keeps those that are named" in numbered.notes


@pytest.mark.parametrize(
    ("line", "detail"),
    [
        ("0 0.5 0.5 0 0.1", "must have a width and height above 0, got [0.5, 0.5, 0.0, 0.1]"),
        ("0 0.5 0.5 nan 0.1", "must be five finite numbers, cx cy w h class, got [0.5, 0.5, nan, 0.1]"),
        ("0 0.5 0.5 1e300 0.1", "must be five finite numbers, cx cy w h class, got [0.5, 0.5, inf, 0.1]"),
        ("0 1.5 0.5 0.1 0.1", "must be shares of the picture, 0 to 1, got [1.5, 0.5, 0.1, 0.1]"),
        ("0 0.5 -0.5 0.1 0.1", "must be shares of the picture, 0 to 1, got [0.5, -0.5, 0.1, 0.1]"),
        ("0 0.5 0.5 0.1", "must be class cx cy w h, got '0 0.5 0.5 0.1'"),
        ("person 0.5 0.5 0.1 0.1", "must be class cx cy w h, got 'person 0.5 0.5 0.1 0.1'"),
        ("0.5 0.5 0.5 0.1 0.1", "must begin with the number of a class, got '0.5'"),
        ("2 0.5 0.5 0.1 0.1", "must have a known class, got 2"),
        ("-1 0.5 0.5 0.1 0.1", "must have a known class, got -1"),
    ],
)
def test_a_bad_line_is_told_and_left_out(put: Put, look: Look, line: str, detail: str) -> None:
    put("data.yaml", "names: [a, b]")
    put("images/a.png")
    folder = put("labels/a.txt", f"{ROW}\n{line}\n")
    scan = look(folder)
    assert left_out(scan) == [("labels/a.txt line 3", "bad box", detail)]
    assert len(boxes(scan)["images/a.png"]) == 1
    put("labels/a.txt", f"{ROW}\n{line}\n{line}\n")
    with pytest.raises(DataError) as caught:
        look(folder)
    assert str(caught.value) == (
        f"{folder}: at most 1% of the boxes (or one) may be wrong, got '2 of 3'; "
        f"mend or remove them, such as labels/a.txt line 3: {detail}"
    )


def test_a_class_beyond_all_reason_is_a_bad_line(put: Put, look: Look) -> None:
    put("a.png")
    scan = look(put("a.txt", f"{ROW}99999999999 0.5 0.5 0.1 0.1"))
    assert left_out(scan)[0][2] == "must have a known class, got 99999999999"


def test_pixels_are_asked_back(put: Put, look: Look) -> None:
    put("images/a.png")
    folder = put("labels/a.txt", "0 132.0 40 20 20\n0 12 40 20 20\n0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(DataError) as caught:
        look(folder)
    assert str(caught.value) == (
        f"{folder}/labels/a.txt line 1: must be shares of the picture, 0 to 1, got 132.0; "
        "divide x by the width and y by the height, or give the labels as VOC or COCO"
    )


def test_boxes_at_the_edge(put: Put, look: Look) -> None:
    put("a.png")
    scan = look(put("a.txt", "0 0.9375 0.5 0.1251 0.25\n0 0.9375 0.5 0.25 0.25\n0 1.0009 0.5 0.0004 0.1\n"))
    rounded, cut, outside = boxes(scan)["a.png"]
    assert rounded == pytest.approx([0.9375, 0.5, 0.1251, 0.25, 0])
    assert cut == pytest.approx([0.90625, 0.5, 0.1875, 0.25, 0])
    assert outside[2] > 0
    assert scan.notes == ["boxes that hang over the edge of their picture, cut off there: 1"]


def test_further_fields_and_polygons(put: Put, look: Look) -> None:
    put("a.png")
    points = "0.2 0.1 0.6 0.3 0.4 0.5"
    scan = look(put("a.txt", f"0.0 0.5 0.5 0.25 0.5 0.93\n1 {points}\n1 0.5 0.5 0.5 0.5 0.1 0.1 2\n"))
    assert boxes(scan)["a.png"] == [
        [0.5, 0.5, 0.25, 0.5, 0.0],
        pytest.approx([0.4, 0.3, 0.4, 0.4, 1.0]),
        [0.5, 0.5, 0.5, 0.5, 1.0],
    ]
    assert scan.notes == ["lines that are polygons, of which the box around all points was taken: 1"]


def test_a_box_given_twice_counts_once(put: Put, look: Look) -> None:
    put("a.png")
    scan = look(put("a.txt", ROW * 3 + "0 0.5 0.5 0.1 0.1"))
    assert len(boxes(scan)["a.png"]) == 2
    assert scan.notes == ["boxes that a picture has twice, of which one was taken: 2"]


def test_folders_of_other_tasks_are_not_claimed(put: Put, tmp_path: Path) -> None:
    put("cat/a.png")
    put("cat/a.txt", "a photo of a cat")
    folder = put("notes.txt", ROW)
    assert not claims(folder)
    assert not claims(tmp_path / "nothing")
    assert claims(folder, classes=("0",))
    assert claims(folder, lists=("train.txt",))
    assert not claims(folder, csv="x.csv", classes=("0",))
    assert not files.claims(BuildConfig(kind="videos", folder=folder))


def test_what_is_refused(put: Put, look: Look, tmp_path: Path) -> None:
    folder = put("a.png")
    with pytest.raises(DataError, match=r"must hold labels of its pictures.*got none that hold a box; name their"):
        look(folder)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="must hold images, got none"):
        look(tmp_path / "empty")
    put("a.txt", b"0 \xff")
    put("b.png")
    put("b.txt", ROW)
    with pytest.raises(DataError, match=r"a\.txt: must be UTF-8 text, got other bytes"):
        look(folder)
    with pytest.raises(UsageError, match="--csv: must be left out"):
        look(folder, csv="x.csv")
    with pytest.raises(UsageError, match="--videos: must be left out"):
        look(folder, kind="videos")
    with pytest.raises(UsageError, match=r"--labels: must be a folder or .json file that is there"):
        look(folder, labels=("a", "b"))


def test_links_are_not_followed(put: Put, look: Look, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text(ROW)
    put("a.png")
    put("b.png")
    folder = put("b.txt", ROW)
    (folder / "a.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "c.png").symlink_to(folder / "b.png")
    scan = look(folder)
    assert boxes(scan).keys() == {"b.png"}
    assert [(name, reason) for name, reason, _ in left_out(scan)] == [
        ("a.txt", "link"),
        ("c.png", "link"),
        ("a.png", "no labels"),
    ]
