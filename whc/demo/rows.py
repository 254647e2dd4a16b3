"""Pictures to predict: rows of Parquet files, or what `whc.demo.crops` opens."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from whc.data.pictures import printable
from whc.data.preprocess import Image, read_image
from whc.data.shards import is_folder_of_shards
from whc.data.split_names import split_named
from whc.demo.crops import Crop, Crops, Prepare, open_files
from whc.errors import DataError, UsageError, problem
from whc.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

    from whc.data.dataset import Table


@contextmanager
def open_crops(source: Path, prepare: Prepare, task: Task, frames: int, split: str | None = None) -> Iterator[Crops]:
    """Open a source and close it at the end.

    Args:
        source: folder of images (and its subfolders), image, Parquet file (or folder of shards) or video.
        prepare: turns a picture of any size into a frame of the model's size.
        task: task of the model.
        frames: frames in one input of the model; several frames need an order.
        split: the split of a Parquet file to predict; None: all rows.

    Raises:
        DataError: the source does not exist, or holds nothing that can be predicted.
        UsageError: a split is given, but the source has no splits.
    """
    is_parquet = source.suffix.lower() == ".parquet" or is_folder_of_shards(source)
    if split is not None and not is_parquet:
        raise UsageError(problem("--split", f"must come with a Parquet file, not {source}", split, "leave it out"))
    if is_parquet:
        yield parquet_crops([source], prepare, task, frames, split)
    elif not source.is_dir() and not source.is_file():
        rule = "must be a folder of images, an image, a Parquet file or a video"
        raise DataError(f"{printable(str(source))}: {rule}, got nothing there; check the path")
    else:
        with open_files(source, prepare) as crops:
            yield crops


def parquet_crops(paths: Sequence[Path], prepare: Prepare, task: Task, frames: int, split: str | None) -> Crops:
    """Rows of Parquet files in their order; for a model of several frames, clip by clip in order of time.

    The arguments are those of `open_crops`. Several files are one data set, as `whc.data.dataset.read` reads them.

    Raises:
        DataError: as `open_crops`.
    """
    import pandas as pd  # not needed for folders and videos

    from whc.data.clips import BY_TIME
    from whc.data.dataset import read

    path = paths[0]
    table = read(paths, type(task), is_labelled=False)
    split_name = None if split is None else split_named(split) or split
    rows = table.rows if split_name is None else table.rows[table.rows["split"] == split_name]
    if rows.empty:
        present = ", ".join(sorted(set(table.rows["split"]) - {""})) or "none"
        raise DataError(problem(f"{path}: split", "must be one that the file has", split, f"there: {present}"))
    truth = task.read_truth(rows, str(path))
    if truth:
        targets = [target if is_known else None for target, is_known in zip(truth.targets, truth.is_known, strict=True)]
        rows = rows.assign(target=pd.Series(targets, rows.index, object), **truth.columns)
    if frames > 1:
        rows = _ordered(rows, frames, path)
    columns = {"image_path": "path"}  # columns of the file, to those of the table
    if rows["split"].any():
        columns["split"] = "split"
    columns |= {name: name for name in truth.columns} if truth else {}
    note = table.clip_rule if frames > 1 and table.clip_rule != BY_TIME else ""
    crops = _row_crops(table, rows, prepare, columns)
    return Crops(str(path), ("row", *columns.values()), len(rows), table.frame_rate, crops, note)


def _ordered(rows: pd.DataFrame, frames: int, path: Path) -> pd.DataFrame:
    if rows.duplicated(["clip", "place"]).any():
        rule = f"frames of one video_id must have distinct timestamps for a model of {frames} frames"
        raise DataError(f"{path}: {rule}, got some twice; choose a model of single images")
    return rows.sort_values(["clip", "place"])


def _row_crops(table: Table, rows: pd.DataFrame, prepare: Prepare, columns: Iterable[str]) -> Iterator[Crop]:
    place = rows.groupby("clip", sort=False).cumcount()
    rows = rows.assign(clip=rows["clip"].astype(str), seconds=place / (table.frame_rate or math.inf))
    cell_rows = rows[list(columns)].itertuples(name=None)
    if "target" not in rows:
        rows = rows.assign(target=None)
    facts = rows[["image_path", "clip", "seconds", "split", "target"]].itertuples(index=False, name=None)
    for (number, *cells), (name, *place_and_target) in zip(cell_rows, facts, strict=True):
        load = partial(_load_encoded, table.encoded[number].as_py() or b"", prepare)
        yield Crop(name, (number, *cells), load, *place_and_target)


def _load_encoded(encoded: bytes, prepare: Prepare) -> Image:
    return prepare(read_image(encoded))
