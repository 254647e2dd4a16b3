"""What a data set holds and what is wrong with it, also where training would refuse it."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from whc.data.dataset import SPLITS, Table, read
from whc.data.preprocess import decode, fault
from whc.data.row_labels import LabelSource

EXAMPLES = 5
_CHUNK_ROWS = 256


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True)


class SplitReport(_Part):
    """One split: `strata` counts rows by their kind (by label, say), kinds without rows included."""

    rows: int
    strata: dict[str, int]
    people: int
    clips: int


class Finding(_Part):
    """How many there are, and the names of the first few."""

    count: int
    examples: list[str]


class Leaks(_Part):
    """What lies in more than one split. An image is named by the first row of each split that shows the same pixels."""

    people: Finding
    clips: Finding
    images: Finding


class DatasetReport(_Part):
    """Everything `inspect` finds.

    `sizes` counts images by "WIDTHxHEIGHT" in pixels, the commonest EXAMPLES only; `frame_rate` is in frames a second.
    Where the file does not name people, videos stand for them. `clip_rule` says how clips were found, `split_aliases`
    which names of splits were read as ours.
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


def inspect(path: Path, task: LabelSource) -> DatasetReport:
    """Look at every row and image of a data set.

    Args:
        path: Parquet file, or a folder of shards.
        task: whose labels to read.

    Goes on where `dataset.load` would refuse: splits that lack a stratum or rows, and any number of unreadable images.

    Raises:
        DataError: as `dataset.read`, the file cannot be read as a labelled data set at all.
    """
    table = read(path, task)
    assert table.labelled is not None  # noqa: S101 (it was asked for)
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
        splits={split: _split(rows[rows["split"] == split], names) for split in SPLITS},
        leaks=Leaks(
            people=_shared(rows, "person_id"),
            clips=_shared(rows, "clip_name"),
            images=_shared(readable, "pixels", shown="image_path"),
        ),
        unreadable=_unreadable(table, rows["image_path"][rows["size"].isna()]),
        sizes=dict(Counter(readable["size"]).most_common(EXAMPLES)),
    )


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
        sizes, pixels = zip(*(found for part in parts for found in part), strict=True)
    return pd.Series(sizes, dtype="str"), pd.Series(pixels, dtype="str")


def _split(rows: pd.DataFrame, strata_names: Iterable[str]) -> SplitReport:
    return SplitReport(
        rows=len(rows),
        strata={name: int((rows["stratum"] == name).sum()) for name in strata_names},
        people=rows["person_id"].nunique(),
        clips=rows["clip"].nunique(),
    )


def _shared(rows: pd.DataFrame, key: str, shown: str = "") -> Finding:
    """Values of `key` in more than one split, each as `value (its splits)` or by one `shown` name of each split."""
    places: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for value, split, name in zip(rows[key], rows["split"], rows[shown or key], strict=True):
        places[value].setdefault(split, name)
    leaks = []
    for value, found in places.items():
        if len(found) > 1:
            by_split = [(split, found[split]) for split in SPLITS if split in found]
            if shown:
                leaks.append(" = ".join(f"{name} ({split})" for split, name in by_split))
            else:
                leaks.append(f"{value} ({', '.join(split for split, _ in by_split)})")
    return _finding(leaks)


def _unreadable(table: Table, names: pd.Series[str]) -> Finding:
    """Each as `name: why it cannot be decoded`."""
    some = names.iloc[:EXAMPLES].items()
    return Finding(
        count=len(names), examples=[f"{name}: {fault(table.encoded[row].as_py() or b'')}" for row, name in some]
    )


def _finding(names: Iterable[str]) -> Finding:
    every = list(names)
    return Finding(count=len(every), examples=every[:EXAMPLES])
