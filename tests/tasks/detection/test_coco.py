"""COCO's JSON files: pictures by their paths, boxes in pixels, crowds left out."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from whc.data.sources import BuildConfig, SourceScan
from whc.errors import DataError
from whc.tasks.detection import files

Look = Callable[..., SourceScan]
Put = Callable[..., Path]

CATEGORIES = [{"id": 7, "name": "hand"}, {"id": 1, "name": "person"}]


def image(number: int, name: str, **changes: Any) -> dict[str, Any]:
    return {"id": number, "file_name": name, "width": 40, "height": 30} | changes


def box(image_id: int, x: float, y: float, w: float, h: float, category: int = 1, **changes: Any) -> dict[str, Any]:
    return {"id": 100 + image_id, "image_id": image_id, "category_id": category, "bbox": [x, y, w, h]} | changes


def text(images: list[Any], annotations: list[Any], categories: list[Any] = CATEGORIES) -> str:
    return json.dumps({"images": images, "annotations": annotations, "categories": categories})


def boxes(scan: SourceScan) -> dict[str, Any]:
    return {source.name: source.cells["boxes"] for source in scan.sources}


@pytest.mark.parametrize(
    ("picture", "label"),
    [
        ("a.png", "_annotations.coco.json"),
        ("train/a.png", "train/_annotations.coco.json"),
        ("images/a.png", "annotations/all.json"),
        ("train2017/a.png", "annotations/instances_train2017.json"),
        ("images/train2017/a.png", "annotations/instances_train2017.json"),
    ],
)
def test_files_are_found(put: Put, look: Look, picture: str, label: str) -> None:
    put(picture)
    folder = put(label, text([image(1, "a.png")], [box(1, 10, 15, 10, 15), box(1, 0, 0, 40, 30, 7)]))
    assert files.claims(BuildConfig(kind="images", folder=folder))
    scan = look(folder)
    assert scan.labels == ("person", "hand")
    assert boxes(scan) == {picture: [[0.375, 0.75, 0.25, 0.5, 0.0], [0.5, 0.5, 1.0, 1.0, 1.0]]}


def test_a_file_may_be_given(put: Put, look: Look) -> None:
    folder = put("images/deep/a.png")
    put("images/b.png")
    put("images/c.png")
    put(
        "labels.json", text([image(1, "deep/a.png"), image(2, "images/b.png"), image(3, "d.png")], [box(1, 0, 0, 8, 6)])
    )
    scan = look(folder, label_path=folder / "labels.json", classes=("person",))
    assert boxes(scan) == {"images/b.png": [], "images/deep/a.png": [pytest.approx([0.1, 0.1, 0.2, 0.2, 0])]}
    assert [(left.name, left.reason, left.detail) for left in scan.left_out] == [
        ("labels.json image 3", "no picture", "'d.png' is not there"),
        ("images/c.png", "no labels", "no labels of its name"),
    ]


def test_equal_names_in_several_folders_are_told_apart(put: Put, look: Look) -> None:
    for split, width in (("train", 10), ("val", 20)):
        put(f"images/{split}/1.png")
        folder = put(f"annotations/{split}.json", text([image(1, "1.png")], [box(1, 0, 0, width, 15)]))
    scan = look(folder, split=None)
    assert {(s.name, s.split, s.cells["boxes"][0][2]) for s in scan.sources} == {  # type: ignore[index]
        ("images/train/1.png", "train", 0.25),
        ("images/val/1.png", "val", 0.5),
    }


def test_the_split_of_a_file_counts_where_folders_tell_none(put: Put, look: Look) -> None:
    for number, split in enumerate(("train", "val", "test")):
        put(f"images/{number}.png")
        folder = put(f"annotations/{split}.json", text([image(number, f"{number}.png")], [box(number, 0, 0, 20, 15)]))
    scan = look(folder, split=None)
    assert [source.split for source in scan.sources] == ["train", "val", "test"]


def test_official_files_of_other_kinds_are_not_read(put: Put, look: Look) -> None:
    put("val2017/a.png")
    put("annotations/captions_val2017.json", '{"annotations": [{"caption": "a"}]}')
    scan = look(put("annotations/instances_val2017.json", text([image(1, "a.png")], [box(1, 0, 0, 20, 15)])))
    assert len(boxes(scan)) == 1


def test_crowds_polygons_and_bad_boxes(put: Put, look: Look) -> None:
    put("a.png")
    polygons = [[0, 0, 20, 0, 20, 15], [10, 10, 40, 10, 40, 30]]
    mask = {"counts": "abc", "size": [30, 40]}
    annotations = [
        box(1, 0, 0, 20, 15, iscrowd=1, segmentation=mask),
        box(1, 0, 0, 20, 15, segmentation=polygons),
        box(1, 0, 0, 0, 0, bbox=None, segmentation=polygons, id=8),
        box(1, 0, 0, 0, 0, bbox=None, segmentation=mask, id=9),
    ]
    scan = look(put("_annotations.coco.json", text([image(1, "a.png")], annotations)))
    assert boxes(scan) == {"a.png": [[0.25, 0.25, 0.5, 0.5, 0.0], [0.5, 0.5, 1.0, 1.0, 0.0]]}
    assert [(left.name, left.reason, left.detail) for left in scan.left_out] == [
        ("_annotations.coco.json annotation 101", "crowd", "one box around many"),
        ("_annotations.coco.json annotation 9", "bad box", "must have a bbox, or polygons, got neither"),
    ]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bbox": [1, 2, 3]}, "must have a bbox of four numbers, got [1, 2, 3]"),
        ({"bbox": "text"}, "must have a bbox of four numbers, got 'text'"),
        ({"bbox": [0, 0, -5, 5]}, "must have a width and height above 0"),
        ({"bbox": [90, 0, 5, 5]}, "must be shares of the picture"),
        ({"category_id": 3}, "must have a known class, got 3"),
    ],
)
def test_bad_annotations_are_told(put: Put, look: Look, changes: dict[str, Any], told: str) -> None:
    put("a.png")
    annotations = [box(1, 0, 0, 20, 15), box(1, 0, 0, 20, 20, id=5) | changes]
    scan = look(put("_annotations.coco.json", text([image(1, "a.png")], annotations)))
    (left,) = scan.left_out
    assert (left.name, left.reason) == ("_annotations.coco.json annotation 5", "bad box")
    assert left.detail.startswith(told)


@pytest.mark.parametrize("name", ["../secret.png", "/etc/a.png", "x/../../secret.png", "..\\secret.png", ""])
def test_names_stay_below_the_folder(put: Put, look: Look, tmp_path: Path, name: str) -> None:
    put("a.png")
    (tmp_path / "secret.png").touch()
    with pytest.raises(DataError, match="file_name: must be the path of a picture below the folder, got"):
        look(put("_annotations.coco.json", text([image(1, name)], [box(1, 0, 0, 20, 15)])))


SOUND = ([image(1, "a.png")], [box(1, 0, 0, 20, 15)])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", ".json: must be a JSON file of COCO, got: Invalid JSON"),
        ("[]", ".json: must be a JSON file of COCO, got: Input should be an object"),
        ("[" * 100_000, ".json: must be a JSON file of COCO, got: Invalid JSON"),
        ('{"images": [], "annotations": []}', ".json.categories: must be a JSON file of COCO, got: Field required"),
        (text([{"id": 1}], []), ".json.images.0.file_name: must be a JSON file of COCO, got: Field required"),
        (text(SOUND[0] * 2, []), ".json: images: must have different ids, got 1"),
        (text(SOUND[0] + [image(2, "./a.png")], []), "a.png: must be named once, got"),
        (text(SOUND[0], [box(2, 0, 0, 9, 9)]), ".json: annotations: image_id must be one of the images, got 2"),
        (text(*SOUND, [*CATEGORIES, {"id": 9, "name": "hand"}]), ".json: categories: must have different names"),
        (text(*SOUND, [*CATEGORIES, {"id": 7, "name": "x"}]), ".json: categories: category 7 must be called as"),
        (text(SOUND[0], [box(1, 0.1, 0.1, 0.5, 0.9)]), ".json: bbox: must be x y w h in pixels, got 'at most 0.9'"),
        (text([image(1, "b.png")], [box(1, 0, 0, 9, 9)]), "must have labels of its pictures, got none, but of"),
    ],
)
def test_files_that_cannot_be(put: Put, look: Look, content: str, told: str) -> None:
    folder = put("a.png")
    put("labels.json", content)
    with pytest.raises(DataError) as caught:
        look(folder, label_path=folder / "labels.json")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there(put: Put, look: Look) -> None:
    folder = put("a.png")
    with pytest.raises(DataError, match=r"no\.json: must be a readable file of labels, got: No such file"):
        look(folder, label_path=folder / "no.json")
