"""Multi-label classification by the public commands alone, from a CSV to a table of answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from whc.data import dataset
from whc.tasks.multi_label import MultiLabel


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 120 pictures of a red square, a blue one, both or neither, and the pictures."""
    rng, lines = np.random.default_rng(0), ["image,labels"]
    for number in range(120):
        picture = rng.integers(0, 60, (24, 24, 3), np.uint8)
        red, blue = number % 2 == 0, number % 3 == 0
        if red:
            picture[8:16, 2:10, 2] += 150
        if blue:
            picture[8:16, 14:22, 0] += 150
        cv2.imwrite(str(tmp_path / f"{number}.png"), picture)
        lines.append(f"{number}.png,{';'.join(['red'] * red + ['blue'] * blue)}")
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "labels.csv"


def test_from_a_csv_to_predictions(whc_command: Callable[..., Any], table: Path, tmp_path: Path) -> None:
    built = whc_command("data", "build", "--csv", table, "--out", tmp_path / "out", "--split", "60/20/20", "--json")
    assert built.code == 0, built.err
    data = tmp_path / "out" / "dataset.parquet"
    assert json.loads(pq.read_schema(data).metadata[b"whc.labels"]) == ["blue", "red"]
    assert dataset.load(data, [(24, 24)], MultiLabel).targets.shape == (120, 2)
    assert "blue" in whc_command("data", "info", data).out
    settings = (
        "task=multi_label",
        "model.width=8",
        "model.depth=2",
        "model.image_size=16",
        "training.ema=0",
        "training.batch_size=8",
        "training.lr=0.01",
    )
    sets: list[Any] = [part for setting in settings for part in ("--set", setting)]
    trained = whc_command("train", "--data", data, "--out", tmp_path / "run", *sets, "--json")
    assert trained.code == 0, trained.err
    summary = json.loads(trained.out)
    assert summary["score"] > max(0.9, summary["floor"])
    onnx = tmp_path / "model.onnx"
    assert whc_command("export", "--checkpoint", tmp_path / "run" / "checkpoint.pt", "--out", onnx).code == 0
    out = tmp_path / "out.csv"
    predicted = whc_command("predict", "--model", onnx, "--source", data, "--out", out, "--split", "test")
    assert "test macro F1" in predicted.out
    rows = pd.read_csv(out, keep_default_na=False)
    assert list(rows.columns[-4:]) == ["true_labels", "labels", "prob_blue", "prob_red"]
    assert (rows["labels"] == rows["true_labels"]).mean() > 0.8
