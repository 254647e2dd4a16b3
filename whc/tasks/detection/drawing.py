"""Figures of detection: precision against recall, and the pictures with the worst misses and false alarms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from whc.data.boxes import Boxes, areas
from whc.data.preprocess import Image
from whc.tasks import Outputs, Targets
from whc.tasks.detection.judging import RECALLS, Counts, counted, judge
from whc.tasks.detection.matching import BOX, SCORE, TRUE_BOX, TRUE_CLASS, match
from whc.tasks.showing import BLUE_COLOUR, GREEN_COLOUR, Colour, Line, Mistake

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAX_PICTURES = 8
MAX_CURVES = 5  # classes with curves of their own; of more the mean is drawn
SCORE_HEIGHT = 0.08  # of a picture, that a score takes above its box
MAX_BOXES_DRAWN = 15  # right ones, and wrong ones, of a picture
RED: Colour = (255, 80, 80)


def noteworthy(outputs: Outputs, targets: Targets, threshold: float, count: int = MAX_PICTURES) -> NDArray[np.int64]:
    """Rows (R,) of pictures worth seeing, at most `count`: those with the largest missed boxes, then the surest wrong.

    Half are of each kind, more of one where there are too few of the other. What counts is found at the threshold.
    """
    is_missed, _, is_wrong = _verdicts(outputs, targets, threshold)
    missed_area = np.where(is_missed, areas(targets[..., TRUE_BOX]), 0).max(1, initial=0)
    wrong_score = np.where(is_wrong, outputs[..., SCORE], 0).max(1, initial=0)
    misses, alarms = _largest_first(missed_area), _largest_first(wrong_score)
    half = (count + 1) // 2
    first = misses[: max(half, count - len(alarms))]
    others = alarms[~np.isin(alarms, first)]
    return np.concatenate([first, others[: count - len(first)]])


def mistakes(outputs: Outputs, targets: Targets, threshold: float, count: int) -> list[Mistake]:
    """The noteworthy pictures: true boxes green, right ones blue, wrong ones red."""
    rows = noteworthy(outputs, targets, threshold, count)
    is_missed, is_right, is_wrong = _verdicts(outputs[rows], targets[rows], threshold)
    made = []
    for i, row in enumerate(rows.tolist()):
        true = targets[row][targets[row, :, TRUE_CLASS] >= 0][:, TRUE_BOX]
        boxes = [(true, GREEN_COLOUR)]
        boxes += [
            (outputs[row, chosen[i]][:MAX_BOXES_DRAWN, BOX], colour)
            for chosen, colour in ((is_right, BLUE_COLOUR), (is_wrong, RED))
        ]
        lines = [line for group, colour in boxes for box in group.tolist() for line in outline(box, colour)]
        made.append(Mistake(row, f"{is_missed[i].sum()} missed, {is_wrong[i].sum()} wrong", tuple(lines)))
    return made


def outline(box: Sequence[float], colour: Colour) -> list[Line]:
    """The four sides of a box cx, cy, w, h."""
    cx, cy, w, h = box
    left, top, right, bottom = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    corners = ((left, top), (right, top), (right, bottom), (left, bottom))
    return [Line(corners[i - 1], corners[i], colour) for i in range(4)]


def draw(
    figure: Figure,
    outputs: Outputs,
    targets: Targets,
    pictures: Image | None,
    labels: Sequence[str],
    threshold: float,
    rows: NDArray[np.int64],
) -> None:
    """Draw precision against recall, and pictures with their true boxes (dotted) and found ones.

    Args:
        figure: of about 10 x 4.6 inches.
        outputs: (M, K, 6).
        targets: (M, T, 5).
        pictures: uint8 (R, H, W, 3) of `rows`; None where they are not at hand.
        labels: names of the classes.
        threshold: score from which a box is shown.
        rows: (R,) of `noteworthy`.
    """
    left, right = cast("Any", figure).subfigures(1, 2, width_ratios=(1, 1.5))
    _draw_curves(left.subplots(), outputs, targets, labels, threshold)
    if pictures is None:
        right.text(0.5, 0.5, "pictures are left out here", ha="center")
    elif not len(rows):
        right.text(0.5, 0.5, f"no box is missed and none is wrong\nat the threshold of {threshold:.2f}", ha="center")
    else:
        _draw_pictures(right, outputs[rows], targets[rows], pictures, threshold)


def _largest_first(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Places of the positive among values (M,)."""
    order = np.argsort(-values, kind="stable")
    return order[: np.count_nonzero(values > 0)].astype(np.int64)


