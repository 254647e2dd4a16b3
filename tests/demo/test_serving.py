"""Tables of pictures in, tables of answers out, as MLflow models give them."""

from __future__ import annotations

import csv
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whc.data.preprocess import Image
from whc.demo import model as models
from whc.demo.model import LoadedModel
from whc.demo.predict import predict
from whc.demo.serving import MAX_PIXELS, PictureTable
from whc.errors import DataError

Build = Callable[..., Path]


@pytest.fixture
def pictures() -> list[Image]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (20, 24, 3)).astype(np.uint8) for _ in range(9)]


def png(picture: Image) -> bytes:
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()


def by_predict(model: LoadedModel, table: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    """What `whc predict` says of a Parquet file, in the order of its rows; numbers as numbers."""
    pq.write_table(pa.table(table), folder / "rows.parquet")
    predict(model, folder / "rows.parquet", folder / "rows.csv")
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: int(row["row"]))
    text = model.answers.text_columns
    return [
        {name: cell if name in text else float(cell) for name, cell in row.items() if name not in ("path", "split")}
        for row in rows
    ]


def rows_of(table: dict[str, Any]) -> list[dict[str, Any]]:
    return [dict(zip(table, cells, strict=True)) for cells in zip(*table.values(), strict=True)]


def test_stills_are_answered_as_predict_does(colour_model: Build, pictures: list[Image], tmp_path: Path) -> None:
    model, encoded = models.load(colour_model()), [png(picture) for picture in pictures]
    table = PictureTable(model).of_encoded(encoded)
    assert rows_of(table) == by_predict(model, {"image_bytes": encoded}, tmp_path)
    assert PictureTable(model).of_arrays(np.stack(pictures)) == table
    paths = [tmp_path / f"{number}.png" for number in range(len(encoded))]
    for path, content in zip(paths, encoded, strict=True):
        path.write_bytes(content)
    assert PictureTable(model).of_paths([str(path) for path in paths]) == table


def test_sequences_have_a_row_from_the_first_full_window_on(
    change_model: Build, pictures: list[Image], tmp_path: Path
) -> None:
    model, encoded = models.load(change_model(frames=3)), [png(picture) for picture in pictures]
    videos = ["b", "a", "b", "a", "b", "a", "b", "b", "short"]
    times = [3.0, 0.0, 1.0, 2.0, 2.0, 1.0, 0.0, 4.0, 0.0]
    table = PictureTable(model).of_encoded(encoded, videos, times)
    assert table["row"] == [0, 3, 4, 7]
    columns = {"image_bytes": encoded, "video_id": videos, "timestamp": [int(time) for time in times]}
    assert rows_of(table) == by_predict(model, columns, tmp_path)


def test_boxes_have_one_row_a_picture(box_model: Build, pictures: list[Image]) -> None:
    box = [0.5, 0.5, 0.2, 0.4]
    model = models.load(box_model([[0.9, 1, *box], [0.8, 0, *box], [0.1, 0, *box]]))
    table = PictureTable(model).of_arrays(np.stack(pictures))
    assert table["row"] == list(range(9))
    assert table["count"] == [2.0] * 9
    assert table["boxes"] == ["[[0.9, 1.0, 0.5, 0.5, 0.2, 0.4], [0.8, 0.0, 0.5, 0.5, 0.2, 0.4]]"] * 9


@pytest.mark.parametrize("image", ["PATH", "https://127.0.0.1/a.png", None, 3, b"", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_only_bytes_of_pictures_are_decoded(colour_model: Build, pictures: list[Image], image: Any) -> None:
    table = PictureTable(models.load(colour_model()))
    path = Path(colour_model()).with_name("a.png")
    path.write_bytes(png(pictures[0]))
    with pytest.raises(DataError, match=r"^row 1: image: must be a picture, got: ") as caught:
        table.of_encoded([png(pictures[0]), str(path) if image == "PATH" else image])
    assert "\n" not in str(caught.value)


def test_a_large_picture_is_refused_before_it_is_decoded(colour_model: Build, pictures: list[Image]) -> None:
    encoded, side = png(pictures[0]), int(MAX_PIXELS**0.5) + 1
    claimed = encoded[:16] + struct.pack(">II", side, side) + encoded[24:]  # a size that its pixels have not
    with pytest.raises(DataError, match=f"{side}x{side} pixels, over 25 megapixels"):
        PictureTable(models.load(colour_model())).of_encoded([claimed])


def test_an_order_is_needed_and_must_be_clear(change_model: Build, pictures: list[Image]) -> None:
    table = PictureTable(models.load(change_model(frames=2)))
    with pytest.raises(DataError, match="must come with the pictures of a model of 2 frames"):
        table.of_arrays(np.stack(pictures))
    with pytest.raises(DataError, match="must be distinct within a video_id"):
        table.of_arrays(np.stack(pictures), ["a"] * 9, [0.0] * 9)


def test_arrays_of_other_kinds_are_refused(colour_model: Build, pictures: list[Image]) -> None:
    table = PictureTable(models.load(colour_model()))
    for wrong in (np.stack(pictures).astype(np.float32), pictures[0], np.stack(pictures)[..., :1]):
        with pytest.raises(DataError, match=r"must be uint8 of shape \(N, H, W, 3\)"):
            table.of_arrays(wrong)
