"""Head pose as a task: its rows, what moves do to its targets, its score, and its answers through export and demo."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from whc.data.preprocess import rotate, with_margin
from whc.demo.run import run
from whc.errors import DataError
from whc.export import onnx as exporter
from whc.records import ModelMetadata
from whc.tasks.head_pose import Config, HeadPose, angles
from whc.tasks.head_pose.rows import ANGLE_COLUMNS
from whc.training.augmentation import moves

TASK = HeadPose((), Config())
BINS = HeadPose((), Config(output="bins"))
PLAIN_BINS = HeadPose((), Config(output="bins", uncertainty=False))
ANGLES = st.tuples(st.floats(-170, 170), st.floats(-60, 60), st.floats(-60, 60))


def rows(**columns: list[float | None]) -> pd.DataFrame:
    count = len(next(iter(columns.values())))
    return pd.DataFrame({name: columns.get(name, [None] * count) for name in ANGLE_COLUMNS}, dtype="float64")


def read(**columns: list[float | None]) -> np.ndarray:
    return HeadPose.read_rows(rows(**columns), {}, "data").targets


def test_pan_and_tilt_become_yaw_and_pitch_without_roll() -> None:
    degrees = read(yaw=[10.0, None], pitch=[5.0, None], roll=[None, None], pan=[None, 90.0], tilt=[None, 60.0])
    np.testing.assert_allclose(degrees, [[10, 5, np.nan], [30, 90, np.nan]], atol=1e-4)


def test_strata_are_where_the_nose_points() -> None:
    labelled = HeadPose.read_rows(rows(yaw=[0, 40, -40, 120, -120], pitch=[0] * 5, roll=[0] * 5), {}, "data")
    assert [labelled.strata_names[i] for i in labelled.strata] == ["front", "left", "right", "back", "back"]


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ({"yaw": [0.5] * 12, "pitch": [0.1] * 12, "roll": [-0.2] * 12}, "must be in degrees, but none is beyond 3.2"),
        ({"yaw": [10.0, 200.0], "pitch": [0.0, 0.0]}, "row 1: yaw: must be within 180 degrees, got 200.0"),
        ({"yaw": [10.0, None], "pitch": [0.0, None]}, "row 1: must have yaw, pitch or roll, or pan and tilt"),
        ({"pan": [10.0, 20.0], "tilt": [0.0, None]}, "row 1: must have both pan and tilt"),
        ({"yaw": [None], "pitch": [None]}, "must have the columns yaw, pitch, roll, or pan and tilt"),
    ],
)
def test_rows_that_are_no_degrees(columns: dict[str, list[float | None]], told: str) -> None:
    with pytest.raises(DataError) as caught:
        read(**columns)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@given(ANGLES, st.booleans(), st.floats(-40, 40))
def test_targets_follow_the_pixels(pose: tuple[float, float, float], flipped: bool, clockwise: float) -> None:
    """The head's axes, drawn in the picture, move as the picture's points do."""
    change = np.zeros((4, 1), np.float32)
    change[0] = np.radians(-clockwise)
    where = moves(np.array([flipped]), change, (64, 64))
    moved = TASK.moved(torch.tensor([pose]), torch.from_numpy(where), (48, 48)).numpy()
    ends = angles.axes(np.array([pose]))[0] @ where[0, :, :2].astype(float).T
    ends[0] *= -1 if flipped else 1  # the head's own right is its left in a mirror
    np.testing.assert_allclose(angles.axes(moved)[0], ends, atol=1e-3)


def test_pictures_turned_and_cropped_keep_their_truth() -> None:
    """What the conditions do to a picture, their moves do to its points."""
    picture = np.zeros((65, 65, 3), np.uint8)
    picture[32, 44] = 255  # 12 to the right of the middle
    for name, condition in TASK.conditions.items():
        changed = condition.change(picture)[..., 0].astype(float)
        assert changed.shape == (65, 65)
        if name.startswith("margin"):
            assert np.allclose(condition.move, np.eye(2, 3))
            continue
        row, column = np.unravel_index(np.argmax(changed), changed.shape)
        x, y = condition.move[:, :2] @ (12, 0)
        assert abs(column - 32 - x) <= 1
        assert abs(row - 32 - y) <= 1
    np.testing.assert_array_equal(rotate(picture, 0), picture)


def test_margins_show_more_or_less_of_a_crop() -> None:
    picture = np.tile(np.arange(40, dtype=np.uint8)[None, :, None], (40, 1, 3))
    assert with_margin(picture, -0.1)[20, 0, 0] == 4
    wider = with_margin(picture, 0.25)
    assert wider.shape == picture.shape
    assert wider[20, 20, 0] == pytest.approx(20, abs=1)
    assert wider[20, 0, 0] > wider[20, 6, 0]  # mirrored at the edge


def test_the_score_is_never_folded() -> None:
    outputs = np.array([[179.0, 0, 0, 1], [0, 0, 0, 1]], np.float32)
    targets = np.array([[-179.0, 0, 0], [180, 0, np.nan]], np.float32)
    np.testing.assert_allclose(TASK.judge(outputs, targets).errors, [[2, 0, 0], [180, 0, np.nan]], atol=1e-4)
    assert float(TASK.judge(outputs, targets).score()) == pytest.approx(1 - (91 + 0 + 0) / 3 / 45)
    parts = TASK.parts(outputs, targets)
    assert float(parts["pitch"].score()) == 1
    assert np.isnan(parts["front"].score())
    assert TASK.metric.shown(0.9) == "MAE 4.50 degrees"


@pytest.mark.parametrize(("error", "title"), [(14, "yaw 10 pitch 5 roll 0 (+-14)"), (15, None)])
def test_a_pose_with_a_large_expected_error_is_not_sure(error: float, title: str | None) -> None:
    reading = TASK.reading(np.array([10, 5, 0, error], np.float32))
    assert reading.title == (title or "not sure: yaw 10 pitch 5 roll 0 (+-15)")


def test_an_uncertainty_that_nobody_learnt_is_left_out() -> None:
    assert (TASK.outputs, BINS.outputs, PLAIN_BINS.outputs) == (7, 253, 252)
    output = PLAIN_BINS.decoded(torch.zeros(1, 252)).numpy()
    assert np.isnan(output[0, 3])
    assert not PLAIN_BINS.check_outputs(output)
    assert BINS.check_outputs(output)
    assert PLAIN_BINS.columns == ("yaw", "pitch", "roll")
    assert PLAIN_BINS.cells(output[0]) == ("-1.50", "-1.50", "-1.50")
    assert "+-" not in PLAIN_BINS.reading(output[0]).title
    assert PLAIN_BINS.disagreement(output, output) == (0, np.array([False]))
    with pytest.raises(ValueError, match="uncertainty must be true for rotation"):
        Config(uncertainty=False)


class _Reader(nn.Module):
    """Reads a rotation out of a picture: the nose is the colour of its left half, up that of its right half."""

    def forward(self, images: Tensor) -> Tensor:
        """Raw numbers (N, 7) as `rotation.decode` takes them."""
        left, right = images[..., :8].mean((2, 3)), images[..., 8:].mean((2, 3))
        facing = images.new_tensor((0.0, 0.0, 1.0, 0.0, 1.0, 0.0))
        raw = (torch.cat([left, right], 1) * 2 - 1 - facing) / 0.1
        return torch.cat([raw, raw[:, :1] * 0], 1)


def test_there_is_no_seam_behind_the_head(tmp_path: Path, make_metadata: Callable[..., ModelMetadata]) -> None:
    """Through export and demo: yaw 170 to 190, where an expectation over bins jumps by 210 degrees."""
    poses = [(yaw, pitch, roll) for yaw in range(170, 191) for pitch in (-20, 0, 20) for roll in (-20, 0, 20)]
    (tmp_path / "heads").mkdir()
    for number, matrix in enumerate(angles.to_matrices(np.array(poses, float))):
        picture = np.zeros((16, 16, 3), np.uint8)
        picture[:, :8], picture[:, 8:] = (np.rint((matrix[:, axis] + 1) / 2 * 255) for axis in (2, 1))
        cv2.imwrite(str(tmp_path / "heads" / f"{number:03}.png"), picture[..., ::-1])
    about: dict[str, Any] = {"task": "head_pose", "labels": [], "task_config": TASK.config.model_dump()}
    metadata = make_metadata(**about, height=16, width=16)
    exporter.export(_Reader(), TASK, tmp_path / "model.onnx", metadata, (3, 16, 16), exporter.Config())
    summary = run(tmp_path / "model.onnx", str(tmp_path / "heads"), csv=tmp_path / "out.csv")
    assert summary.shares == {"front": 0, "side": 0, "back": 1}
    answers = pd.read_csv(tmp_path / "out.csv")[["yaw", "pitch", "roll"]].to_numpy()
    assert np.abs(angles.difference(answers, np.array(poses, float))).max() < 3


def test_the_labels_of_a_file_are_drawn_as_axes() -> None:
    ahead = HeadPose.label_strokes({"yaw": 0.0, "pitch": 0.0, "roll": 0.0})
    assert [start for start, _, _ in ahead] == [(0.5, 0.5)] * 3
    assert HeadPose.label_strokes({"pan": 40.0, "tilt": 10.0}) != ahead
    assert HeadPose.label_strokes({"yaw": 10.0, "pitch": 5.0, "roll": None}) == []  # a direction, but no axes
