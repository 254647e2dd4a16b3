"""A labelled data set: read from Parquet, checked, decoded once into plain arrays that every trial shares."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from whc.data.preprocess import INTERPOLATION, Image, decode, fault, resize
from whc.errors import DataError, problem

SPLITS = ("train", "val", "test")
REQUIRED = {"split": "text", "image_bytes": "bytes", "class_id": "integer", "label": "text"}
OPTIONAL = ("image_path", "video_id", "timestamp", "person_id")
MAX_UNREADABLE = 0.01

Size = tuple[int, int]


@dataclass(frozen=True)
class Table:
    """A checked Parquet file, images still encoded.

    `rows` has the columns split, class_id, label, image_path, video_id, timestamp and person_id (the last four filled
    in where the file lacks them); `encoded` holds the image files, row by row. `labels` is in order of class_id.
    """

    path: Path
    rows: pd.DataFrame
    encoded: pa.ChunkedArray
    labels: tuple[str, ...]
    frame_rate: float | None
    fingerprint: str


@dataclass(frozen=True)
class Corpus:
    """A decoded data set of N rows; arrays only, so that Ray's object store maps it without a copy.

    `images[(H, W)]` is uint8 (N, H, W, 3) RGB. `splits` indexes SPLITS, `clips` and `groups` number the videos and the
    people (a clip where people are unknown), `timestamps` orders the frames of a clip. `unreadable` names the rows left
    out; `interpolation` is how images were resized.
    """

    images: Mapping[Size, Image]
    class_ids: NDArray[np.int64]
    splits: NDArray[np.int64]
    clips: NDArray[np.int64]
    groups: NDArray[np.int64]
    timestamps: NDArray[np.int64]
    labels: tuple[str, ...]
    frame_rate: float | None
    fingerprint: str
    unreadable: tuple[str, ...] = ()
    interpolation: str = INTERPOLATION

    @property
    def has_test(self) -> bool:
        """Whether there is a test split; without it nothing can be scored on test."""
        return SPLITS.index("test") in self.splits


def read(path: Path, labelled: bool = True) -> Table:
    """Read and check a Parquet file of crops.

    Args:
        path: Parquet file.
        labelled: whether every row must have split, class_id and label. Otherwise image_bytes is enough: the others are
            "", -1 and "" where they are not told, nobody asks whether they agree, and `labels` is empty.

    Raises:
        DataError: missing or corrupt file, missing columns, wrong types, unknown splits, contradictory labels.
    """
    table = _read_parquet(path)
    required = tuple(REQUIRED) if labelled else ("image_bytes",)
    missing = [name for name in required if name not in table.column_names]
    if missing:
        raise DataError(
            problem(
                str(path),
                f"must have the columns {', '.join(required)}",
                table.column_names,
                f"add {', '.join(missing)}",
            )
        )
    if table.num_rows == 0:
        raise DataError(f"{path}: must have rows, got none; build the data set again")
    _check_types(table, path, labelled)
    rows = table.select(
        [name for name in (*REQUIRED, *OPTIONAL) if name in table.column_names and name != "image_bytes"]
    )
    frame = _fill_optional(rows.to_pandas())
    unknown = sorted(set(frame["split"]) - set(SPLITS))
    if labelled and unknown:
        raise DataError(
            problem(f"{path}: split", f"must be one of {', '.join(SPLITS)}", unknown[0], "rename the split")
        )
    return Table(
        path=path,
        rows=frame,
        encoded=table["image_bytes"],
        labels=_labels(frame, path) if labelled else (),
        frame_rate=_frame_rate(table.schema, path),
        fingerprint=hashlib.sha256(path.read_bytes()).hexdigest()[:16],
    )


def _read_parquet(path: Path) -> pa.Table:
    if not path.is_file():
        raise DataError(
            f"{path}: must be a Parquet file, got nothing there; check the path, or render one with `whc data synth`"
        )
    try:
        return pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: must be a readable Parquet file, got: {reason}; copy or build it again") from error


def _check_types(table: pa.Table, path: Path, labelled: bool) -> None:
    accepts = {
        "text": lambda t: pa.types.is_string(t) or pa.types.is_large_string(t) or pa.types.is_dictionary(t),
        "bytes": lambda t: pa.types.is_binary(t) or pa.types.is_large_binary(t),
        "integer": pa.types.is_integer,
    }
    for name, kind in REQUIRED.items():
        if name not in table.column_names:
            continue
        column = table[name]
        if not accepts[kind](column.type):
            raise DataError(
                problem(f"{path}: {name}", f"must be a column of {kind}", str(column.type), "convert the column")
            )
        if column.null_count and labelled and name != "image_bytes":
            raise DataError(
                problem(f"{path}: {name}", "must have no empty values", column.null_count, "fill or drop those rows")
            )
    if "timestamp" in table.column_names and accepts["text"](table["timestamp"].type):
        # As text, frame 10 would come before frame 9.
        rule = "must be a column of numbers or times"
        raise DataError(problem(f"{path}: timestamp", rule, str(table["timestamp"].type), "convert the column"))


def _frame_rate(schema: pa.Schema, path: Path) -> float | None:
    text = (schema.metadata or {}).get(b"whc.frame_rate")
    if text is None:
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < math.inf:
        rule = "must be a number of frames a second"
        raise DataError(problem(f"{path}: metadata whc.frame_rate", rule, text.decode(errors="replace"), "mend it"))
    return rate


def _fill_optional(frame: pd.DataFrame) -> pd.DataFrame:
    own_row = pd.Series([f"row {i}" for i in range(len(frame))])
    for name in ("image_path", "video_id"):
        if name not in frame:
            frame[name] = own_row
        # As objects, since names may also come as categories or numbers.
        frame[name] = frame[name].astype(object).fillna(own_row).astype(str)
    if "timestamp" not in frame:
        frame["timestamp"] = 0
    if "person_id" not in frame:
        frame["person_id"] = frame["video_id"]
    frame["person_id"] = frame["person_id"].astype(object).fillna(frame["video_id"]).astype(str)
    for name in ("split", "label"):
        frame[name] = frame[name].astype(object).fillna("").astype(str) if name in frame else ""
    frame["class_id"] = frame["class_id"].fillna(-1).astype("int64") if "class_id" in frame else -1
    return frame


def _labels(frame: pd.DataFrame, path: Path) -> tuple[str, ...]:
    pairs = frame[["class_id", "label"]].drop_duplicates().sort_values("class_id")
    ids = pairs["class_id"].tolist()
    if ids != list(range(len(ids))) or pairs["label"].duplicated().any():
        raise DataError(
            problem(
                f"{path}: class_id",
                "must count from 0, one label each",
                pairs.to_numpy().tolist(),
                "mend class_id and label",
            )
        )
    return tuple(pairs["label"])


def load(
    path: Path,
    sizes: Iterable[Size],
    on_progress: Callable[[int, int], None] | None = None,
    interpolation: str = INTERPOLATION,
) -> Corpus:
    """Read a data set and decode every image once, at every size asked for.

    Args:
        path: Parquet file.
        sizes: (height, width) of the inputs that will be needed.
        on_progress: called with rows done and rows in all.
        interpolation: how images are resized, a key of `whc.data.preprocess.INTERPOLATIONS`.

    Raises:
        DataError: as `read`; also more than 1 % of the images unreadable, a split that lacks a class, or no rows of
            train or val (test may be absent).
    """
    table = read(path)
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
        class_ids=rows["class_id"].to_numpy(np.int64)[keep],
        splits=pd.Categorical(rows["split"], SPLITS).codes.astype(np.int64)[keep],
        clips=pd.factorize(rows["video_id"])[0].astype(np.int64)[keep],
        groups=pd.factorize(rows["person_id"])[0].astype(np.int64)[keep],
        timestamps=pd.factorize(rows["timestamp"], sort=True)[0].astype(np.int64)[keep],
        labels=table.labels,
        frame_rate=table.frame_rate,
        fingerprint=table.fingerprint,
        unreadable=tuple(rows["image_path"][~readable]),
        interpolation=interpolation,
    )
    _check_classes(corpus, table)
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


def _check_classes(corpus: Corpus, table: Table) -> None:
    rows = Counter(table.rows["split"])
    for code, split in enumerate(SPLITS):
        if split not in rows:
            _check_absent(split, rows, table.path)
            continue
        present = set(corpus.class_ids[corpus.splits == code].tolist())
        for class_id, label in enumerate(corpus.labels):
            if class_id not in present:
                raise DataError(
                    problem(
                        f"{table.path}: split {split!r}",
                        f"must have readable rows of every class, {label!r} has none",
                        sorted(present),
                        "split the data again",
                    )
                )
    if len(corpus.labels) < 2:
        rule = "must have at least two classes"
        raise DataError(problem(f"{table.path}: class_id", rule, list(corpus.labels), "add rows of another"))


def _check_absent(split: str, rows: Counter[str], path: Path) -> None:
    if split == "test":
        return  # nothing is trained or chosen on it
    rule = "must have rows (only test may be absent)"
    (largest, _), *_ = rows.most_common()
    next_step = f"give a part of {largest}, whole people or clips, the split {split!r}"
    raise DataError(problem(f"{path}: split {split!r}", rule, dict(rows), next_step))
