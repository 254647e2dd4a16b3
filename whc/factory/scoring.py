"""Models scored on the labelled rows of any data set, through their runtime, as `whc predict` runs them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from whc.data import dataset
from whc.data.dataset import SPLIT_NAMES, Corpus, Size, Table
from whc.data.preprocess import Image
from whc.data.row_labels import RowLabels
from whc.data.split_names import split_named
from whc.data.windows import windows
from whc.errors import DataError, UsageError, problem
from whc.factory.evidence import Evidence
from whc.records import ModelMetadata
from whc.tasks import Outputs, Targets, Task

BATCH_WINDOWS = 32  # as in `whc predict`
ALL_ROWS = "all"


class Model(Protocol):
    """A loaded model, such as a `whc.demo.model.LoadedModel`."""

    @property
    def path(self) -> Path:
        """Its file."""

    @property
    def metadata(self) -> ModelMetadata:
        """What its input is."""

    @property
    def task(self) -> Task:
        """What its output means."""

    def outputs(self, windows: Image) -> Outputs:
        """Outputs (N, ...) for windows of prepared frames (N, T, H, W, 3)."""


@dataclass(frozen=True)
class LabelledRows:
    """The rows of one split of a data set, decoded for the models that are scored on them.

    `corpus` has no images of its own: `images` holds them by size and interpolation. `is_known` (N,) says whether a
    row has a true answer; the others are only frames of windows. `names` (N,) are the pictures' names. `table` is the
    whole data set.
    """

    source: str
    split: str
    corpus: Corpus
    images: Mapping[tuple[Size, str], Image]
    is_known: NDArray[np.bool_]
    names: NDArray[np.object_]
    table: Table

    def without(self, is_left_out: NDArray[np.bool_]) -> LabelledRows:
        """The same rows, of which some (N,) are not scored."""
        return replace(self, is_known=self.is_known & ~is_left_out)

    def ends(self, frames: int) -> NDArray[np.int64]:
        """Rows, rising, that end a window of so many frames and have a true answer.

        Raises:
            DataError: there is none.
        """
        ends = np.sort(windows(self.corpus, self.split_code, frames).index[:, -1])
        known = ends[self.is_known[ends]]
        if not len(known):
            rule = f"must have rows of the split {self.split} with a true answer"
            raise DataError(f"{self.source}: {rule}, got none; label them, or choose another split")
        return known

    @property
    def split_code(self) -> str:
        """The split under which the corpus holds all of these rows."""
        return SPLIT_NAMES[int(self.corpus.splits[0])]


@dataclass(frozen=True)
class Scored:
    """One model's outputs (M, ...) for targets (M, ...), and their evidence; `ends` (M,) are places in the rows."""

    task: Task
    ends: NDArray[np.int64]
    outputs: Outputs
    targets: Targets
    evidence: Evidence

    @property
    def score(self) -> float:
        """The score over all rows."""
        return self.evidence.score


def default_split(table: Table) -> str:
    """Validation if the file has it, else all rows: those of training say little, and test is to be asked for."""
    return "val" if (table.rows["split"] == "val").any() else ALL_ROWS


