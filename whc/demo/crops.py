"""What is predicted: images of a folder, rows of a Parquet file or frames of a video, and what is told of each."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whc.data.pictures import is_still, pictures_below, read_picture, shown
from whc.data.preprocess import Image, read_image
from whc.data.shards import is_folder_of_shards
from whc.data.split_names import split_named
from whc.data.video import Video, open_video
from whc.errors import DataError, UsageError, problem
from whc.tasks import Task

if TYPE_CHECKING:
    import pandas as pd

    from whc.data.dataset import Table

Prepare = Callable[[Image], Image]
Target = Any  # a row of a task's targets: a number or an array


@dataclass(frozen=True)
class Crop:
    """One picture that is still to be decoded.

    `look` gives it as the model wants it, or raises Unreadable. `told` are the first cells of its row.
    Windows of frames stay within a `clip`, in which the picture stands at `seconds`. `target` is the true one, as its
    task has it, None where nobody says.
    """

    name: str
    told: tuple[object, ...]
    look: Callable[[], Image]
    clip: str
    seconds: float
    split: str = ""
    target: Target | None = None


@dataclass(frozen=True)
class Crops:
    """The pictures of a source, to be gone through once.

    `columns` name what is `told` of each. `count` is their number as far as known beforehand, `fps` the frames a second
    of a clip, None where every picture counts. `note` is what should be told of how they were read.
    """

    source: str
    columns: tuple[str, ...]
    count: int | None
    fps: float | None
    pictures: Iterator[Crop]
    note: str = ""


@contextmanager
def open_crops(source: Path, prepare: Prepare, task: Task, frames: int, split: str | None = None) -> Iterator[Crops]:
    """Open a source and close it at the end.

    Args:
        source: folder of images (and its subfolders), image, Parquet file (or folder of shards) or video.
        prepare: makes a picture of any size what the model wants.
        task: of the model.
        frames: of one input of the model; more than one must have an order.
        split: the only split of a Parquet file to take.

    Raises:
        DataError: nothing there, or nothing in it that can be predicted.
        UsageError: a split of something that has none.
    """
    is_parquet = source.suffix.lower() == ".parquet" or is_folder_of_shards(source)
    if split is not None and not is_parquet:
        raise UsageError(problem("--split", f"must come with a Parquet file, not {source}", split, "leave it out"))
    if is_parquet:
        yield parquet_crops([source], prepare, task, frames, split)
    elif source.is_dir():
        yield _files(str(source), source, pictures_below(source)[0], prepare)
    elif not source.is_file():
        rule = "must be a folder of images, an image, a Parquet file or a video"
        raise DataError(f"{shown(str(source))}: {rule}, got nothing there; check the path")
    elif is_still(source):
        yield _files(str(source), source.parent, [source], prepare)
    else:
        with open_video(source) as video:
            yield Crops(str(source), ("frame", "seconds"), video.count, video.fps, _filmed(video, prepare))


def _files(source: str, top: Path, images: Sequence[Path], prepare: Prepare) -> Crops:
    """Images somewhere below a folder, each folder a clip."""

    def crops() -> Iterator[Crop]:
        for path in images:
            told = (shown(path.relative_to(top).as_posix()),)
            yield Crop(shown(str(path)), told, partial(_look_at_file, path, prepare), str(path.parent), 0.0)

    return Crops(source, ("path",), len(images), None, crops())


def _look_at_file(path: Path, prepare: Prepare) -> Image:
    return prepare(read_picture(path))


def _look(encoded: bytes, prepare: Prepare) -> Image:
    return prepare(read_image(encoded))


def parquet_crops(paths: Sequence[Path], prepare: Prepare, task: Task, frames: int, split: str | None) -> Crops:
    """Rows of Parquet files in their order; clip by clip in order of time for a model of several frames.

    The arguments are those of `open_crops`. Several files are one data set, as `whc.data.dataset.read` reads them.

    Raises:
        DataError: as `open_crops`.
    """
    import pandas as pd  # folders and videos can do without

    from whc.data.clips import BY_TIME
    from whc.data.dataset import read

    path = paths[0]
    table = read(paths, type(task), is_labelled=False)
    asked = None if split is None else split_named(split) or split
    rows = table.rows if asked is None else table.rows[table.rows["split"] == asked]
    if rows.empty:
        there = ", ".join(sorted(set(table.rows["split"]) - {""})) or "none"
        raise DataError(problem(f"{path}: split", "must be one that the file has", split, f"there: {there}"))
    truth = task.read_truth(rows, str(path))
    if truth:
        targets = [target if known else None for target, known in zip(truth.targets, truth.is_known, strict=True)]
        rows = rows.assign(target=pd.Series(targets, rows.index, object), **truth.columns)
    if frames > 1:
        rows = _in_order(rows, frames, path)
    shown = {"image_path": "path"}
    if rows["split"].any():
        shown["split"] = "split"
    shown |= {name: name for name in truth.columns} if truth else {}
    note = table.clip_rule if frames > 1 and table.clip_rule != BY_TIME else ""
    crops = _rows(table, rows, prepare, shown)
    return Crops(str(path), ("row", *shown.values()), len(rows), table.frame_rate, crops, note)


def _in_order(rows: pd.DataFrame, frames: int, path: Path) -> pd.DataFrame:
    if rows.duplicated(["clip", "place"]).any():
        rule = f"frames of one video_id must have distinct timestamps for a model of {frames} frames"
        raise DataError(f"{path}: {rule}, got some twice; choose a model of single images")
    return rows.sort_values(["clip", "place"])


def _rows(table: Table, rows: pd.DataFrame, prepare: Prepare, shown: Iterable[str]) -> Iterator[Crop]:
    place = rows.groupby("clip", sort=False).cumcount()
    rows = rows.assign(clip=rows["clip"].astype(str), seconds=place / (table.frame_rate or math.inf))
    told = rows[list(shown)].itertuples(name=None)
    if "target" not in rows:
        rows = rows.assign(target=None)
    facts = rows[["image_path", "clip", "seconds", "split", "target"]].itertuples(index=False, name=None)
    for (number, *cells), (name, *where) in zip(told, facts, strict=True):
        look = partial(_look, table.encoded[number].as_py() or b"", prepare)
        yield Crop(name, (number, *cells), look, *where)


def _filmed(video: Video, prepare: Prepare) -> Iterator[Crop]:
    for number, (picture, seconds) in enumerate(video):
        # At once: frames as they were filmed are too large to keep.
        small = prepare(picture)
        yield Crop(f"frame {number}", (number, f"{seconds:.3f}"), partial(_same, small), "", seconds)


def _same(picture: Image) -> Image:
    return picture
