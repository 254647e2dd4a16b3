"""A labelled data set: read from Parquet, checked, and decoded once into arrays that all trials share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import ValidationError

from whc.data import parquet, split_names
from whc.data.clips import find_clips
from whc.data.parquet import Content
from whc.data.preprocess import INTERPOLATION, Image, decode, fault, resize
from whc.data.row_labels import LabelSource, RowLabels
from whc.data.split_names import SPLIT_ALIASES, split_named
from whc.errors import DataError, problem
from whc.records import CropRule

SPLIT_NAMES = split_names.SPLIT_NAMES
UNLABELLED = -1  # in the place of a split's number
REQUIRED_COLUMNS = ("split", "image_bytes")
OPTIONAL_COLUMNS = ("image_path", "video_id", "timestamp", "person_id", "source")
MAX_UNREADABLE = 0.01
CROP_KEY = "whc.crop"
_CHUNK_ROWS = 256

Size = tuple[int, int]


@dataclass(frozen=True)
class Table:
    """A checked Parquet file, images still encoded.

    `rows` has the columns split, image_path, video_id and person_id (the last three are filled in if the file lacks
    them), and those of labels (empty if the file lacks them). Its columns `clip` and `clip_name` are the number and the
    name of a frame's clip; `place` orders the frames of a clip. `encoded` holds the image files, row by row. `labelled`
    is what the task reads from the rows, None if labels were not requested. `clip_rule` says how clips were found,
    `split_aliases` which other names of splits the file has. `crop` is how its crops were cut, None if it does not say.
    """

    path: Path
    rows: pd.DataFrame
    encoded: pa.ChunkedArray
    labelled: RowLabels | None
    frame_rate: float | None
    fingerprint: str
    clip_rule: str
    split_aliases: str
    crop: CropRule | None = None

    def people(self, numbers: NDArray[np.int64]) -> list[str | None]:
        """Names of the people (or clips) of rows; None for a row that only has the name that its number gave it."""
        names = self.rows["person_id"].to_numpy(object)[numbers]
        return [None if name == f"row {number}" else str(name) for number, name in zip(numbers, names, strict=True)]


@dataclass(frozen=True)
class Corpus:
    """A decoded data set of N rows; arrays only, so that Ray's object store maps it without a copy.

    `images[(H, W)]` is uint8 (N, H, W, 3) RGB. `labelled` holds the labels of the rows. With `needs_every_stratum`
    every split has rows of every stratum. `splits` indexes SPLIT_NAMES, or is UNLABELLED: only a teacher knows the
    answer to such a picture, and its target means nothing. `clips` and `groups` number the clips and the people (the
    videos if people are unknown), `timestamps` orders the frames of a clip. `row_numbers` are those of the file.
    `unreadable` names the rows left out; `interpolation` is how images were resized, `clip_rule` how clips were found,
    `crop` how crops were cut (None: the file does not say). `larger[(H, W)]` holds the same images with more pixels,
    for augmentation at that size; it is empty where the task needs none.
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
    crop: CropRule | None = None
    larger: Mapping[Size, Image] = field(default_factory=dict)

    @property
    def image_bytes(self) -> dict[Size, int]:
        """Bytes of the images that a training at each size needs."""
        extra = {size: images.nbytes for size, images in self.larger.items()}
        return {size: images.nbytes + extra.get(size, 0) for size, images in self.images.items()}

    @property
    def nbytes(self) -> int:
        """Bytes of all images; larger ones of one size may be those of another."""
        arrays = {id(images): images.nbytes for images in (*self.images.values(), *self.larger.values())}
        return sum(arrays.values())

    @property
    def targets(self) -> NDArray[Any]:
        """What a network learns for each row (N, ...)."""
        return self.labelled.targets

    @property
    def strata(self) -> NDArray[np.int64]:
        """The kind of each row (N,)."""
        return self.labelled.strata

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes or labels in the targets; empty if there are none."""
        return self.labelled.labels

    @property
    def has_test(self) -> bool:
        """Whether there is a test split; without it nothing can be scored on test."""
        return SPLIT_NAMES.index("test") in self.splits


def read(path: Path | Sequence[Path], task: LabelSource, is_labelled: bool = True) -> Table:
    """Read and check a Parquet file of crops, or a folder of shards.

    Args:
        path: Parquet file or folder of shards, in any form that `whc.data.parquet.read` supports. Several of them
            become one data set, in which each file has people and clips of its own.
        task: the task of the labels.
        is_labelled: whether every row must have a split and labels. Otherwise images are enough, and labels are not
            checked.

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
    file_splits = rows["split"].fillna("")
    rows["split"] = file_splits.map(lambda split: split_named(split) or split)
    unknown = sorted(set(rows["split"]) - set(SPLIT_NAMES))
    if is_labelled and unknown:
        rule = (
            f"must be one of {', '.join(SPLIT_NAMES)} (or {', '.join(sorted(set(SPLIT_ALIASES) - set(SPLIT_NAMES)))})"
        )
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
        split_aliases=_aliases(file_splits),
        crop=_crop(content.metadata, name),
    )


def _crop(metadata: Mapping[str, str], path: Path) -> CropRule | None:
    text = metadata.get(CROP_KEY)
    if text is None:
        return None
    try:
        return CropRule.model_validate_json(text)
    except ValidationError as error:
        raise DataError(
            problem(f"{path}: metadata {CROP_KEY}", "must say how crops were cut", text, "build the data again")
        ) from error


def _aliases(file_splits: pd.Series[str]) -> str:
    """The names of splits that stand for other names, in words; empty if there are none."""
    aliases = [name for name in sorted(set(file_splits)) if split_named(name) not in (None, name)]
    return ", ".join(f"{name} as {split_named(name)}" for name in aliases)