def read_rows(paths: Sequence[Path], models: Sequence[Model], split: str | None) -> LabelledRows:
    """Read the rows of a split, with the true answers as the models' task reads them.

    Args:
        paths: Parquet files (or folders of shards), one data set together.
        models: the models that will be scored; all of one task and the same labels.
        split: whose rows; `all` for every row; None: `default_split`.

    Raises:
        DataError: the data cannot be used, or have no true answers.
        UsageError: the data have no such split.
    """
    task, source = models[0].task, str(paths[0])
    table = dataset.read(paths, type(task), is_labelled=False)
    name = split or default_split(table)
    chosen = _rows_of(table, name, source)
    truth = task.read_truth(chosen, source)
    if truth is None:
        rule = f"must have true answers for a model that {task.words.purpose}"
        raise DataError(f"{source}: {rule}, got none; build the data with labels")
    numbers = chosen.index.to_numpy(np.int64)
    images, readable = _decoded(table, numbers, {_shape(model.metadata) for model in models})
    keep = np.flatnonzero(readable)
    rows, numbers, targets = chosen.iloc[keep], numbers[keep], np.asarray(truth.targets)[keep]
    nothing = np.zeros(len(keep), np.int64)
    # Rows of all splits stand under the name of one, as windows are made within a split.
    code = SPLIT_NAMES.index(name) if name in SPLIT_NAMES else 0
    corpus = Corpus(
        images={},
        labelled=RowLabels(targets, task.labels, nothing, ("rows",)),
        needs_every_stratum=False,
        splits=np.full(len(keep), code, np.int64),
        clips=rows["clip"].to_numpy(np.int64),
        groups=pd.factorize(rows["person_id"])[0].astype(np.int64),
        timestamps=rows["place"].to_numpy(np.int64),
        row_numbers=numbers,
        frame_rate=table.frame_rate,
        fingerprint=table.fingerprint,
        unreadable=tuple(chosen["image_path"].to_numpy()[~readable]),
        clip_rule=table.clip_rule,
    )
    return LabelledRows(
        source=source,
        split=name,
        corpus=corpus,
        images={shape: pictures[keep] for shape, pictures in images.items()},
        is_known=truth.is_known[keep],
        names=rows["image_path"].to_numpy(object),
        table=table,
    )


def _rows_of(table: Table, name: str, source: str) -> pd.DataFrame:
    if name == ALL_ROWS:
        return table.rows
    rows = table.rows[table.rows["split"] == (split_named(name) or name)]
    if rows.empty:
        present = ", ".join(sorted(set(table.rows["split"]) - {""})) or "none"
        rule = f"must be a split of {source}, or {ALL_ROWS}"
        raise UsageError(problem("--split", rule, name, f"there: {present}"))
    return rows


def _shape(metadata: ModelMetadata) -> tuple[Size, str]:
    return (metadata.height, metadata.width), metadata.interpolation


def _decoded(
    table: Table, numbers: NDArray[np.int64], shapes: Iterable[tuple[Size, str]]
) -> tuple[dict[tuple[Size, str], Image], NDArray[np.bool_]]:
    """Pictures of rows by size and interpolation, and whether each row is readable (N,)."""
    sizes: defaultdict[str, set[Size]] = defaultdict(set)
    for size, interpolation in shapes:
        sizes[interpolation].add(size)
    encoded, readable = table.encoded.take(numbers), np.ones(len(numbers), bool)
    images: dict[tuple[Size, str], Image] = {}
    for interpolation, wanted in sizes.items():
        pictures, readable = dataset.decode_all(encoded, wanted, interpolation, None)
        images |= {(size, interpolation): array for size, array in pictures.items()}
    return images, readable


def score(model: Model, rows: LabelledRows, ends: NDArray[np.int64] | None = None) -> Scored:
    """Run a model on the windows that end at rows (None: on all that it can).

    Raises:
        ArtifactError: the model does not run, or its outputs do not fit its task.
        DataError: no window ends at a row with a true answer.
    """
    metadata, corpus = model.metadata, rows.corpus
    if ends is None:
        ends = rows.ends(metadata.frames)
    index = windows(corpus, rows.split_code, metadata.frames).index
    order = np.argsort(index[:, -1])
    index = index[order[np.searchsorted(index[:, -1], ends, sorter=order)]]
    images = rows.images[_shape(metadata)]
    starts = range(0, len(index), BATCH_WINDOWS)
    outputs = np.concatenate([model.outputs(images[index[start : start + BATCH_WINDOWS]]) for start in starts])
    targets = corpus.targets[ends]
    groups = np.unique(corpus.groups[ends], return_inverse=True)[1]
    task = model.task
    evidence = Evidence(task.judge(outputs, targets), task.parts(outputs, targets), corpus.row_numbers[ends], groups)
    return Scored(task, ends, outputs, targets, evidence)


def picture_of(model: Model, rows: LabelledRows, ends: NDArray[np.int64]) -> Image:
    """The pictures of rows as a model sees them, uint8 (K, H, W, 3)."""
    return rows.images[_shape(model.metadata)][ends]


def common_ends(models: Sequence[Model], rows: LabelledRows) -> NDArray[np.int64]:
    """Rows that end a window of every model: one with room for the longest window has a window of every length."""
    return rows.ends(max(model.metadata.frames for model in models))
