"""The worst answers of each task, the worst first."""

from __future__ import annotations

import numpy as np

from whc import tasks
from whc.tasks import Task


def task(name: str, labels: tuple[str, ...]) -> Task:
    return tasks.build(tasks.TASK_CHOICES.parse(name), labels)


def test_two_classes() -> None:
    mistakes = task("classification", ("no", "yes")).mistakes(np.array([0.6, 0.9, 0.1, 0.3]), np.array([0, 0, 1, 0]), 9)
    assert [(mistake.row, mistake.words) for mistake in mistakes] == [
        (1, "no, called yes (0.90)"),
        (2, "yes, called no (0.90)"),
        (0, "no, called yes (0.60)"),
    ]


def test_three_classes() -> None:
    outputs = np.array([[0.5, 0.4, 0.1], [0.1, 0.2, 0.7], [0.9, 0.05, 0.05]])
    (mistake,) = task("classification", ("a", "b", "c")).mistakes(outputs, np.array([1, 2, 0]), 9)
    assert (mistake.row, mistake.words) == (0, "b, called a (0.50)")


def test_many_labels() -> None:
    outputs = np.array([[0.9, 0.1], [0.9, 0.9], [0.4, 0.1]])
    mistakes = task("multi_label", ("hat", "scarf")).mistakes(outputs, np.array([[1, 0], [0, 0], [1, 0]]), 9)
    assert [mistake.row for mistake in mistakes] == [1, 2]
    assert mistakes[0].words.endswith("; called hat, scarf")
    assert mistakes[1].words.startswith("hat; called ")


def test_poses() -> None:
    outputs = np.array([[10.0, 0, 0, 5], [50, 0, 0, 5], [0, 0, 0, 5], [0, 9, 9, 5]])
    targets = np.array([[0.0, 0, 0], [0, 0, 0], [0, 0, 0], [np.nan, 0, np.nan]])
    mistakes = task("head_pose", ()).mistakes(outputs, targets, 9)
    assert [mistake.row for mistake in mistakes] == [1, 3, 0]
    assert mistakes[0].words == "off by 17: yaw 50, is 0; pitch 0, is 0; roll 0, is 0"
    assert mistakes[1].words == "off by 9: pitch 9, is 0"
    assert len(mistakes[0].lines) == 6  # the true axes too
    assert len(mistakes[1].lines) == 3


def test_boxes() -> None:
    box, other = (0.5, 0.5, 0.2, 0.2), (0.2, 0.2, 0.2, 0.2)
    nothing = [0.0, -1.0, 0, 0, 0, 0]
    outputs = np.array([[[0.9, 0, *box], nothing], [[0.9, 0, *other], nothing]])
    targets = np.array([[[*box, 0]], [[*box, 0]]])
    (mistake,) = task("detection", ("hand",)).mistakes(outputs, targets, 9)
    assert (mistake.row, mistake.words) == (1, "1 missed, 1 wrong")
    assert len(mistake.lines) == 8
    assert len({line.colour for line in mistake.lines}) == 2
