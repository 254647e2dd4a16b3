"""Boxes in the rows of a data set: cx cy w h as shares of the picture, and the class, counted from 0."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from whc.data.row_labels import RowLabels
from whc.errors import DataError, problem

if TYPE_CHECKING:
    import pandas as pd

    from whc.data.parquet import Reader

Boxes = NDArray[np.float32]

COLUMN = "boxes"
NAMES_KEY = "whc.labels"
VALUES = 5  # cx cy w h class
NO_BOX = -1.0  # fills the places of a picture that has fewer boxes than another
STRATA = ("no box", "1 box", "2 or 3 boxes", "4 boxes or more")
MAX_CLASSES = 10_000
TOLERANCE = 1e-3  # of a share: labels are rounded

NO_FAULT = ""
FAULTS = (
    "must be five finite numbers, cx cy w h class",
    "must have a width and height above 0",
    "must be shares of the picture, 0 to 1",
    "must have a known class",
)
_STRATUM_STARTS = (1, 2, 4)  # boxes of a picture from which the next stratum begins


def label_readers() -> Mapping[str, tuple[str, Reader]]:
    """Lists of boxes."""
    return {COLUMN: ("lists of boxes, cx cy w h class each", _read_lists)}


def read(rows: pd.DataFrame, metadata: Mapping[str, str], source: str) -> RowLabels:
    """Targets (N, K, 5) float32 of labelled rows: cx cy w h class, and -1 where there is no box; K is 1 at least.

    An empty list is a picture without objects. Strata are by number of boxes. Without names in the metadata, classes
    are called by their numbers.

    Raises:
        DataError: a row has no list, or a box that cannot be; names the row.
    """
    names = _names(metadata, source)
    boxes = [_row_boxes(value, f"{source}: row {row}: {COLUMN}") for row, value in enumerate(rows[COLUMN])]
    for row, absent in enumerate(boxes):
        if absent is None:
            next_step = "write an empty list for a picture without objects"
            raise DataError(problem(f"{source}: row {row}: {COLUMN}", "must be a list of boxes", None, next_step))
    known = [one for one in boxes if one is not None]
    _check(known, MAX_CLASSES if names is None else len(names), source)
    if names is None:
        names = unnamed(1 + int(max((one[:, 4].max() for one in known if len(one)), default=0)))
    counts = np.array([len(one) for one in known], np.int64)
    return RowLabels(padded(known), names, strata(counts), STRATA)


def read_known(rows: pd.DataFrame, labels: Sequence[str], source: str) -> tuple[Boxes, NDArray[np.bool_]]:
    """Targets (N, K, 5) of rows that need not have boxes, and whether each row has a list (N,).

    Raises:
        DataError: a box cannot be, or has a class beyond `labels`; names the row.
    """
    boxes = [_row_boxes(value, f"{source}: row {row}: {COLUMN}") for row, value in enumerate(rows[COLUMN])]
    none = np.empty((0, VALUES), np.float32)
    filled = [none if one is None else one for one in boxes]
    _check(filled, len(labels), source)
    return padded(filled), np.array([one is not None for one in boxes], bool)


def padded(boxes: Sequence[Boxes]) -> Boxes:
    """Boxes (k, 5) of N pictures as one array (N, K, 5), filled up with -1; K is the largest k, 1 at least."""
    targets = np.full((len(boxes), max(1, *map(len, boxes), 1), VALUES), NO_BOX, np.float32)
    for target, some in zip(targets, boxes, strict=True):
        target[: len(some)] = some
    return targets


def strata(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of STRATA (N,) pictures with so many boxes (N,) are of."""
    return np.searchsorted(_STRATUM_STARTS, counts, side="right").astype(np.int64)


def unnamed(count: int) -> tuple[str, ...]:
    """Names of classes that nobody has named."""
    return tuple(f"class {number}" for number in range(count))


def faults(boxes: NDArray[np.floating], classes: int) -> list[str]:
    """What is wrong with each box (M, 5): one of FAULTS, or NO_FAULT."""
    shares, class_ids = boxes[:, :4], boxes[:, 4]
    is_class = (class_ids >= 0) & (class_ids < classes) & (class_ids == np.floor(class_ids))
    broken = (
        ~np.isfinite(boxes).all(1),
        (shares[:, 2:] <= 0).any(1),
        ((shares < -TOLERANCE) | (shares > 1 + TOLERANCE)).any(1),
        ~is_class,
    )
    return [(*FAULTS, NO_FAULT)[number] for number in np.select(broken, range(len(FAULTS)), len(FAULTS))]


def are_pixels(boxes: NDArray[np.floating]) -> bool:
    """Whether boxes (M, 5) look like pixels: most have several values beyond 1."""
    return len(boxes) > 0 and float(((boxes[:, :4] > 1 + TOLERANCE).sum(1) > 1).mean()) > 0.5


def pixels_problem(where: str, box: NDArray[np.floating]) -> str:
    """What is said of boxes (5,) in pixels."""
    next_step = "divide x by the width and y by the height, or give the labels as VOC or COCO"
    return problem(where, FAULTS[2], float(box[:4].max()), next_step)


def _check(boxes: Sequence[Boxes], classes: int, source: str) -> None:
    flat = np.concatenate([*boxes, np.empty((0, VALUES), np.float32)])
    found = faults(flat, classes)
    place = next((i for i, fault in enumerate(found) if fault), None)
    if place is None:
        return
    ends = np.cumsum([len(one) for one in boxes])
    row = int(np.searchsorted(ends, place, side="right"))
    number = place - int(ends[row]) + len(boxes[row])
    where = f"{source}: row {row}: {COLUMN}: box {number}"
    if found[place] == FAULTS[2] and are_pixels(flat):
        raise DataError(pixels_problem(where, flat[place]))
    rule = f"{found[place]} (0 to {classes - 1})" if found[place] == FAULTS[3] else found[place]
    got = [round(value, 6) for value in flat[place].tolist()]
    raise DataError(problem(where, rule, got, "mend or drop the box"))


def _row_boxes(value: Any, where: str) -> Boxes | None:
    """Boxes (k, 5) of a row, None where it has no list."""
    if not isinstance(value, (list, tuple, np.ndarray)):
        return None
    if not len(value):
        return np.empty((0, VALUES), np.float32)
    try:
        boxes = np.array([list(box) for box in value], np.float32)
    except (TypeError, ValueError):
        boxes = np.empty(0, np.float32)
    if boxes.ndim != 2 or boxes.shape[1] != VALUES:
        raise DataError(problem(where, f"each box {FAULTS[0]}", list(value), "mend the row"))
    return boxes


def _names(metadata: Mapping[str, str], source: str) -> tuple[str, ...] | None:
    text = metadata.get(NAMES_KEY)
    if text is None:
        return None
    try:
        names = json.loads(text)
    except (ValueError, RecursionError):
        names = None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not is_list or not names or len(set(names)) < len(names):
        rule = "must be a JSON list of different names"
        raise DataError(problem(f"{source}: metadata {NAMES_KEY}", rule, text, "build the data set again"))
    return tuple(names)


def _read_lists(name: str, column: Any, metadata: Mapping[bytes, bytes]) -> dict[str, Any]:
    import pyarrow as pa

    del metadata
    return {name: column.cast(pa.large_list(pa.list_(pa.float32(), VALUES)))}
