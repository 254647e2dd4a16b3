"""A labelled data set: read from Parquet, checked, decoded once into plain arrays that every trial shares."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from whc.data import parquet, split_names
from whc.data.clips import find_clips
from whc.data.parquet import Content
from whc.data.preprocess import INTERPOLATION, Image, decode, fault, resize
from whc.data.row_labels import LabelSource, RowLabels
from whc.data.split_names import ALIASES, split_named
from whc.errors import DataError, problem

SPLITS = split_names.SPLITS
REQUIRED_COLUMNS = ("split", "image_bytes")
OPTIONAL_COLUMNS = ("image_path", "video_id", "timestamp", "person_id", "source")
MAX_UNREADABLE = 0.01

Size = tuple[int, int]


@dataclass(frozen=True)
class Table:
    """A checked Parquet file, images still encoded.

    `rows` has the columns split, image_path, video_id and person_id (the last three filled in where the file lacks
    them), those of labels (empty where the file lacks them), and `clip`, `clip_name` and `place`, the clip that a frame
    belongs to, by number and by name, and what orders it there. `encoded` holds the image files, row by row. `labelled`
    is what the task reads from the rows, None where nobody asked. `clip_rule` and `split_aliases` say how clips and
    splits were read, the latter where their names are not ours.
    """

    path: Path
    rows: pd.DataFrame
    encoded: pa.ChunkedArray
    labelled: RowLabels | None
    frame_rate: float | None
    fingerprint: str
    clip_rule: str
    split_aliases: str


@dataclass(frozen=True)
class Corpus:
    """A decoded data set of N rows; arrays only, so that Ray's object store maps it without a copy.

    `images[(H, W)]` is uint8 (N, H, W, 3) RGB. `labelled` is what the rows say (`RowLabels`); with
    `needs_every_stratum` every split has rows of every stratum. `splits` indexes SPLITS, `clips` and `groups` number
    the clips and the people (a video where people are unknown), `timestamps` orders the frames of a clip. `row_numbers`
    are those of the file. `unreadable` names the rows left out; `interpolation` is how images were resized,
    `clip_rule` how clips were found.
    """

    images: Mapping[Size, Image]
    labelled: RowLabels
    needs_every_stratum: bool
    splits: NDArray[np.int64]
    clips: NDArray[np.int64]
    groups: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    row_numbers: NDArray[np.int64]
    frame_rate: float | None
    fingerprint: str
    unreadable: tuple[str, ...] = ()
    interpolation: str = INTERPOLATION
    clip_rule: str = ""

    @property
    def targets(self) -> NDArray[Any]:
        """What a network learns of each row (N, ...)."""
        return self.labelled.targets

    @property
    def strata(self) -> NDArray[np.int64]:
        """The kind of each row (N,)."""
        return self.labelled.strata

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of what targets count."""
        return self.labelled.labels

    @property
    def has_test(self) -> bool:
        """Whether there is a test split; without it nothing can be scored on test."""
        return SPLITS.index("test") in self.splits


def read(path: Path | Sequence[Path], task: LabelSource, is_labelled: bool = True) -> Table:
    """Read and check a Parquet file of crops, or a folder of shards.

    Args:
        path: Parquet file, or a folder of them, in any of the forms that `whc.data.parquet.read` takes. Several such
            become one data set: people and clips of one are no people and clips of another.
        task: whose labels to read.
        is_labelled: whether every row must have split and labels. Otherwise images are enough, and nobody asks whether
            labels agree.

    Raises:
        DataError: missing or corrupt file, missing columns, wrong types, unknown splits, contradictory labels.
    """
    readers = task.label_readers()
    paths = [path] if isinstance(path, Path) else list(path)
    content, name = parquet.read(paths, readers), paths[0]
    _check_columns(content, name, (*REQUIRED_COLUMNS, *task.required_columns) if is_labelled else ("image_bytes",))
    rows = content.columns.to_pandas()
    for column in {*REQUIRED_COLUMNS, *OPTIONAL_COLUMNS, *readers} - set(rows) - {"image_bytes"}:
        rows[column] = None
    written = rows["split"].fillna("")
    rows["split"] = written.map(lambda split: split_named(split) or split)
    unknown = sorted(set(rows["split"]) - set(SPLITS))
    if is_labelled and unknown:
        rule = f"must be one of {', '.join(SPLITS)} (or {', '.join(sorted(set(ALIASES) - set(SPLITS)))})"
        raise DataError(problem(f"{name}: split", rule, unknown[0], "rename the split"))
    clips = find_clips(rows)
    frame = _filled(rows.assign(clip=clips.numbers, clip_name=clips.names, place=clips.places))
    return Table(
        path=name,
        rows=frame,
        encoded=content.encoded,
        labelled=task.read_rows(frame, content.metadata, str(name)) if is_labelled else None,
        frame_rate=content.frame_rate,
        fingerprint=content.fingerprint,
        clip_rule=clips.rule,
        split_aliases=_aliases(written),
    )


def _aliases(written: pd.Series[str]) -> str:
    """Which names of splits are read as others, in words; nothing where none is."""
    others = [name for name in sorted(set(written)) if split_named(name) not in (None, name)]
    return ", ".join(f"{name} as {split_named(name)}" for name in others)


