"""The content and the faults of a data set, even if training would refuse it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from whc.data.cropping import CropMeasure
from whc.data.dataset import SPLIT_NAMES, Table, read
from whc.data.preprocess import Image, decode, fault
from whc.data.row_labels import LabelSource
from whc.records import CropRule

MAX_EXAMPLES = 5
MEASURED_ROWS = 200  # of which a detector measures the crops
_CHUNK_ROWS = 256


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class SplitReport(_Part):
    """One split; `strata` counts rows by their kind (such as their label), with 0 for kinds without rows."""

    rows: int
    strata: dict[str, int]
    people: int
    clips: int


class Finding(_Part):
    """The number of cases, and the names of the first few."""

    count: int
    examples: list[str]


class Leaks(_Part):
    """People, clips and images in more than one split; an image has the name of its first row in each split."""

    people: Finding
    clips: Finding
    images: Finding


class DatasetReport(_Part):
    """The result of `inspect`.

    `sizes` counts images by "WIDTHxHEIGHT" in pixels, only the MAX_EXAMPLES most common. `frame_rate` is in frames a
    second. If the file does not name people, videos count as people. `clip_rule` says how clips were found,
    `split_aliases` which other names of splits the file has. `crop` says how the crops were cut (None: the file does
    not), `measure` how they lie around a detector's boxes (None: not measured).
    """

    path: str
    fingerprint: str
    rows: int
    labels: list[str]
    frame_rate: float | None
    clip_rule: str
    split_aliases: str
    splits: dict[str, SplitReport]
    leaks: Leaks
    unreadable: Finding
    sizes: dict[str, int]
    crop: CropRule | None = None
    measure: CropMeasure | None = None


def inspect(
    path: Path, task: LabelSource, measure: Callable[[Iterable[Image]], CropMeasure] | None = None
) -> DatasetReport:
    """Look at every row and image of a data set.

    Args:
        path: Parquet file, or a folder of shards.
        task: the task of the labels.
        measure: measures crops; it gets MEASURED_ROWS pictures at most.

    It accepts faults that `dataset.load` refuses: splits without rows or without a stratum, and any number of
    unreadable images.

    Raises:
        DataError: as `dataset.read`, if the file is no labelled data set.
    """
    table = read(path, task)
    assert table.labelled is not None  # noqa: S101 (labels are read by default)
    names = table.labelled.strata_names
    sizes, pixels = _pictures(table)
    kinds = np.array([*names, ""], object)[table.labelled.strata]
    rows = table.rows.assign(size=sizes, pixels=pixels, stratum=kinds)
    readable = rows[rows["size"].notna()]
    return DatasetReport(
        path=str(path),
        fingerprint=table.fingerprint,
        rows=len(rows),
        labels=list(table.labelled.labels),
        frame_rate=table.frame_rate,
        clip_rule=table.clip_rule,
        split_aliases=table.split_aliases,
        splits={split: _split(rows[rows["split"] == split], names) for split in SPLIT_NAMES},
        leaks=Leaks(
            people=_shared(rows, "person_id"),
            clips=_shared(rows, "clip_name"),
            images=_shared(readable, "pixels", name_column="image_path"),
        ),
        unreadable=_unreadable(table, rows["image_path"][rows["size"].isna()]),
        sizes=dict(Counter(readable["size"]).most_common(MAX_EXAMPLES)),
        crop=table.crop,
        measure=measure(_evenly_chosen(table)) if measure else None,
    )


def _evenly_chosen(table: Table) -> Iterator[Image]:
    """Pictures of rows at equal distances, as the rows of one label or person often follow one another."""
    count = len(table.rows)
    for row in np.unique(np.linspace(0, count - 1, min(count, MEASURED_ROWS)).round().astype(int)).tolist():
        picture = decode(table.encoded[row].as_py() or b"")
        if picture is not None:
            yield picture


def _pictures(table: Table) -> tuple[pd.Series[str], pd.Series[str]]:
    """Size and hash of the pixels of each image, missing for those that cannot be decoded."""

    def look(encoded: pa.BinaryScalar) -> tuple[str | None, str | None]:
        picture = decode(encoded.as_py() or b"")
        if picture is None:
            return None, None
        height, width = picture.shape[:2]
        size = f"{width}x{height}"
        digest = hashlib.blake2b(size.encode(), digest_size=16)
        digest.update(picture.data)
        return size, digest.hexdigest()

    def chunk(start: int) -> list[tuple[str | None, str | None]]:
        return [look(encoded) for encoded in table.encoded.slice(start, _CHUNK_ROWS)]

    with ThreadPoolExecutor() as pool:
        parts = pool.map(chunk, range(0, len(table.rows), _CHUNK_ROWS))
        sizes, pixels = zip(*(size_and_hash for part in parts for size_and_hash in part), strict=True)
    return pd.Series(sizes, dtype="str"), pd.Series(pixels, dtype="str")


def _split(rows: pd.DataFrame, strata_names: Iterable[str]) -> SplitReport:
    return SplitReport(
        rows=len(rows),
        strata={name: int((rows["stratum"] == name).sum()) for name in strata_names},
        people=rows["person_id"].nunique(),
        clips=rows["clip"].nunique(),
    )


def _shared(rows: pd.DataFrame, key: str, name_column: str = "") -> Finding:
    """Values of `key` in more than one split: each as `value (its splits)`, or as a name from each split."""
    names_by_split: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for value, split, name in zip(rows[key], rows["split"], rows[name_column or key], strict=True):
        names_by_split[value].setdefault(split, name)
    leaks = []
    for value, names in names_by_split.items():
        if len(names) > 1:
            by_split = [(split, names[split]) for split in SPLIT_NAMES if split in names]
            if name_column:
                leaks.append(" = ".join(f"{name} ({split})" for split, name in by_split))
            else:
                leaks.append(f"{value} ({', '.join(split for split, _ in by_split)})")
    return _finding(leaks)


def _unreadable(table: Table, names: pd.Series[str]) -> Finding:
    """The unreadable images, each as `name: why it cannot be decoded`."""
    examples = names.iloc[:MAX_EXAMPLES].items()
    return Finding(
        count=len(names), examples=[f"{name}: {fault(table.encoded[row].as_py() or b'')}" for row, name in examples]
    )


def _finding(names: Iterable[str]) -> Finding:
    all_names = list(names)
    return Finding(count=len(all_names), examples=all_names[:MAX_EXAMPLES])
