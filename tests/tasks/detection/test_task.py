"""Detection as a task: boxes that follow their pixels, what is shipped with the weights, and what people see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from whc.tasks.detection import Config, Detection
from whc.tasks.showing import GREEN_COLOUR, NOTHING_COLOUR, UNSURE_COLOUR, Colour
from whc.training.augmentation import move, moves
from whc.trials.artifacts import untrained
from whc.trials.config import TrialConfig

TASK = Detection(("person", "dog"), Config(max_boxes=3))
SIDE = 64


def outputs_of(*boxes: tuple[float, ...]) -> NDArray[np.float32]:
    missing = (0.0, -1.0, 0.0, 0.0, 0.0, 0.0)
    return np.array([*boxes, *[missing] * (3 - len(boxes))], np.float32)


TWO = outputs_of((0.9, 0, 0.5, 0.5, 0.2, 0.4), (0.6, 1, 0.25, 0.75, 0.1, 0.1), (0.2, 0, 0.1, 0.1, 0.1, 0.1))
NONE = outputs_of((0.1, 0, 0.5, 0.5, 0.2, 0.4))


def drawn(box: tuple[float, float, float, float]) -> torch.Tensor:
    """A white box on black, (1, 3, SIDE, SIDE)."""
    cx, cy, w, h = (round(SIDE * share) for share in box)
    picture = torch.zeros(1, 3, SIDE, SIDE)
    picture[:, :, cy - h // 2 : cy + h // 2, cx - w // 2 : cx + w // 2] = 1
    return picture


@given(
    st.booleans(),
    st.floats(-0.15, 0.15),
    st.floats(-0.4, 0.4),
    st.floats(-0.4, 0.4),
    st.floats(-0.4, 0.4),
)
def test_boxes_follow_their_pixels(flipped: bool, angle: float, growth: float, across: float, down: float) -> None:
    box = (0.5, 0.4375, 0.25, 0.375)
    is_flipped, change = np.array([flipped]), np.array([[angle], [growth], [across], [down]], np.float32)
    picture = move(torch.cat([drawn(box)]), is_flipped, change)
    targets = torch.tensor([[[*box, 1.0], [-1.0] * 5]])
    moved = TASK.moved(targets, torch.from_numpy(moves(is_flipped, change, (SIDE, SIDE))), (SIDE, SIDE))
    rows, columns = np.nonzero(picture[0, 0].numpy() > 0.5)
    assert (moved[0, 1] == -1).all()
    if moved[0, 0, 4] == -1:
        assert len(rows) < 0.5 * 16 * 24 * (1 + growth) ** 2, "most of the box is outside"
        return
    cx, cy, w, h, label = (moved[0, 0] * torch.tensor([SIDE, SIDE, SIDE, SIDE, 1])).tolist()
    assert label == 1
    edges = (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1)
    slack = 1 + abs(angle) * 24  # corners of a turned box are rounder than the box about them
    for edge, expected in zip(edges, (cx - w / 2, cx + w / 2, cy - h / 2, cy + h / 2), strict=True):
        assert abs(edge - expected) <= slack
    assert columns.min() >= cx - w / 2 - 1
    assert columns.max() + 1 <= cx + w / 2 + 1


def test_the_shipped_threshold_is_chosen_on_what_is_given() -> None:
    """The second answer is wrong: a threshold between the two scores is best, whatever the task had before."""
    targets = np.full((2, 1, 5), -1, np.float32)
    targets[0, 0] = (0.5, 0.5, 0.2, 0.4, 0)
    outputs = np.stack([outputs_of((0.8, 0, 0.5, 0.5, 0.2, 0.4)), outputs_of((0.4, 0, 0.5, 0.5, 0.2, 0.4))])
    for before in (0.05, 0.5, 0.95):
        task = replace(TASK, config=Config(max_boxes=3, threshold=before))
        settled = task.settled(outputs, targets).config
        assert isinstance(settled, Config)
        assert 0.4 < settled.threshold <= 0.8
        assert settled.max_boxes == 3


def test_a_table_has_a_row_for_each_box() -> None:
    assert TASK.table_rows(TWO) == [
        ("0.900000", "person", "0.500000", "0.500000", "0.200000", "0.400000"),
        ("0.600000", "dog", "0.250000", "0.750000", "0.100000", "0.100000"),
    ]
    assert TASK.table_rows(NONE) == [("",) * 6]
    assert TASK.frame_cells(TWO)[0] == "2"
    assert TASK.frame_cells(NONE) == ("0", "[]")
    assert TASK.answer_counts(np.stack([TWO, NONE])) == {"person": 1, "dog": 1, "no object": 1}


def test_boxes_are_drawn_where_they_are() -> None:
    reading = TASK.reading(TWO)
    assert reading.title == "1 person, 1 dog"
    assert len(reading.lines) == 8
    first = {point for line in reading.lines[:4] for point in (line.start, line.end)}
    assert {(round(x, 4), round(y, 4)) for x, y in first} == {(0.4, 0.3), (0.6, 0.3), (0.6, 0.7), (0.4, 0.7)}
    assert TASK.reading(NONE).title == "no object"
    assert Detection(("person",), Config(max_boxes=3)).reading(NONE).title == "no person"


@pytest.mark.parametrize(
    ("score", "title", "colour"),
    [
        (0.9, "1 person", GREEN_COLOUR),
        (0.55, "not sure: 1 person", UNSURE_COLOUR),
        (0.45, "not sure: no object", UNSURE_COLOUR),
        (0.2, "no object", NOTHING_COLOUR),
    ],
)
def test_nothing_found_and_not_sure_are_told_apart(score: float, title: str, colour: Colour) -> None:
    task = replace(TASK, config=Config(max_boxes=3, threshold=0.5))
    reading = task.reading(outputs_of((score, 0, 0.5, 0.5, 0.2, 0.4)))
    assert (reading.title, reading.colour) == (title, colour)


@pytest.mark.parametrize(("place", "value"), [((0, 0), 1.2), ((1, 3), np.nan), ((0, 0), -0.1)])
def test_what_cannot_be_an_output_is_told(place: tuple[int, int], value: float) -> None:
    broken = TWO.copy()
    broken[place] = value
    assert not TASK.check_outputs(np.stack([TWO]))
    assert TASK.check_outputs(np.stack([broken]))


def test_boxes_beyond_the_rows_of_an_output_are_told(caplog: pytest.LogCaptureFixture) -> None:
    config = TrialConfig.model_validate(
        {"task": {"detection": {"max_boxes": 2}}, "model": {"head": "aligned", "image_size": 32}}
    )
    targets = np.full((3, 4, 5), -1, np.float32)
    targets[0], targets[1, :3] = 0.5, 0.25
    targets[:2, :, 4] = np.where(targets[:2, :, 4] >= 0, 0, -1)
    task = config.task_for(["person"])
    task.objective(untrained(config, ["person"]), targets, torch.ones(1), 0)
    (told,) = [record.getMessage() for record in caplog.records]
    assert told == "task.detection.max_boxes: an output holds 2 boxes, and 3 boxes in 2 pictures are beyond that; set 4"
