"""Pictures without labels, from which networks learn what a trained one answers, beside a labelled data set."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from whc.data import dataset, duplicates
from whc.data.dataset import UNLABELLED, Corpus, Table
from whc.data.duplicates import Appearance
from whc.data.preprocess import decode
from whc.data.row_labels import LabelSource
from whc.errors import DataError, problem
from whc.words import quantity

_JUDGED_SPLITS = ("val", "test")
_CHUNK_ROWS = 256


@dataclass(frozen=True)
class Unlabelled:
    """A file's pictures, and the numbers (M,) of those that may be learnt from.

    Left out are `duplicates`, near to a picture of the validation or test split, `relatives`, other pictures of the
    people of these and of those splits, and pictures that cannot be read.
    """

    table: Table
    numbers: NDArray[np.int64]
    duplicates: int
    relatives: int

    def __str__(self) -> str:
        """For people: how many pictures of which file, and how many are left out why."""
        used, copies = quantity(len(self.numbers), "picture"), quantity(self.duplicates, "near-duplicate")
        reasons = f"{copies} of validation and test pictures and {self.relatives} more of their people"
        return f"{used} of {self.table.path} without their labels ({reasons} are left out)"


def read(path: Path, labelled: Sequence[Path], task: LabelSource, frames: int = 1) -> Unlabelled:
    """Read pictures, and find those that would give away what is judged on.

    Args:
        path: Parquet file or folder of shards; `image_bytes` is enough. People are known by `person_id` or `video_id`.
        labelled: the labelled data set.
        task: the task of the labelled data set.
        frames: of the longest windows that will be learnt from.

    Raises:
        DataError: a file cannot be read, has no pictures, or none that may be learnt from.
    """
    ours, table = dataset.read(labelled, task), dataset.read(path, task, is_labelled=False)
    judged = np.flatnonzero(ours.rows["split"].isin(_JUDGED_SPLITS))
    shown = list(_appearances(table.encoded))
    dataset.check_readable(table, np.array([look is not None for look in shown]))
    readable = np.array([number for number, look in enumerate(shown) if look is not None])
    looks = [[look] for look in (*_appearances(ours.encoded.take(pa.array(judged))), *shown) if look is not None]
    clusters = np.array(duplicates.clusters(looks))
    count = len(looks) - len(readable)
    is_near = np.isin(clusters[count:], clusters[:count])
    judged_people = {*table.people(readable[is_near]), *ours.people(judged)} - {None}
    is_related = ~is_near & np.array([person in judged_people for person in table.people(readable)])
    kept = readable[~is_near & ~is_related]
    if not len(kept):
        rule = "must have pictures of other people than the validation and test splits"
        raise DataError(problem(str(path), rule, f"none of {quantity(len(table.rows), 'picture')}", "add others"))
    longest = int(table.rows["clip"].iloc[kept].value_counts().max())
    if longest < frames:
        rule = f"must have a clip of at least {frames} frames, by video_id and timestamp"
        raise DataError(problem(str(path), rule, quantity(longest, "frame"), "leave it out, or add whole clips"))
    return Unlabelled(table, kept, int(is_near.sum()), int(is_related.sum()))


def joined(corpus: Corpus, pictures: Unlabelled, task: LabelSource) -> Corpus:
    """The corpus with the pictures as further rows, which no split has.

    Args:
        corpus: of the labelled data set.
        pictures: of the file beside it.
        task: the task of the labels.
    """
    numbers, rows = pictures.numbers, pictures.table.rows.iloc[pictures.numbers]
    scaled = {size: dataset.scaled_size(size, task.decode_scale) for size in corpus.images}
    encoded = pictures.table.encoded.take(pa.array(numbers))
    decoded, _ = dataset.decode_all(encoded, {*scaled, *scaled.values()}, corpus.interpolation, None)
    labels, count = corpus.labelled, len(numbers)
    blank = np.zeros((count, *labels.targets.shape[1:]), labels.targets.dtype)
    places = rows["place"].to_numpy(np.int64)
    return replace(
        corpus,
        images={size: np.concatenate([images, decoded[size]]) for size, images in corpus.images.items()},
        larger={size: np.concatenate([images, decoded[scaled[size]]]) for size, images in corpus.larger.items()},
        labelled=replace(
            labels,
            targets=np.concatenate([labels.targets, blank]),
            strata=np.concatenate([labels.strata, np.zeros(count, np.int64)]),
        ),
        splits=np.concatenate([corpus.splits, np.full(count, UNLABELLED)]),
        clips=np.concatenate([corpus.clips, rows["clip"].to_numpy(np.int64) + corpus.clips.max() + 1]),
        groups=np.concatenate([corpus.groups, np.arange(count) + corpus.groups.max() + 1]),
        timestamps=np.concatenate([corpus.timestamps, places]),
        row_numbers=np.concatenate([corpus.row_numbers, numbers + corpus.row_numbers.max() + 1]),
    )


def _appearances(encoded: pa.ChunkedArray) -> Iterator[Appearance | None]:
    """The appearance of each picture, None where it cannot be decoded."""

    def look(start: int) -> list[Appearance | None]:
        chunk = (decode(scalar.as_py() or b"") for scalar in encoded.slice(start, _CHUNK_ROWS))
        return [None if picture is None else duplicates.appearance(picture) for picture in chunk]

    with ThreadPoolExecutor() as pool:
        for looks in pool.map(look, range(0, len(encoded), _CHUNK_ROWS)):
            yield from looks
