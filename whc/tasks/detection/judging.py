"""What found boxes are worth: average precision by COCO's rules, of classes and sizes too, and counts at a threshold.

AP is the area under precision against recall, at 101 recalls, each with the best precision at that recall or a larger
one (Lin et al., 2014). Boxes of equal score come in together, as no threshold can part them: COCO's figure for pictures
in the order that puts wrong ones first. Arrays are those of `whc.tasks.detection.matching`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from whc.tasks import Outputs, Targets
from whc.tasks.detection.matching import (
    CLASS,
    EVERY_AREA,
    SCORE,
    TRUE_CLASS,
    Area,
    match,
)

SMALL_AREA, LARGE_AREA = 0.0025, 0.0225  # shares of the picture: COCO's 32 and 96 pixels of a side of 640
SIZES: Mapping[str, Area] = {
    "small": (0.0, SMALL_AREA),
    "medium": (SMALL_AREA, LARGE_AREA),
    "large": (LARGE_AREA, float("inf")),
}
STRICT_OVERLAPS = tuple(np.linspace(0.5, 0.95, 10).tolist())
RECALLS = np.linspace(0, 1, 101)
MAX_NUMBERS = 4_000_000  # in one array of weights
MAX_CURVES = 20  # classes whose curves are told

Weights = NDArray[np.floating]


@dataclass(frozen=True)
class Detections:
    """Found boxes of M pictures, best first, at L least overlaps, and the true boxes of C classes.

    Attributes:
        pictures: (n,) rows of the pictures.
        class_ids: (n,).
        scores: (n,), falling.
        is_hit: (L, n) boxes that found a true one.
        is_counted: (L, n) boxes that are right or wrong.
        truths: (M, C) how many boxes were to be found.
    """

    pictures: NDArray[np.int64]
    class_ids: NDArray[np.int64]
    scores: NDArray[np.floating]
    is_hit: NDArray[np.bool_]
    is_counted: NDArray[np.bool_]
    truths: NDArray[np.int64]

    def score(self, weights: Weights | None = None) -> NDArray[np.float64]:
        """AP 0..1, the mean over least overlaps and over classes with true boxes; NaN without any.

        Args:
            weights: (D, M) how often each picture counts, with its found and its true boxes; None: once.

        Returns:
            () or (D,).
        """
        precision = self.by_class(np.ones((1, len(self.truths))) if weights is None else weights)
        is_known = ~np.isnan(precision)
        counts = is_known.sum(1)
        means = np.where(is_known, precision, 0).sum(1) / np.maximum(counts, 1)
        scores = np.where(counts > 0, means, np.nan)
        return np.asarray(scores[0] if weights is None else scores)

    def by_class(self, weights: Weights) -> NDArray[np.float64]:
        """AP (D, C) of each class for weightings (D, M), the mean over least overlaps; NaN without true boxes."""
        size = max(1, MAX_NUMBERS // max(1, len(self.pictures), len(self.truths)))
        chunks = [weights[start : start + size].astype(np.float64) for start in range(0, len(weights), size)]
        classes = range(self.truths.shape[1])
        columns = [np.concatenate([self._precision(chunk, class_id) for chunk in chunks]) for class_id in classes]
        return np.stack(columns, axis=1)

    def of_class(self, class_id: int) -> Detections:
        """Of one class alone."""
        chosen = self.class_ids == class_id
        return Detections(
            self.pictures[chosen],
            np.zeros(np.count_nonzero(chosen), np.int64),
            self.scores[chosen],
            self.is_hit[:, chosen],
            self.is_counted[:, chosen],
            self.truths[:, class_id : class_id + 1],
        )

    def curve(self, class_id: int) -> NDArray[np.float64]:
        """Best precision (101,) of a class at each of RECALLS or a larger one, the mean over least overlaps."""
        return np.asarray(self._precisions(np.ones((1, len(self.truths))), class_id).mean(0)[0])

    def _precision(self, weights: Weights, class_id: int) -> NDArray[np.float64]:
        precision = self._precisions(weights, class_id).mean((0, 2))
        return np.where(weights @ self.truths[:, class_id] > 0, precision, np.nan)

    def _precisions(self, weights: Weights, class_id: int) -> NDArray[np.float64]:
        """(L, D, 101) of weightings (D, M)."""
        truths = weights @ self.truths[:, class_id].astype(np.float64)
        precisions = []
        for is_hit, is_counted in zip(self.is_hit, self.is_counted, strict=True):
            chosen = np.flatnonzero((self.class_ids == class_id) & is_counted)
            times = weights.T[self.pictures[chosen]]
            precisions.append(_interpolated(is_hit[chosen], self.scores[chosen], times, truths))
        return np.stack(precisions)


def _interpolated(
    is_hit: NDArray[np.bool_], scores: NDArray[np.floating], times: Weights, truths: Weights
) -> NDArray[np.float64]:
    """Best precision (D, 101) at each recall or a larger one.

    Args:
        is_hit: (n,) of boxes, best first.
        scores: (n,).
        times: (n, D) how often each box counts.
        truths: (D,) how many boxes were to be found.
    """
    results = np.zeros((len(truths), len(RECALLS)))
    # Precision is needed where recall grows alone: after the last of the boxes with the score of one that found.
    ends = _score_ends(scores)
    ends = ends[np.isin(scores[ends], scores[is_hit])]
    if not ends.size:
        return results
    starts = np.concatenate([[0], ends[:-1] + 1])
    boxes = np.add.reduceat(times[: ends[-1] + 1], starts).cumsum(0)
    hit_places = np.flatnonzero(is_hit)
    hits = np.add.reduceat(times[hit_places], np.searchsorted(hit_places, starts)).cumsum(0)
    precision = hits / np.where(boxes > 0, boxes, 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    recall = np.ascontiguousarray((hits / np.where(truths > 0, truths, 1)).T)
    for row in range(len(truths)):
        place = np.searchsorted(recall[row], RECALLS)
        place = place[place < len(ends)]
        results[row, : len(place)] = best[place, row]
    return results


def _score_ends(scores: NDArray[np.floating]) -> NDArray[np.int64]:
    """The last place of each score among falling ones (n,)."""
    if not scores.size:
        return np.empty(0, np.int64)
    return np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1).astype(np.int64)


def judge(
    outputs: Outputs,
    targets: Targets,
    classes: int,
    least_overlaps: Sequence[float] = (0.5,),
    area: Area = EVERY_AREA,
) -> Detections:
    """Hold found boxes against true ones.

    Args:
        outputs: (M, K, 6).
        targets: (M, T, 5).
        classes: how many there are; boxes of others are not looked at.
        least_overlaps: L intersections over union from which a box is found.
        area: least and largest share of the picture of true boxes to be found; others are neither missed nor wrong.
    """
    matches = match(outputs, targets, least_overlaps, area)
    pictures, rows = np.nonzero(matches.is_found & (outputs[..., CLASS] < classes))
    order = np.argsort(-outputs[pictures, rows, SCORE], kind="stable")
    pictures, rows = pictures[order], rows[order]
    truths = [(matches.is_truth & (targets[..., TRUE_CLASS] == class_id)).sum(1) for class_id in range(classes)]
    return Detections(
        pictures,
        outputs[pictures, rows, CLASS].astype(np.int64),
        outputs[pictures, rows, SCORE],
        matches.partner[:, pictures, rows] >= 0,
        ~matches.is_ignored[:, pictures, rows],
        np.stack(truths, axis=1).astype(np.int64),
    )


def parts(outputs: Outputs, targets: Targets, labels: Sequence[str]) -> dict[str, Detections]:
    """AP50:95 (the mean over the least overlaps 0.5, 0.55 .. 0.95), and AP50 of sizes and of each of several labels."""
    classes = len(labels)
    strict = judge(outputs, targets, classes, STRICT_OVERLAPS)
    by_size = {name: judge(outputs, targets, classes, area=area) for name, area in SIZES.items()}
    lenient = replace(strict, is_hit=strict.is_hit[:1], is_counted=strict.is_counted[:1])
    by_label = {name: lenient.of_class(i) for i, name in enumerate(labels)} if classes > 1 else {}
    return {"AP50:95": strict, **by_size, **by_label}


# At a threshold.


@dataclass(frozen=True)
class Counts:
    """Boxes of all pictures and classes at a threshold: right, found (right or wrong), and true ones."""

    hits: int
    found: int
    truths: int

    @property
    def precision(self) -> float | None:
        """Share of the found boxes that is right; None without any."""
        return self.hits / self.found if self.found else None

    @property
    def recall(self) -> float | None:
        """Share of the true boxes that is found; None without any."""
        return self.hits / self.truths if self.truths else None

    @property
    def f1(self) -> float | None:
        """Of precision and recall; None where there is nothing to find and nothing is found."""
        return 2 * self.hits / (self.found + self.truths) if self.found + self.truths else None


def counted(detections: Detections, threshold: float) -> Counts:
    """What boxes with a score of `threshold` or more have found, at the first of the least overlaps."""
    is_shown = detections.scores >= threshold
    return Counts(int(detections.is_hit[0, is_shown].sum()), int(is_shown.sum()), int(detections.truths.sum()))


def best_threshold(outputs: Outputs, targets: Targets, classes: int) -> float:
    """The score from which boxes are shown with the best F1, of all classes together; the higher of equally good ones.

    0.5 where no box is found.
    """
    detections = judge(outputs, targets, classes)
    ends = _score_ends(detections.scores)
    if not ends.size:
        return 0.5
    hits = detections.is_hit[0].cumsum()[ends]
    f1 = 2 * hits / (ends + 1 + detections.truths.sum())
    return float(detections.scores[ends[f1.argmax()]])


def false_alarms(outputs: Outputs, targets: Targets, threshold: float) -> tuple[float, float]:
    """Wrong boxes a picture at a threshold: in all pictures, and in those without any object (NaN without those)."""
    matches = match(outputs, targets)
    is_wrong = np.asarray(matches.is_found & (matches.partner[0] < 0) & (outputs[..., SCORE] >= threshold))
    counts, has_objects = np.asarray(is_wrong.sum(1)), matches.is_truth.any(1)
    everywhere, without = (float(part.mean()) if len(part) else float("nan") for part in (counts, counts[~has_objects]))
    return everywhere, without


def details(outputs: Outputs, targets: Targets, labels: Sequence[str], threshold: float) -> dict[str, Any]:
    """AP of overlaps, sizes and labels, counts at the threshold, and precision at 101 recalls, as JSON holds them."""
    detections = judge(outputs, targets, len(labels))
    parted = parts(outputs, targets, labels)
    precision = {name: _plain(float(part.score())) for name, part in parted.items()}
    shown = counted(detections, threshold)
    everywhere, without_objects = false_alarms(outputs, targets, threshold)
    has_truth = np.asarray(detections.truths.any(0))
    told = [i for i in range(len(labels)) if has_truth[i]] if len(labels) <= MAX_CURVES else []
    return {
        "ap50": _plain(float(detections.score())),
        "ap50_95": precision.pop("AP50:95"),
        "ap50_by_size": {name: precision.pop(name) for name in SIZES},
        "ap50_by_label": precision,
        "threshold": threshold,
        "precision": shown.precision,
        "recall": shown.recall,
        "f1": shown.f1,
        "false_alarms_per_picture": _plain(everywhere),
        "false_alarms_per_picture_without_objects": _plain(without_objects),
        "true_boxes": shown.truths,
        "pictures_without_objects": int((~detections.truths.any(1)).sum()),
        "precision_at_101_recalls": {labels[i]: detections.curve(i).round(4).tolist() for i in told},
    }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value
