"""Boxes after augmentation: cut to what is seen, left out below a quarter of it, and of the other class in a mirror."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from whc import tasks
from whc.tasks import TASK_CHOICES, Task
from whc.tasks.parts import Parts

SIZE = (64, 64)
STAY = np.eye(2, 3, dtype=np.float32)[None]
MIRROR = STAY * np.array([[-1], [1]], np.float32)
UPSIDE_DOWN = STAY * np.array([[1], [-1]], np.float32)
LABELS = ("left hand", "right hand", "face")


def task(**parameters: object) -> Task:
    return tasks.build(TASK_CHOICES.parse({"detection": parameters}), LABELS)


def boxes(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor([rows])


ONE_OF_EACH = boxes(*((0.5, 0.5, 0.2, 0.2, float(number)) for number in range(3)), (-1.0,) * 5)


def shown(moves: list[np.ndarray], windows: list[list[float]], hides: list[bool]) -> Parts:
    """One picture of several parts."""
    places = np.array(windows, np.float32)[:, None]
    return Parts(np.zeros((len(moves), 1), np.int64), np.stack(moves), places, np.array(hides))


@pytest.mark.parametrize("swaps", [{"left hand": "right hand"}, {"1": "0"}, {"left hand": "1", "1": "left hand"}])
@pytest.mark.parametrize(
    ("move", "classes"),
    [
        (MIRROR, [1, 0, 2]),
        (UPSIDE_DOWN, [1, 0, 2]),
        (MIRROR * UPSIDE_DOWN, [0, 1, 2]),
        (STAY, [0, 1, 2]),
    ],
)
def test_a_mirror_exchanges_classes(swaps: dict[str, str], move: np.ndarray, classes: list[int]) -> None:
    targets = ONE_OF_EACH
    moved = task(flip_swaps=swaps).moved(targets, torch.from_numpy(move), SIZE)
    assert moved[0, :, 4].tolist() == [*classes, -1]
    parts = shown([move], [[-32, -32, 32, 32]], [False])
    composed = task(flip_swaps=swaps).composed(targets[None], parts, SIZE)
    assert composed[0, :, 4].tolist() == classes


def test_swapped_classes_must_be_there() -> None:
    assert task(flip_swaps={"left hand": "2"}).check_labels() == ""
    assert task(flip_swaps={"left hand": "foot"}).check_labels() == "must hold those of flip_swaps (foot)"
    assert task(flip_swaps={"0": "1", "7": "8"}).check_labels() == "", "of UHD's own classes"
    moved = task(flip_swaps={"0": "1", "7": "8", "2": "9"}).moved(ONE_OF_EACH, torch.from_numpy(MIRROR), SIZE)
    assert moved[0, :3, 4].tolist() == [1, 0, 2]


def test_small_boxes_are_left_out_only_after_a_move() -> None:
    targets = boxes((0.5, 0.5, 0.1, 0.1, 0), (0.5, 0.5, 0.2, 0.2, 2))
    kept = task(min_area=0.02).moved(targets, torch.from_numpy(STAY), SIZE)
    assert kept[0, :, 4].tolist() == [-1, 2]
    larger = torch.from_numpy(STAY * 2)
    assert task(min_area=0.02).moved(targets, larger, SIZE)[0, :, 4].tolist() == [0, 2]


def test_a_box_is_cut_to_what_its_window_shows() -> None:
    """Not moved into it, as the original does with the centres of its mosaics."""
    targets = boxes((0.25, 0.5, 0.3, 0.2, 0), (0.9, 0.5, 0.1, 0.1, 1))
    parts = shown([STAY], [[-32, -32, -16, 32]], [False])
    composed = task().composed(targets[None], parts, SIZE)
    torch.testing.assert_close(composed, boxes((0.175, 0.5, 0.15, 0.2, 0)))
    parts = shown([STAY], [[-32, -32, -23, 32]], [False])  # 0.14 of the width: a tenth of the box at most
    assert (task().composed(targets[None], parts, SIZE) == -1).all()


@pytest.mark.parametrize(
    ("hiding", "expected"),
    [
        ([-32, -32, 0, 32], (0.6, 0.5, 0.2, 0.4)),  # the left part, from top to bottom
        ([-32, -32, 0, 0], (0.5, 0.5, 0.4, 0.4)),  # a corner: the rest is no rectangle
        ([-32, -32, 4, 32], (0.63125, 0.5, 0.1375, 0.4)),
        ([-32, -32, 8, 32], None),  # less than a quarter is left
    ],
)
def test_what_is_pasted_hides(hiding: list[float], expected: tuple[float, ...] | None) -> None:
    targets = boxes((0.5, 0.5, 0.4, 0.4, 0))
    nothing = torch.full_like(targets, -1)
    parts = shown([STAY, STAY], [[-32, -32, 32, 32], hiding], [False, True])
    composed = task().composed(torch.stack([targets, nothing]), parts, SIZE)
    if expected is None:
        assert (composed == -1).all()
    else:
        torch.testing.assert_close(composed[0, 0], torch.tensor([*expected, 0.0]))


def test_batches_of_different_numbers_of_boxes_are_joined() -> None:
    one, two = boxes((0.5, 0.5, 0.1, 0.1, 0)), boxes((0.5, 0.5, 0.1, 0.1, 0), (0.2, 0.2, 0.1, 0.1, 1))
    joined = task().joined([one, two])
    assert joined[..., 4].tolist() == [[0, -1], [0, 1]]
