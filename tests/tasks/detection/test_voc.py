"""Pascal VOC's XML files: corners count from 1; what could read other files or fill the memory is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from whc.data.sources import SourceScan
from whc.errors import DataError

Look = Callable[..., SourceScan]
Put = Callable[..., Path]
Voc = Callable[..., str]


def test_corners_count_from_one(put: Put, look: Look, voc_text: Voc) -> None:
    put("JPEGImages/a.png")
    objects = (("dog", 1, 1, 40, 30), ("cat", 11, 16, 20, 30))
    scan = look(put("Annotations/a.xml", voc_text(*objects)))
    assert scan.labels == ("cat", "dog")
    (source,) = scan.sources
    assert source.cells["boxes"] == [[0.5, 0.5, 1.0, 1.0, 1.0], pytest.approx([0.375, 0.75, 0.25, 0.5, 0.0])]
    assert (source.name, source.label_size) == ("JPEGImages/a.png", (40, 30))


def test_edges_of_tools_that_count_from_zero_lie_on_the_picture(put: Put, look: Look, voc_text: Voc) -> None:
    put("a.png")
    scan = look(put("a.xml", voc_text(("dog", 0, 0, 41, 30))))
    assert scan.sources[0].cells["boxes"] == [[0.5, 0.5, 1.0, 1.0, 0.0]]
    assert scan.notes == []


def test_without_a_size_the_picture_is_looked_at(put: Put, look: Look, voc_text: Voc) -> None:
    put("a.png")
    put("b.png", b"no picture")
    put("b.xml", voc_text(("dog", 1, 1, 5, 5), size=None))
    scan = look(put("a.xml", voc_text(("dog", 1, 1, 40, 30), size=None)))
    assert scan.sources[0].cells["boxes"] == [[0.5, 0.5, 1.0, 1.0, 0.0]]
    assert [(left.name, left.detail) for left in scan.left_out] == [
        ("b.xml object 1", "must have the size of its picture, got none")
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("dog", 20, 1, 10, 5), "object 2: must have a width and height above 0"),
        (("dog", 90, 1, 99, 5), "object 2: must be shares of the picture, 0 to 1"),
        (("dog", "x", 1, 10, 5), "object 2: must have a bndbox with xmin, ymin, xmax, ymax, got [None, 1.0"),
        (("", 1, 1, 10, 5), "object 2: must have a name, got none"),
    ],
)
def test_bad_objects_are_told(put: Put, look: Look, voc_text: Voc, given: tuple[object, ...], told: str) -> None:
    put("a.png")
    scan = look(put("a.xml", voc_text(("dog", 1, 1, 40, 30), given)))
    assert len(scan.sources[0].cells["boxes"]) == 1  # type: ignore[arg-type]
    (left,) = scan.left_out
    assert f"{left.name}: {left.detail}".startswith(f"a.xml {told}")


def test_empty_files_are_pictures_without_objects(put: Put, look: Look, voc_text: Voc) -> None:
    put("a.png")
    put("b.png")
    put("c.png")
    put("a.xml", voc_text())
    put("lonely.xml", voc_text())
    scan = look(put("b.xml", voc_text(("dog", 1, 1, 9, 9))))
    assert [(source.name, source.stratum) for source in scan.sources] == [("a.png", "no box"), ("b.png", "1 box")]
    assert [(left.name, left.reason) for left in scan.left_out] == [
        ("lonely.xml", "no picture"),
        ("c.png", "no labels"),
    ]


BOMB = '<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><annotation><object><name>&b;</name></object></annotation>'
OTHER_FILE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><name>&e;</name></annotation>'


@pytest.mark.parametrize("content", [BOMB.encode(), OTHER_FILE.encode(), BOMB.encode("utf-16")])
def test_declarations_are_refused(put: Put, look: Look, voc_text: Voc, content: bytes) -> None:
    put("a.png")
    put("b.png")
    put("b.xml", content)
    with pytest.raises(DataError) as caught:
        look(put("a.xml", voc_text(("dog", 1, 1, 9, 9))))
    assert str(caught.value).endswith(
        "b.xml: must be an XML file of Pascal VOC, got '<!DOCTYPE'; remove the document type declaration"
    )


@pytest.mark.parametrize(
    "content", ["<annotation>", "text", "<other/>", b"\xff\xfe\x00", '<?xml version="1.0" encoding="xx"?><annotation/>']
)
def test_other_files_are_refused(put: Put, look: Look, voc_text: Voc, content: str | bytes) -> None:
    put("a.png")
    put("b.png")
    put("b.xml", content)
    with pytest.raises(DataError) as caught:
        look(put("a.xml", voc_text(("dog", 1, 1, 9, 9))))
    assert "b.xml: must be an XML file of Pascal VOC, got" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_formats_are_asked_back(put: Put, look: Look, voc_text: Voc) -> None:
    put("images/a.png")
    put("labels/a.txt", "0 0.5 0.5 0.5 0.5")
    folder = put("Annotations/a.xml", voc_text(("dog", 1, 1, 40, 30)))
    with pytest.raises(DataError, match=r"must have labels of one format, got .*'.txt', '.xml'.*; name the folder"):
        look(folder)
    assert look(folder, label_path=folder / "Annotations").labels == ("dog",)
    assert look(folder, label_path=folder / "labels").labels == ("class 0",)
