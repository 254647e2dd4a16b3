"""Figures of detection: which pictures they show, and that anything can be drawn."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from whc.tasks.detection import Detection
from whc.tasks.detection.drawing import draw, noteworthy


def found(*rows: tuple[float, ...]) -> list[list[float]]:
    """Four rows of outputs."""
    missing = [0.0, -1.0, 0.0, 0.0, 0.0, 0.0]
    return [[*map(float, row)] for row in rows] + [missing] * (4 - len(rows))


def true(*rows: tuple[float, ...]) -> list[list[float]]:
    """Three rows of targets."""
    return [[*map(float, row)] for row in rows] + [[-1.0] * 5] * (3 - len(rows))


SMALL, LARGE = (0.5, 0.5, 0.1, 0.1), (0.5, 0.5, 0.6, 0.6)
PICTURES = (
    (found((0.9, 0, *LARGE)), true((*LARGE, 0))),  # all right
    (found((0.9, 0, *SMALL)), true((*LARGE, 0))),  # a large one missed, and the surest wrong one
    (found(), true((*SMALL, 0))),  # a small one missed
    (found((0.6, 0, *SMALL)), true()),  # wrong
    (found((0.8, 1, *SMALL)), true((*SMALL, 0))),  # another class: missed and wrong
    (found((0.2, 0, *SMALL)), true()),  # not shown
    (found(), true()),
)
OUTPUTS = np.array([outputs for outputs, _ in PICTURES], np.float32)
TARGETS = np.array([targets for _, targets in PICTURES], np.float32)


def test_the_labels_of_a_file_are_drawn_as_boxes() -> None:
    strokes = Detection.label_strokes({"boxes": [[*LARGE, 0], [*SMALL, 1]]})
    assert len(strokes) == 8
    assert {point for start, end, _ in strokes[:4] for point in (start, end)} == {
        (x, y) for x in (0.2, 0.8) for y in (0.2, 0.8)
    }
    assert Detection.label_strokes({"boxes": []}) == []


def test_the_largest_misses_and_the_surest_wrong_boxes_are_shown() -> None:
    assert noteworthy(OUTPUTS, TARGETS, 0.5).tolist() == [1, 2, 4, 3]
    assert noteworthy(OUTPUTS, TARGETS, 0.1).tolist() == [1, 2, 4, 3, 5]
    assert noteworthy(OUTPUTS[:1], TARGETS[:1], 0.5).tolist() == []
    assert noteworthy(OUTPUTS[:, :0], TARGETS[:, :0], 0.5).tolist() == []


def test_half_are_misses_where_there_are_enough_of_both() -> None:
    missed, wrong = np.full(20, 2), np.full(20, 3)
    rows = np.concatenate([missed, wrong])
    assert noteworthy(OUTPUTS[rows], TARGETS[rows], 0.5).tolist() == [0, 1, 2, 3, 20, 21, 22, 23]
    assert noteworthy(OUTPUTS[missed], TARGETS[missed], 0.5).tolist() == list(range(8))
    assert noteworthy(OUTPUTS[wrong], TARGETS[wrong], 0.5).tolist() == list(range(8))


@pytest.mark.parametrize("classes", [2, 7])
@pytest.mark.parametrize("has_pictures", [True, False])
@pytest.mark.parametrize("chosen", [slice(None), slice(1), slice(5, None)])  # with mistakes, without, without truth
def test_anything_is_drawn(chosen: slice, has_pictures: bool, classes: int) -> None:
    outputs, targets = OUTPUTS[chosen], np.repeat(TARGETS[chosen], 3, axis=1)
    is_true = targets[..., 4] >= 0
    targets[..., 4][is_true] = np.arange(is_true.sum()) % classes
    labels = [f"class {i}" for i in range(classes)]
    rows = noteworthy(outputs, targets, 0.5)
    pictures = np.zeros((len(rows), 8, 6, 3), np.uint8) if has_pictures else None
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    draw(figure, outputs, targets, pictures, labels, 0.5, rows)
    figure.canvas.draw()
    assert len(figure.axes) == (9 if has_pictures and len(rows) else 1)
    assert figure.axes[0].get_title().startswith("AP50")
