"""Which found box belongs to which true box, by COCO's rule, and how the boxes of two runtimes differ.

The rule is that of Lin et al., "Microsoft COCO: Common Objects in Context", 2014, and of its evaluation server: within
a picture and a class, the best-scored box first takes the free true box that it overlaps most. Outputs are (M, K, 6):
score, class, cx, cy, w, h in shares of the picture; a missing row has score 0 and class -1. Targets are (M, T, 5): cx,
cy, w, h, class; a missing row is -1 throughout.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whc.data.boxes import Boxes, areas, overlaps
from whc.tasks import Outputs, Targets

SCORE, CLASS, BOX = 0, 1, slice(2, 6)  # columns of outputs
TRUE_BOX, TRUE_CLASS = slice(0, 4), 4  # columns of targets
LEAST_SCORE = 0.001  # boxes with this score or less are not looked at
MAX_BOXES = 100  # best-scored boxes of a picture that are looked at
MAX_OVERLAPS = 500_000  # numbers in one array of overlaps
EVERY_AREA = (0.0, float("inf"))

COMPARED_SCORE = 0.05  # least score of a box that another runtime must find too
PARTNER_OVERLAP = 0.9
PARTNER_SCORE_DIFFERENCE = 0.02

Area = tuple[float, float]


@dataclass(frozen=True)
class Matches:
    """Partners of found boxes at L least overlaps.

    Attributes:
        is_found: (M, K) which rows of the outputs are boxes that count as found.
        partner: (L, M, K) row of the target that a box took, -1 for none.
        is_ignored: (L, M, K) boxes that are neither right nor wrong, as they or their partners have another area.
        is_truth: (M, T) which rows of the targets are boxes to be found, of the area asked for.
    """

    is_found: NDArray[np.bool_]
    partner: NDArray[np.int64]
    is_ignored: NDArray[np.bool_]
    is_truth: NDArray[np.bool_]


def match(
    outputs: Outputs, targets: Targets, least_overlaps: Sequence[float] = (0.5,), area: Area = EVERY_AREA
) -> Matches:
    """Give each found box its true box.

    A box takes the free true box of its class with the largest overlap that reaches the least one; one outside the
    area only where none inside can be had, and is then ignored, as is a box outside the area without any.

    Args:
        outputs: (M, K, 6), boxes in any order.
        targets: (M, T, 5).
        least_overlaps: L intersections over union from which a box is found, each 0..1.
        area: least and largest share of the picture of true boxes to be found.
    """
    order = np.argsort(-outputs[..., SCORE], axis=1, kind="stable")
    ranked = np.take_along_axis(outputs, order[..., None], axis=1)
    is_found = (ranked[..., SCORE] > LEAST_SCORE) & (ranked[..., CLASS] >= 0)
    is_found[:, MAX_BOXES:] = False
    has_area = _within(targets[..., TRUE_BOX], area)
    partner = np.full((len(least_overlaps), *is_found.shape), -1, np.int64)
    is_ignored = np.broadcast_to(~_within(ranked[..., BOX], area), partner.shape).copy()
    for pictures, columns in _batches(targets, is_found.shape[1]):
        truths = np.take_along_axis(targets[pictures], columns[..., None], axis=1)
        overlap = overlaps(ranked[pictures][..., BOX], truths[..., TRUE_BOX])
        is_rival = (ranked[pictures, :, None, CLASS] == truths[:, None, :, TRUE_CLASS]) & is_found[pictures, :, None]
        overlap[~is_rival] = -1
        is_preferred = np.take_along_axis(has_area[pictures], columns, axis=1)
        taken = _take(overlap, is_preferred, np.minimum(least_overlaps, 1 - 1e-10))
        level, row, k = np.nonzero(taken >= 0)
        column = taken[level, row, k]
        partner[level, pictures[row], k] = columns[row, column]
        is_ignored[level, pictures[row], k] = ~is_preferred[row, column]
    place = np.argsort(order, axis=1)
    return Matches(
        np.take_along_axis(is_found, place, axis=1),
        np.take_along_axis(partner, place[None], axis=2),
        np.take_along_axis(is_ignored, place[None], axis=2),
        (targets[..., TRUE_CLASS] >= 0) & has_area,
    )


def _within(boxes: Boxes, area: Area) -> NDArray[np.bool_]:
    sizes = areas(boxes)
    return np.asarray((sizes >= area[0]) & (sizes <= area[1]))


def _batches(targets: Targets, boxes: int) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pictures (B,) with about as many true boxes each, and their rows of the target (B, T'), real ones first."""
    is_real = targets[..., TRUE_CLASS] >= 0
    counts = is_real.sum(1)
    columns = np.argsort(~is_real, axis=1, kind="stable")
    waiting = np.argsort(-counts, kind="stable")[: np.count_nonzero(counts)]
    while len(waiting):
        width = int(counts[waiting[0]])
        # The next batch may be narrower: pictures with half as many true boxes wait for it.
        size = min(np.count_nonzero(2 * counts[waiting] > width), max(1, MAX_OVERLAPS // max(1, width * boxes)))
        pictures, waiting = waiting[:size], waiting[size:]
        yield pictures, columns[pictures, :width]


def _take(
    overlap: NDArray[np.float64], is_preferred: NDArray[np.bool_], least: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Columns (L, B, K) that boxes take in their order, -1 for none, by overlaps (B, K, T) of -1 or 0..1."""
    worth = np.where(is_preferred[:, None], overlap, overlap - 2)  # what is not preferred comes after all that is
    taken = np.full((len(least), *overlap.shape[:2]), -1, np.int64)
    is_free = np.ones((len(least), len(overlap), overlap.shape[2]), np.bool_)
    reaches_any = overlap.max(2) >= least.min()
    for k in range(overlap.shape[1]):
        rows = np.flatnonzero(reaches_any[:, k])
        can_take = is_free[:, rows] & (overlap[rows, k] >= least[:, None, None])
        best = np.where(can_take, worth[rows, k], -4).argmax(2)
        level, place = np.nonzero(can_take.any(2))
        taken[level, rows[place], k] = best[level, place]
        is_free[level, rows[place], best[level, place]] = False
    return taken


def disagreement(ours: Outputs, theirs: Outputs, tolerance: float) -> tuple[float, NDArray[np.bool_]]:
    """How the boxes of two runtimes differ, whatever the order of their rows.

    A box with a score of 0.05 or more has a partner in the other's where one of its class overlaps it by 0.9 or more,
    or differs by the tolerance at most (so that tiny boxes have one). It changes the answer if it has none, or none
    with a score within 0.02. A full list ends somewhere: a box within the tolerance of the other's last score need not
    be there.

    Args:
        ours: (B, K, 6).
        theirs: (B, K, 6).
        tolerance: difference of any number that says nothing.

    Returns:
        Largest difference of a score or coordinate from the nearest partner, in a picture without partners the largest
        score; infinite where one is not finite. And whether a picture's answer has changed (B,).
    """
    is_broken = np.asarray(~(np.isfinite(ours) & np.isfinite(theirs)).all((1, 2)))
    ours, theirs = (np.where(is_broken[:, None, None], 0, rows).astype(np.float64) for rows in (ours, theirs))
    apart = np.abs(ours[:, :, None] - theirs[:, None])
    overlap, difference = overlaps(ours[..., BOX], theirs[..., BOX]), apart.max(3)
    is_partner = (apart[..., CLASS] == 0) & ((overlap >= PARTNER_OVERLAP) | (difference <= tolerance))
    is_near = is_partner & (apart[..., SCORE] <= PARTNER_SCORE_DIFFERENCE)
    distance = np.where(is_partner, difference, np.inf)
    largest, changed = 0.0, is_broken.copy()
    for axis, rows, others in ((2, ours, theirs), (1, theirs, ours)):
        last = others[..., SCORE].min(1, keepdims=True)
        is_compared = (rows[..., SCORE] >= COMPARED_SCORE) & ~((last > 0) & (rows[..., SCORE] <= last + tolerance))
        nearest = distance.min(axis)
        has_partner = is_compared & (nearest < np.inf)
        is_alone = is_compared.any(1) & ~has_partner.any(1)
        alone_scores = rows[is_alone][..., SCORE]
        largest = max(largest, nearest[has_partner].max(initial=0.0), alone_scores.max(initial=0.0))
        changed |= (is_compared & ~is_near.any(axis)).any(1)
    return float("inf") if is_broken.any() else float(largest), changed