def _verdicts(
    outputs: Outputs, targets: Targets, threshold: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """At the threshold: true boxes that are missed (M, T), found ones that are right and that are wrong (M, K)."""
    matches = match(outputs, targets)
    is_shown = matches.is_found & (outputs[..., SCORE] >= threshold)
    is_right = is_shown & (matches.partner[0] >= 0)
    is_missed = matches.is_truth.copy()
    pictures, boxes = np.nonzero(is_right)
    is_missed[pictures, matches.partner[0, pictures, boxes]] = False
    return is_missed, is_right, is_shown & ~is_right


def _draw_curves(axes: Any, outputs: Outputs, targets: Targets, labels: Sequence[str], threshold: float) -> None:
    detections = judge(outputs, targets, len(labels))
    classes = np.flatnonzero(detections.truths.any(0)).tolist()
    curves = [(labels[i], detections.curve(i), _point(counted(detections.of_class(i), threshold))) for i in classes]
    everything = _point(counted(detections, threshold))
    if len(classes) > MAX_CURVES:
        curves = [(f"mean of {len(classes)} classes", np.mean([curve for _, curve, _ in curves], axis=0), everything)]
    for name, curve, point in curves:
        (line,) = axes.plot(RECALLS, curve, label=f"{name}: {curve.mean():.3f}")
        axes.plot(*point, "o", color=line.get_color())
    if len(classes) > 1:
        axes.legend(fontsize=8)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    recall, precision = everything
    at_threshold = f"score from {threshold:.2f} (dot): recall {recall:.2f}, precision {precision:.2f}"
    axes.set_title(f"AP50 {float(detections.score()):.3f}\n{at_threshold}", fontsize=9)


def _point(counts: Counts) -> tuple[float, float]:
    """Recall and precision; precision 1 where nothing is found, as curves begin."""
    return counts.recall or 0.0, 1.0 if counts.precision is None else counts.precision


def _draw_pictures(figure: Any, outputs: Outputs, targets: Targets, pictures: Image, threshold: float) -> None:
    figure.suptitle("true boxes dotted, found ones blue if right, red if wrong", fontsize=9)
    is_missed, is_right, is_wrong = _verdicts(outputs, targets, threshold)
    grid = figure.subplots(2, MAX_PICTURES // 2).ravel()
    for panel in grid:
        panel.axis("off")
    for row, (panel, picture) in enumerate(zip(grid, pictures, strict=False)):
        height, width = picture.shape[:2]
        panel.imshow(picture, extent=(0, width, height, 0))
        size = np.tile([width, height], 2)
        for is_chosen, colour in ((is_right, BLUE_COLOUR), (is_wrong, RED)):
            for box in outputs[row, is_chosen[row]][:MAX_BOXES_DRAWN]:
                corner = _draw_box(panel, box[BOX] * size, colour, "-")
                _draw_score(panel, corner, float(box[SCORE]), colour, height)
        for true in targets[row, targets[row, :, TRUE_CLASS] >= 0]:
            _draw_box(panel, true[TRUE_BOX] * size, GREEN_COLOUR, ":")
        panel.set(xlim=(0, width), ylim=(height, 0))
        panel.set_title(f"{is_missed[row].sum()} missed, {is_wrong[row].sum()} wrong", fontsize=8)


def _draw_box(panel: Any, box: Boxes, colour: Colour, style: str) -> tuple[float, float]:
    """Draw one box (4,) in pixels; its upper left corner."""
    left, top = (float(value) for value in box[:2] - box[2:] / 2)
    right, bottom = (float(value) for value in box[:2] + box[2:] / 2)
    xs, ys = [left, right, right, left, left], [top, top, bottom, bottom, top]
    panel.plot(xs, ys, style, color=[part / 255 for part in colour], linewidth=1.5)
    return left, top


def _draw_score(panel: Any, corner: tuple[float, float], score: float, colour: Colour, height: int) -> None:
    """Above the box, which may be tiny; inside where there is no room above."""
    x, y = max(corner[0], 0), max(corner[1], 0)
    background = {"facecolor": [part / 255 for part in colour], "edgecolor": "none", "pad": 0.4}
    align = "bottom" if y > SCORE_HEIGHT * height else "top"
    panel.text(x, y, f"{score:.2f}", fontsize=6, verticalalignment=align, bbox=background, clip_on=True)
