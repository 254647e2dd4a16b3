"""Whatever a label file holds, it is read, or refused in one line: never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from whc.data.sources import SourceScan
from whc.errors import WhcError
from whc.tasks.detection import rows

Look = Callable[..., SourceScan]
Put = Callable[..., Path]

quick = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def read_or_refused(look: Look, folder: Path, **settings: Any) -> None:
    try:
        scan = look(folder, **settings)
    except WhcError as error:
        assert "\n" not in str(error)
        return
    for source in scan.sources:
        boxes: Any = source.cells["boxes"]
        assert all(len(box) == rows.VALUES and 0 <= box[4] < len(scan.labels) for box in boxes)
    assert all("\n" not in f"{left.name}: {left.detail}" for left in scan.left_out)


words = st.sampled_from(["0", "1", "0.5", "0.25", "1e400", "nan", "-1", "1e30", "x", "\x00", "0.5 0.5", "1" * 400])


@quick
@given(st.lists(st.lists(words, max_size=8).map(" ".join), max_size=4).map("\n".join))
def test_yolo(put: Put, look: Look, content: str) -> None:
    put("a.png")
    put("b.png")
    put("b.txt", "0 0.5 0.5 0.5 0.5\n" * 2)
    read_or_refused(look, put("a.txt", content))


@quick
@given(st.binary(max_size=60))
def test_bytes_as_yolo_names_and_lists(put: Put, look: Look, content: bytes) -> None:
    put("a.png")
    folder = put("a.txt", "0 0.5 0.5 0.5 0.5\n")
    put("data.yaml", content)
    put("train.txt", content)
    put("val.txt", "a.png")
    read_or_refused(look, folder, lists=["train.txt", "val.txt"])
    read_or_refused(look, folder)


numbers = st.sampled_from(["1", "40", "-3", "nan", "inf", "1e400", "", "x", "1" * 400])


@quick
@given(
    st.tuples(numbers, numbers, numbers, numbers), st.tuples(numbers, numbers), st.sampled_from(["dog", " ", "a\nb"])
)
def test_voc(put: Put, look: Look, voc_text: Any, corners: Any, size: Any, name: str) -> None:
    put("a.png")
    put("b.png")
    put("b.xml", voc_text(("dog", 1, 1, 9, 9)))
    read_or_refused(look, put("a.xml", voc_text((name, *corners), size=size)))


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.just(10**400) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)


@quick
@given(st.sampled_from(["images", "annotations", "categories"]), st.data())
def test_coco(put: Put, look: Look, part: str, data: st.DataObject) -> None:
    image = {"id": 1, "file_name": "a.png", "width": 40, "height": 30}
    annotation = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 9, 9], "segmentation": [], "iscrowd": 0}
    content: dict[str, Any] = {
        "images": [image],
        "annotations": [annotation, {**annotation, "id": 2}],
        "categories": [{"id": 1, "name": "dog"}],
    }
    key = data.draw(st.sampled_from(sorted(content[part][-1])))
    content[part][-1] = {**content[part][-1], key: data.draw(anything)}
    put("a.png")
    read_or_refused(look, put("_annotations.coco.json", json.dumps(content)))


@pytest.mark.parametrize("suffix", [".txt", ".xml", ".json"])
@quick
@given(content=st.binary(max_size=80))
def test_bytes(put: Put, look: Look, suffix: str, content: bytes) -> None:
    folder = put("a.png")
    put(f"labels/a{suffix}", content)
    read_or_refused(look, folder, label_path=folder / ("labels/a.json" if suffix == ".json" else "labels"))