def _check_columns(content: Content, path: Path, required: tuple[str, ...]) -> None:
    columns = content.columns
    present = {*columns.column_names, *(() if content.encoded is None else ("image_bytes",))}
    missing = [name for name in required if name not in present]
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
    """Rows in which every column has a value; a row without a name gets its number as a name."""
    row_names = pd.Series([f"row {i}" for i in range(len(rows))])
    for name, substitute in (("image_path", row_names), ("video_id", row_names), ("person_id", None)):
        rows[name] = (
            rows[name].astype(object).fillna(rows["video_id"] if substitute is None else substitute).astype(str)
        )
    return rows


def load(
    path: Path | Sequence[Path],
    sizes: Iterable[Size],
    task: LabelSource,
    on_progress: Callable[[int, int], None] | None = None,
    interpolation: str = INTERPOLATION,
) -> Corpus:
    """Read a data set and decode every image once, at all requested sizes, and larger where the task asks for that.

    Args:
        path: Parquet file or folder of shards; or several of them.
        sizes: (height, width) of the networks' inputs.
        task: the task of the labels.
        on_progress: called with the number of rows decoded and of all rows.
        interpolation: how images are resized, a key of `whc.data.preprocess.INTERPOLATION_METHODS`.

    Raises:
        DataError: as `read`; also if more than 1 % of the images are unreadable, a split lacks a stratum that the task
            needs, or train or val has no rows (test may be absent).
    """
    table = read(path, task)
    assert table.labelled is not None  # noqa: S101 (labels are read by default)
    scaled = {size: scaled_size(size, task.decode_scale) for size in sizes}
    decoded, readable = decode_all(table.encoded, {*scaled, *scaled.values()}, interpolation, on_progress)
    check_readable(table, readable)
    keep = slice(None) if readable.all() else np.flatnonzero(readable)
    images = {size: array[keep] for size, array in decoded.items()}
    rows = table.rows
    corpus = Corpus(
        images={size: images[size] for size in sorted(scaled)},
        labelled=replace(table.labelled, targets=table.labelled.targets[keep], strata=table.labelled.strata[keep]),
        needs_every_stratum=task.needs_every_stratum,
        splits=pd.Categorical(rows["split"], SPLIT_NAMES).codes.astype(np.int64)[keep],
        clips=rows["clip"].to_numpy(np.int64)[keep],
        groups=pd.factorize(rows["person_id"])[0].astype(np.int64)[keep],
        timestamps=rows["place"].to_numpy(np.int64)[keep],
        row_numbers=np.arange(len(rows))[keep],
        frame_rate=table.frame_rate,
        fingerprint=table.fingerprint,
        unreadable=tuple(rows["image_path"][~readable]),
        interpolation=interpolation,
        clip_rule=table.clip_rule,
        crop=table.crop,
        larger={size: images[other] for size, other in sorted(scaled.items()) if other != size},
    )
    _check_strata(corpus, table)
    return corpus


def scaled_size(size: Size, scale: float) -> Size:
    """A size times a factor, in whole pixels."""
    return round(scale * size[0]), round(scale * size[1])


def decode_all(
    encoded: pa.ChunkedArray,
    sizes: Iterable[Size],
    interpolation: str,
    on_progress: Callable[[int, int], None] | None,
) -> tuple[dict[Size, Image], NDArray[np.bool_]]:
    """Images of all rows by size, uint8 (N, H, W, 3), and whether each row is readable (N,); others are black."""
    count = len(encoded)
    images: dict[Size, Image] = {size: np.zeros((count, *size, 3), np.uint8) for size in sorted(set(sizes))}
    readable = np.ones(count, bool)

    def decode_chunk(start: int) -> int:
        stop = min(start + _CHUNK_ROWS, count)
        for i, scalar in enumerate(encoded.slice(start, stop - start), start):
            picture = decode(scalar.as_py() or b"")
            if picture is None:
                readable[i] = False
                continue
            for size, resized in images.items():
                resized[i] = resize(picture, *size, interpolation)
        return stop - start

    decoded = 0
    with ThreadPoolExecutor() as pool:
        for rows in pool.map(decode_chunk, range(0, count, _CHUNK_ROWS)):
            decoded += rows
            if on_progress:
                on_progress(decoded, count)
    return images, readable


def check_readable(table: Table, readable: NDArray[np.bool_]) -> None:
    """Raise DataError if too many of a table's images (N,) are not readable."""
    unreadable = int((~readable).sum())
    if unreadable > MAX_UNREADABLE * len(readable):
        first_row = int(np.flatnonzero(~readable)[0])
        why = fault(table.encoded[first_row].as_py() or b"")
        rule = f"at most {MAX_UNREADABLE:.0%} of the images may be unreadable (this one: {why})"
        raise DataError(
            problem(
                f"{table.path}: {table.rows['image_path'][first_row]}",
                rule,
                f"{unreadable} of {len(readable)}",
                f"list them with `whc data info {table.path}`",
            )
        )


def _check_strata(corpus: Corpus, table: Table) -> None:
    rows, names = Counter(table.rows["split"]), corpus.labelled.strata_names
    if corpus.needs_every_stratum and len(names) < 2:
        rule = "must have at least two classes"
        raise DataError(problem(f"{table.path}: label", rule, list(names), "add rows of another"))
    for code, split in enumerate(SPLIT_NAMES):
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
        return  # training and selection do not use it
    rule = "must have rows (only test may be absent)"
    (largest, _), *_ = rows.most_common()
    next_step = f"give a part of {largest}, whole people or clips, the split {split!r}"
    raise DataError(problem(f"{path}: split {split!r}", rule, dict(rows), next_step))
