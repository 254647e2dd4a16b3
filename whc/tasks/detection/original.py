"""The figure by which the original detector of 64 x 64 pixels (PINTO0309/UHD) chose and named its weights."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whc.data.boxes import Boxes, areas
from whc.tasks import Outputs, Targets
from whc.tasks.detection.matching import SCORE, TRUE_CLASS

LEAST_OVERLAP = 0.5
UNION_MARGIN = 1e-6
ROW_PICTURE, ROW_SCORE, ROW_CLASS, ROW_BOX = 0, 1, 2, slice(3, 7)
TRUE_ROW_CLASS, TRUE_ROW_BOX = 1, slice(2, 6)

Rows = NDArray[np.floating]


def original_map(found: Rows, true: Rows, classes: int, least_score: float) -> float:
    """Mean over all classes of the AP that the original prints as mAP@0.5; a class without true boxes counts as 0.

    It differs from COCO's: a box counts if the true box that it overlaps most is free, no other is tried; the area is
    under all points, not 101, with precision 0 at recall 1 added; boxes under the least score are left out.

    Args:
        found: rows (n, 7) picture, score, class, cx, cy, w, h; or outputs (M, K, 6).
        true: rows (m, 6) picture, class, cx, cy, w, h; or targets (M, T, 5).
        classes: how many there are.
        least_score: of boxes that take part; 0.3 in its first version, 0.15 in later ones.
    """
    found = _found_rows(found) if found.ndim == 3 else found
    true = _true_rows(true) if true.ndim == 3 else true
    found = found[found[:, ROW_SCORE] >= least_score]
    precisions = [
        _average_precision(found[found[:, ROW_CLASS] == class_id], true[true[:, TRUE_ROW_CLASS] == class_id])
        for class_id in range(classes)
    ]
    return float(np.mean(precisions))


def _found_rows(outputs: Outputs) -> Rows:
    pictures, rows = np.nonzero(outputs[..., SCORE] > 0)
    return np.column_stack([pictures, outputs[pictures, rows]])


def _true_rows(targets: Targets) -> Rows:
    pictures, columns = np.nonzero(targets[..., TRUE_CLASS] >= 0)
    true = targets[pictures, columns]
    return np.column_stack([pictures, true[:, TRUE_CLASS], true[:, :TRUE_CLASS]])


def _average_precision(found: Rows, true: Rows) -> float:
    """Of one class."""
    if not len(found) or not len(true):
        return 0.0
    found = found[np.argsort(-found[:, ROW_SCORE], kind="stable")]
    by_picture = {picture: np.flatnonzero(true[:, 0] == picture) for picture in np.unique(true[:, 0])}
    is_free, is_hit = np.ones(len(true), np.bool_), np.zeros(len(found), np.bool_)
    for place, row in enumerate(found):
        rivals = by_picture.get(row[ROW_PICTURE])
        if rivals is None:
            continue
        overlap = _overlap(row[ROW_BOX], true[rivals, TRUE_ROW_BOX])
        best = rivals[overlap.argmax()]
        is_hit[place] = overlap.max() >= LEAST_OVERLAP and is_free[best]
        is_free[best] &= not is_hit[place]
    hits = is_hit.cumsum()
    recall = np.concatenate([[0], hits / len(true), [1]])
    precision = np.concatenate([[0], hits / np.arange(1, len(found) + 1), [0]])
    best_after = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall) * best_after[1:]).sum())


def _overlap(box: Boxes, others: Boxes) -> NDArray[np.float64]:
    """Intersection over union of a box (4,) with others (n, 4), the union a little larger than it is."""
    low = np.maximum(box[:2] - box[2:] / 2, others[:, :2] - others[:, 2:] / 2)
    high = np.minimum(box[:2] + box[2:] / 2, others[:, :2] + others[:, 2:] / 2)
    common = np.maximum(high - low, 0).prod(1)
    return np.asarray(common / (areas(box) + areas(others) - common + UNION_MARGIN))
