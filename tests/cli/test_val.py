"""`whc val` through the real entry point: the score that `whc predict` gives, with its interval, and the mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whc.cli.val import _brief
from whc.training.checkpoint import Checkpoint
from whc.trials.artifacts import export, restore, untrained
from whc.trials.config import TrialConfig

LABELS = {"classification": ["calm", "moved"], "multi_label": ["calm", "moved"], "head_pose": [], "detection": ["hand"]}
ROWS = 48  # in clips of 12 frames


def answers(task: str) -> dict[str, Any]:
    """Columns with the true answers of all rows."""
    numbers = range(ROWS)
    if task == "classification":
        return {"label": [LABELS[task][i // 12 % 2] for i in numbers]}
    if task == "multi_label":
        return {"labels": [["calm"] if i % 3 else ["calm", "moved"] for i in numbers]}
    if task == "head_pose":
        return {name: [float(i) for i in numbers] for name in ("yaw", "pitch", "roll")}
    boxes = [[[0.5, 0.5, 0.5, 0.5, 0.0]] if i % 2 else [] for i in numbers]
    return {"boxes": boxes}


def make(home: Path, task: str, sequence: object = "none", unlabelled: bool = False) -> tuple[Path, Path]:
    """An untrained model, and pictures in clips of which the first half is `train`."""
    head = {"head": "centre"} if task == "detection" else {}
    config = TrialConfig.model_validate(
        {"task": task, "model": {"width": 4, "depth": 2, "image_size": 16, "sequence": sequence, **head}}
    )
    network = untrained(config, LABELS[task])
    saved = Checkpoint(config.resolved(), network.state_dict(), LABELS[task], 10.0, "f00d", "1", 1, 0.5)
    export(*restore(saved, "model.pt"), saved, home / "model.onnx")
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, (20, 20, 3), np.uint8) for _ in range(ROWS)]
    table = {
        "image_bytes": [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures],
        "split": ["train" if i < ROWS // 2 else "val" for i in range(ROWS)],
        "video_id": [f"clip {i // 12}" for i in range(ROWS)],
        "timestamp": [i % 12 for i in range(ROWS)],
    }
    pq.write_table(pa.table(table if unlabelled else table | answers(task)), home / "rows.parquet")
    return home / "model.onnx", home / "rows.parquet"


@pytest.mark.parametrize(
    ("task", "sequence"),
    [
        ("classification", "none"),
        ("classification", {"frame_stack": {"frames": 3}}),
        ("classification", {"lstm": {"frames": 3}}),
        ("classification", {"cnn3d": {"frames": 4}}),
        ("multi_label", "none"),
        ("head_pose", "none"),
        ("detection", "none"),
    ],
)
def test_the_score_is_that_of_predict(home: Path, result: Callable[..., Any], task: str, sequence: object) -> None:
    model, data = make(home, task, sequence)
    validated = result("val", "--model", model, "--data", data, "--split", "all")
    predicted = result("predict", "--model", model, "--source", data, "--out", "p.csv")
    assert validated["rows"] == predicted["rows"]
    for split in ("train", "val"):
        of_split = result("val", "--model", model, "--data", data, "--split", split)
        assert of_split["score"] == pytest.approx(predicted["scores"][split], abs=1e-6)
        assert of_split["groups"] == 2
    assert validated["score_low"] <= validated["score_high"]
    assert len(validated["mistakes"]) <= 12
    assert all(0 <= mistake["row"] < ROWS and mistake["words"] for mistake in validated["mistakes"])


def test_what_is_shown_and_written(home: Path, whc_command: Callable[..., Any]) -> None:
    model, data = make(home, "classification")
    ended = whc_command("val", "--model", model, "--data", data, "--out", "scores")
    assert ended.code == 0, ended.err
    assert "split val: 24 rows of 2 groups" in ended.out
    assert "always calling 'moved' scores" in ended.out
    written = json.loads((home / "scores" / "val.json").read_text())
    assert written["split"] == "val"
    for name in ("diagnostics.png", "mistakes.png"):
        assert cv2.imread(str(home / "scores" / name)) is not None


@pytest.mark.parametrize("task", ["classification", "head_pose"])
def test_clips_are_scored_whole_by_a_model_of_several_frames(home: Path, result: Callable[..., Any], task: str) -> None:
    model, data = make(home, task, {"frame_stack": {"frames": 3}})
    clips = result("val", "--model", model, "--data", data, "--split", "all")["clips"]
    if task == "head_pose":
        assert clips is None
        return
    result("predict", "--model", model, "--source", data, "--out", "p.csv")
    predictions = pd.read_csv("p.csv")
    means = predictions.groupby(predictions["row"] // 12)["prob_moved"].mean()
    right = int(((means >= 0.5) == [False, True, False, True]).sum())
    assert (clips["right"], clips["clips"]) == (right, 4)
    share, squared = right / 4, 1.959964**2
    half = (squared * (share * (1 - share) / 4 + squared / 64)) ** 0.5
    expected = [(share + squared / 8 + sign * half) / (1 + squared / 4) for sign in (-1, 1)]
    assert [clips["low"], clips["high"]] == pytest.approx(expected, abs=1e-5)
    make(home, task)
    assert result("val", "--model", model, "--data", data)["clips"] is None, "single frames are no clips"


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--split", "exam"), 2, "--split: must be a split of rows.parquet, or all, got 'exam'; there: train, val"),
        (("--data", "none.parquet"), 1, "none.parquet"),
        (("--out", "model.onnx"), 2, "--out: must be a folder, got 'model.onnx'; name another"),
    ],
)
def test_wrong_options(
    home: Path, whc_command: Callable[..., Any], options: tuple[str, ...], code: int, told: str
) -> None:
    make(home, "classification")
    ended = whc_command("val", "--model", "model.onnx", "--data", "rows.parquet", *options)
    assert ended.code == code
    assert told in ended.err
    assert ended.err.count("\n") == 1


def test_data_without_answers(home: Path, whc_command: Callable[..., Any]) -> None:
    model, data = make(home, "classification", unlabelled=True)
    ended = whc_command("val", "--model", model, "--data", data)
    assert ended.code == 1
    assert "must have true answers for a model that " in ended.err


def test_details_are_short_numbers() -> None:
    details = {"f1": {"a": 0.97941680, "b": None}, "counts": [[341, 9], [3, 230]], "rank": 0.29411764705882354}
    assert _brief(details) == {"f1": {"a": 0.9794, "b": None}, "counts": [[341, 9], [3, 230]], "rank": 0.2941}
