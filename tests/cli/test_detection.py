"""A detector from YOLO files to the demo, on pictures with bright rectangles; and heads that do not serve a task."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

CONFIG = """
task: detection
model: {backbone: plain, head: {aligned: {upscale: 2}}, width: 8, depth: 5, image_size: 32, dropout: 0}
training: {epochs: 12, lr: 0.02, batch_size: 32, augmentation: {flip: 0.5, affine: 0, photometric: 0.3}}
"""


def draw(folder: Path, pictures: int) -> None:
    """Noise with none to two bright rectangles, 40 x 48, with YOLO labels beside."""
    rng = np.random.default_rng(0)
    for number in range(pictures):
        split = ("train", "train", "train", "val", "test")[number % 5]
        (folder / split).mkdir(parents=True, exist_ok=True)
        picture, lines = rng.integers(0, 90, (40, 48, 3), np.uint8), []
        for side in range(number % 3):
            w, h = rng.integers(8, 18, 2)
            x, y = int(rng.integers(0, 24 - w)) + 24 * side, int(rng.integers(0, 40 - h))
            picture[y : y + h, x : x + w] = rng.integers(170, 256, 3)
            lines.append(f"0 {(x + w / 2) / 48:.6f} {(y + h / 2) / 40:.6f} {w / 48:.6f} {h / 40:.6f}")
        cv2.imwrite(str(folder / split / f"{number:03}.png"), picture)
        (folder / split / f"{number:03}.txt").write_text("\n".join(lines))


def test_from_label_files_to_the_demo(home: Path, result: Callable[..., Any]) -> None:
    draw(home / "pictures", 300)
    (home / "c.yaml").write_text(CONFIG)
    built = result("data", "build", "--images", "pictures", "--out", "data", "--classes", "0")
    assert built["splits"].keys() == {"train", "val", "test"}
    trained = result("train", "--data", "data/dataset.parquet", "--config", "c.yaml", "--out", "run")
    assert trained["metric"]["key"] == "ap50"
    assert trained["score"] > trained["floor"] + 0.4
    result("export", "--checkpoint", "run/checkpoint.pt", "--out", "model.onnx")
    predicted = result(
        "predict", "--model", "model.onnx", "--source", "data/dataset.parquet", "--split", "test", "--out", "p.csv"
    )
    assert predicted["scores"]["test"] == pytest.approx(trained["score"], abs=1e-3)
    with (home / "p.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["path"] for row in rows} == {f"{number:03}.png" for number in range(4, 300, 5)} or len(
        {row["path"] for row in rows}
    ) == 60
    right = sum(bool(row["score"]) == (row["true_boxes"] != "0") for row in rows)
    assert right > 0.8 * len(rows)
    shown = result("demo", "--model", "model.onnx", "--source", "pictures/test", "--csv", "d.csv", "--headless")
    assert shown["frames"] == 60
    assert sum(shown["shares"].values()) == pytest.approx(1)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (("task=detection",), "model.head: must give boxes for task detection, got 'avg'; choose one of: aligned"),
        (
            ("model.head=aligned",),
            "model.head: must give numbers for task classification, got 'aligned'; choose one of",
        ),
        (
            ("task=detection", "model.head=aligned", "model.sequence.lstm.frames=2"),
            "model.sequence: must keep the head, as task detection needs it, got 'lstm'; leave it out",
        ),
    ],
)
def test_a_head_that_does_not_serve_the_task(
    home: Path, whc_command: Callable[..., Any], settings: tuple[str, ...], told: str
) -> None:
    changes = [part for setting in settings for part in ("--set", setting)]
    ended = whc_command("train", "--data", "none.parquet", "--out", home / "run", *changes)
    assert ended.code == 2
    assert told in ended.err