def _check_columns(content: Content, path: Path, required: tuple[str, ...]) -> None:
    columns = content.columns
    there = {*columns.column_names, *(() if content.encoded is None else ("image_bytes",))}
    missing = [name for name in required if name not in there]
    if missing:
        rule = f"must have the columns {', '.join(required)}"
        raise DataError(problem(str(path), rule, list(content.names), f"add {', '.join(missing)}"))
    if columns.num_rows == 0:
        raise DataError(f"{path}: must have rows, got none; build the data set again")
    for name in required:
        empty = columns[name].null_count if name in columns.column_names else 0
        if empty:
            raise DataError(problem(f"{path}: {name}", "must have no empty values", empty, "fill or drop those rows"))


def _filled(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows in which every column has a value: a row without a name is called after its number."""
    own_row = pd.Series([f"row {i}" for i in range(len(rows))])
    for name, instead in (("image_path", own_row), ("video_id", own_row), ("person_id", None)):
        rows[name] = rows[name].astype(object).fillna(rows["video_id"] if instead is None else instead).astype(str)
    return rows


def load(
    path: Path | Sequence[Path],
    sizes: Iterable[Size],
    task: LabelSource,
    on_progress: Callable[[int, int], None] | None = None,
    interpolation: str = INTERPOLATION,
) -> Corpus:
    """Read a data set and decode every image once, at every size asked for.

    Args:
        path: Parquet file, or a folder of shards; or several of them.
        sizes: (height, width) of the inputs that will be needed.
        task: whose labels to read.
        on_progress: called with rows done and rows in all.
        interpolation: how images are resized, a key of `whc.data.preprocess.INTERPOLATIONS`.

    Raises:
        DataError: as `read`; also more than 1 % of the images unreadable, a split that lacks a stratum which the task
            needs, or no rows of train or val (test may be absent).
    """
    table = read(path, task)
    assert table.labelled is not None  # noqa: S101 (it was asked for)
    count = len(table.rows)
    images = {size: np.zeros((count, *size, 3), np.uint8) for size in sorted(set(sizes))}
    readable = np.ones(count, bool)

    def work(start: int) -> int:
        stop = min(start + 256, count)
        for i, scalar in enumerate(table.encoded.slice(start, stop - start), start):
            picture = decode(scalar.as_py() or b"")
            if picture is None:
                readable[i] = False
                continue
            for size, target in images.items():
                target[i] = resize(picture, *size, interpolation)
        return stop - start

    done = 0
    with ThreadPoolExecutor() as pool:
        for finished in pool.map(work, range(0, count, 256)):
            done += finished
            if on_progress:
                on_progress(done, count)
    _check_readable(table, readable)
    keep = slice(None) if readable.all() else np.flatnonzero(readable)
    rows = table.rows
    corpus = Corpus(
        images={size: array[keep] for size, array in images.items()},
        labelled=replace(table.labelled, targets=table.labelled.targets[keep], strata=table.labelled.strata[keep]),
        needs_every_stratum=task.needs_every_stratum,
        splits=pd.Categorical(rows["split"], SPLITS).codes.astype(np.int64)[keep],
        clips=rows["clip"].to_numpy(np.int64)[keep],
        groups=pd.factorize(rows["person_id"])[0].astype(np.int64)[keep],
        timestamps=rows["place"].to_numpy(np.int64)[keep],
        row_numbers=np.arange(count)[keep],
        frame_rate=table.frame_rate,
        fingerprint=table.fingerprint,
        unreadable=tuple(rows["image_path"][~readable]),
        interpolation=interpolation,
        clip_rule=table.clip_rule,
    )
    _check_strata(corpus, table)
    return corpus


def _check_readable(table: Table, readable: NDArray[np.bool_]) -> None:
    bad = int((~readable).sum())
    if bad > MAX_UNREADABLE * len(readable):
        first = int(np.flatnonzero(~readable)[0])
        why = fault(table.encoded[first].as_py() or b"")
        rule = f"at most {MAX_UNREADABLE:.0%} of the images may be unreadable (this one: {why})"
        raise DataError(
            problem(
                f"{table.path}: {table.rows['image_path'][first]}",
                rule,
                f"{bad} of {len(readable)}",
                f"list them with `whc data info {table.path}`",
            )
        )


def _check_strata(corpus: Corpus, table: Table) -> None:
    rows, names = Counter(table.rows["split"]), corpus.labelled.strata_names
    if corpus.needs_every_stratum and len(names) < 2:
        rule = "must have at least two classes"
        raise DataError(problem(f"{table.path}: label", rule, list(names), "add rows of another"))
    for code, split in enumerate(SPLITS):
        if split not in rows:
            _check_absent(split, rows, table.path)
            continue
        present = set(corpus.strata[corpus.splits == code].tolist())
        for stratum, name in enumerate(names if corpus.needs_every_stratum else ()):
            if stratum not in present:
                raise DataError(
                    problem(
                        f"{table.path}: split {split!r}",
                        f"must have readable rows of every class, {name!r} has none",
                        sorted(present),
                        "split the data again",
                    )
                )


def _check_absent(split: str, rows: Counter[str], path: Path) -> None:
    if split == "test":
        return  # nothing is trained or chosen on it
    rule = "must have rows (only test may be absent)"
    (largest, _), *_ = rows.most_common()
    next_step = f"give a part of {largest}, whole people or clips, the split {split!r}"
    raise DataError(problem(f"{path}: split {split!r}", rule, dict(rows), next_step))
