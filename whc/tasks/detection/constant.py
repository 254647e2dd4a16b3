"""The score of the best constant answer: the same boxes for every picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from whc.data.boxes import Boxes, overlaps
from whc.tasks import Outputs, Targets
from whc.tasks.detection.judging import judge
from whc.tasks.detection.matching import BOX, CLASS, MAX_BOXES, SCORE, TRUE_BOX, TRUE_CLASS

LEAST_OVERLAP = 0.5
MAX_RANKS = 50  # boxes of a class
MAX_EXAMPLES = 200  # true boxes that are tried as answers
CLUSTERS = (2, 4, 8)
CLUSTER_ROUNDS = 10
STEPS = (0.2, 0.1, 0.05, 0.02)  # shares of a side by which a box is moved and resized
MAX_MOVES = 10  # of each step


def floor(targets: Targets, classes: int) -> float:
    """AP50 of the best constant answer found: a ranked list of boxes for each class, the same for every picture.

    The first box is the one that finds a true box in most pictures, the next the one that finds most of those left, and
    so on: a list of COCO's rules can only gain by boxes of lower score. Tried are the median box, the centres of
    clusters (k-means from boxes evenly spaced by area), and true boxes themselves, evenly spaced by area; the best is
    then moved and resized while it finds more. A better list may exist. Nothing is drawn by chance.

    Args:
        targets: (M, T, 5).
        classes: how many there are.

    Returns:
        0..1, NaN without any true box.
    """
    answer = constant_answer(targets, classes)
    outputs = np.broadcast_to(answer, (len(targets), *answer.shape))
    return float(judge(outputs, targets, classes).score())


def constant_answer(targets: Targets, classes: int) -> Outputs:
    """The boxes (K, 6) of `floor`, best first."""
    pictures, columns = np.nonzero((targets[..., TRUE_CLASS] >= 0) & (targets[..., TRUE_CLASS] < classes))
    true = targets[pictures, columns].astype(np.float64)
    class_ids = np.unique(true[:, TRUE_CLASS])
    ranks = min(MAX_RANKS, max(1, MAX_BOXES // max(1, len(class_ids))))
    rows = []
    for class_id in class_ids:
        chosen = true[:, TRUE_CLASS] == class_id
        boxes = _ranked(true[chosen, TRUE_BOX], pictures[chosen], ranks)
        answer = np.empty((len(boxes), 6), np.float32)
        answer[:, SCORE] = 1 - np.arange(len(boxes)) / MAX_RANKS / 2
        answer[:, CLASS], answer[:, BOX] = class_id, boxes
        rows.append(answer)
    found = np.concatenate(rows) if rows else np.empty((0, 6), np.float32)
    return found[np.argsort(-found[:, SCORE], kind="stable")]


def _ranked(true: Boxes, pictures: NDArray[np.int64], ranks: int) -> Boxes:
    """Boxes (R, 4) for true ones (n, 4) of one class in pictures (n,), which rise."""
    starts = np.flatnonzero(np.diff(pictures, prepend=-1))
    candidates = _candidates(true)
    reaches = np.stack([_reached(box, true) for box in candidates])
    is_free = np.ones(len(true), np.bool_)
    boxes = []
    for _ in range(ranks):
        finds = np.logical_or.reduceat(reaches & is_free, starts, axis=1).sum(1)
        if not finds.max():
            break
        box = _refined(candidates[finds.argmax()], true[is_free], pictures[is_free])
        is_free &= ~_taken(box, true, is_free, pictures)
        boxes.append(box)
    return np.stack(boxes)


def _reached(box: Boxes, true: Boxes) -> NDArray[np.bool_]:
    return np.asarray(overlaps(box[None], true)[0] >= LEAST_OVERLAP)


def _taken(box: Boxes, true: Boxes, is_free: NDArray[np.bool_], pictures: NDArray[np.int64]) -> NDArray[np.bool_]:
    """The free true box of each picture that a box overlaps most, if by enough (n,)."""
    overlap = np.where(is_free, overlaps(box[None], true)[0], 0)
    order = np.lexsort((-overlap, pictures))
    is_first = np.diff(pictures[order], prepend=-1) > 0
    taken = np.zeros(len(true), np.bool_)
    taken[order[is_first]] = overlap[order[is_first]] >= LEAST_OVERLAP
    return taken


def _refined(box: Boxes, true: Boxes, pictures: NDArray[np.int64]) -> Boxes:
    """The box moved and resized while it finds a true box (n, 4) in more pictures (n,)."""
    starts = np.flatnonzero(np.diff(pictures, prepend=-1))

    def finds(candidate: Boxes) -> int:
        return int(np.count_nonzero(np.logical_or.reduceat(_reached(candidate, true), starts)))

    most = finds(box)
    for step in STEPS:
        for _ in range(MAX_MOVES):
            sides = step * np.tile(box[2:], 2)
            moved = [box + sign * sides * direction for direction in np.eye(4) for sign in (1, -1)]
            counts = [finds(candidate) for candidate in moved]
            if max(counts) <= most:
                break
            most, box = max(counts), moved[int(np.argmax(counts))]
    return box


def _candidates(true: Boxes) -> Boxes:
    """Boxes (C, 4) that may find many of the true ones (n, 4)."""
    by_area = true[np.argsort(true[:, 2] * true[:, 3], kind="stable")]
    examples = _spaced(by_area, MAX_EXAMPLES)
    centres = [_cluster_centres(true, _spaced(by_area, count)) for count in CLUSTERS]
    return np.concatenate([np.median(true, axis=0)[None], *centres, examples])


def _spaced(boxes: Boxes, count: int) -> Boxes:
    places = (np.arange(count) + 0.5) * len(boxes) / count
    return boxes[np.unique(places.astype(np.int64))]


def _cluster_centres(boxes: Boxes, centres: Boxes) -> Boxes:
    """Means (k, 4) of clusters by Lloyd's rounds from given centres; an empty cluster keeps its centre."""
    for _ in range(CLUSTER_ROUNDS):
        nearest = np.stack([((boxes - centre) ** 2).sum(1) for centre in centres]).argmin(0)
        means = [boxes[nearest == i].mean(0) if (nearest == i).any() else centre for i, centre in enumerate(centres)]
        centres = np.stack(means)
    return centres
