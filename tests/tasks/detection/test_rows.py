"""Boxes in rows become one padded array; what cannot be a box is refused with its row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.data import parquet
from whc.errors import DataError
from whc.tasks.detection import rows

NAMES = {"whc.labels": '["person", "hand"]'}
BOX = [0.5, 0.5, 0.25, 0.5, 1.0]


def frame(*lists: Any) -> pd.DataFrame:
    return pd.DataFrame({"boxes": pd.Series(list(lists), dtype=object)})


def refusal(*lists: Any, metadata: dict[str, str] = NAMES) -> str:
    with pytest.raises(DataError) as caught:
        rows.read(frame(*lists), metadata, "d.parquet")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_targets_are_padded_to_the_longest_list() -> None:
    result = rows.read(frame([BOX, BOX], [], [BOX]), NAMES, "d.parquet")
    assert result.labels == ("person", "hand")
    assert (result.targets.shape, result.targets.dtype) == ((3, 2, 5), np.dtype("float32"))
    assert result.targets[0].tolist() == [BOX, BOX]
    assert (result.targets[1] == -1).all()
    assert result.targets[2].tolist() == [BOX, [-1.0] * 5]
    assert [result.strata_names[i] for i in result.strata] == ["2 or 3 boxes", "no box", "1 box"]


def test_there_is_a_place_for_a_box_where_no_row_has_one() -> None:
    result = rows.read(frame([], []), {}, "d.parquet")
    assert result.targets.tolist() == [[[-1.0] * 5]] * 2
    assert result.labels == ("class 0",)


def test_strata_are_by_number_of_boxes() -> None:
    assert rows.strata(np.arange(7)).tolist() == [0, 1, 2, 2, 3, 3, 3]


def test_classes_without_names_are_called_by_their_numbers() -> None:
    assert rows.read(frame([[*BOX[:4], 2.0]]), {}, "d.parquet").labels == ("class 0", "class 1", "class 2")


@pytest.mark.parametrize(
    ("box", "told"),
    [
        ([0.5, 0.5, 0.0, 0.5, 0], "must have a width and height above 0, got [0.5, 0.5, 0.0, 0.5, 0.0]"),
        ([0.5, 0.5, -0.1, 0.5, 0], "must have a width and height above 0"),
        ([float("nan"), 0.5, 0.1, 0.5, 0], "must be five finite numbers"),
        ([1.2, 0.5, 0.1, 0.5, 0], "must be shares of the picture, 0 to 1, got [1.2"),
        ([0.5, 0.5, 0.1, 0.5, 2], "must have a known class (0 to 1)"),
        ([0.5, 0.5, 0.1, 0.5, 0.5], "must have a known class"),
        ([0.5, 0.5, 0.1, 0.5, -1], "must have a known class"),
    ],
)
def test_a_box_that_cannot_be_is_refused_with_its_row(box: list[float], told: str) -> None:
    message = refusal([BOX], [], [BOX, BOX, box], [BOX])
    assert message.startswith(f"d.parquet: row 2: boxes: box 2: {told}")
    assert message.endswith("; mend or drop the box")


def test_pixels_are_asked_back() -> None:
    message = refusal([], [[132.0, 40.0, 20.0, 20.0, 0.0]], [[99.0, 40.0, 20.0, 20.0, 0.0]])
    assert message.startswith(
        "d.parquet: row 1: boxes: box 0: must be shares of the picture, 0 to 1, got 132.0; divide"
    )


def test_a_row_without_a_list_is_refused() -> None:
    assert refusal([BOX], None).startswith("d.parquet: row 1: boxes: must be a list of boxes, got None; write an empty")
    assert "each box must be five finite numbers" in refusal([[0.5, 0.5]])
    assert "each box must be five finite numbers" in refusal([BOX, None])


@pytest.mark.parametrize("text", ["{}", "[1]", '["a", "a"]', "[", "[]"])
def test_names_of_classes_must_be_a_list(text: str) -> None:
    assert "metadata whc.labels: must be a JSON list of different names" in refusal([], metadata={"whc.labels": text})


def test_rows_need_not_have_boxes_where_nobody_asks() -> None:
    targets, is_known = rows.read_known(frame([BOX], None, []), ["a", "b"], "d.parquet")
    assert targets.tolist() == [[BOX], [[-1.0] * 5], [[-1.0] * 5]]
    assert is_known.tolist() == [True, False, True]


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.list_(pa.float32(), 5)),
        pa.list_(pa.list_(pa.float64())),
        pa.large_list(pa.large_list(pa.float32())),
        pa.list_(pa.list_(pa.float64(), 5)),
    ],
)
def test_lists_of_any_kind_are_read(tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"image_bytes": [b"x", b"y"], "boxes": pa.array([[BOX], []], kind)})
    pq.write_table(table, tmp_path / "d.parquet")
    content = parquet.read([tmp_path / "d.parquet"], rows.label_readers())
    assert rows.read(content.columns.to_pandas(), NAMES, "d").targets.tolist() == [[BOX], [[-1.0] * 5]]


@pytest.mark.parametrize("value", [["text"], [[1.0]], [[[0.5] * 4]], [{"a": 1}]])
def test_other_columns_are_refused(tmp_path: Path, value: Any) -> None:
    pq.write_table(pa.table({"image_bytes": [b"x"], "boxes": value}), tmp_path / "d.parquet")
    with pytest.raises(DataError, match="boxes: must be a column of lists of boxes, cx cy w h class each, got"):
        parquet.read([tmp_path / "d.parquet"], rows.label_readers())


shares = st.floats(0, 1, width=32)
sizes = st.floats(0, 1, width=32, exclude_min=True)
some_boxes = st.lists(st.tuples(shares, shares, sizes, sizes, st.integers(0, 1)), max_size=6)


@given(st.lists(some_boxes, min_size=1, max_size=8))
def test_every_box_is_in_its_place(lists: list[list[tuple[float, ...]]]) -> None:
    result = rows.read(frame(*lists), NAMES, "d")
    for target, boxes, stratum in zip(result.targets, lists, result.strata, strict=True):
        assert target[: len(boxes)].tolist() == [list(map(float, box)) for box in boxes]
        assert (target[len(boxes) :] == -1).all()
        assert stratum == sum(len(boxes) >= least for least in (1, 2, 4))
