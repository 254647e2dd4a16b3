"""Three classes from a Parquet file to verdicts, through the command line: train, export, demo, predict."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

LABELS = ("disc", "square", "cross")
ROWS = {"train": 60, "val": 30, "test": 30}
CONFIG = """
model: {width: 8, depth: 2, image_size: 24, dropout: 0}
training: {epochs: 8, batch_size: 16, lr: 0.02, resampling: balanced}
"""


def shape(class_id: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A shape of any colour, somewhere on a noisy ground."""
    picture = rng.integers(0, 90, (32, 32, 3), np.uint8)
    colour = tuple(map(int, rng.integers(130, 256, 3)))
    x, y, radius = (*map(int, rng.integers(11, 22, 2)), int(rng.integers(7, 10)))
    if class_id == 0:
        cv2.circle(picture, (x, y), radius, colour, cv2.FILLED)
    elif class_id == 1:
        cv2.rectangle(picture, (x - radius, y - radius), (x + radius, y + radius), colour, 2)
    else:
        cv2.line(picture, (x - radius, y), (x + radius, y), colour, 3)
        cv2.line(picture, (x, y - radius), (x, y + radius), colour, 3)
    return picture


@pytest.fixture
def shapes(home: Path) -> Path:
    """Shapes as a data set, `shapes.parquet`; those of the test split as a folder too, each named by its label."""
    rng = np.random.default_rng(0)
    (home / "pictures").mkdir()
    rows = []
    for split, count in ROWS.items():
        for number in range(count):
            # Every second one is a disc.
            class_id = 0 if number % 2 else 1 + number // 2 % 2
            encoded = cv2.imencode(".png", shape(class_id, rng))[1].tobytes()
            rows.append((split, encoded, class_id, LABELS[class_id]))
            if split == "test":
                (home / "pictures" / f"{number:02}_{LABELS[class_id]}.png").write_bytes(encoded)
    names = ("split", "image_bytes", "class_id", "label")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    pq.write_table(pa.table(columns), home / "shapes.parquet")
    return home


def test_train_export_demo_predict(shapes: Path, whc_command: Callable[..., Any]) -> None:
    (shapes / "small.yaml").write_text(CONFIG, encoding="utf-8")

    def told(*arguments: object) -> Any:
        ended = whc_command(*arguments, "--json")
        assert ended.code == 0, ended.err
        return json.loads(ended.out)

    trained = told("train", "--data", "shapes.parquet", "--out", "run", "--config", "small.yaml")
    # Calling half of all rows right, and the others never.
    assert trained["floor"] == pytest.approx(2 * 15 / (30 + 15) / 3)
    assert trained["score"] > trained["floor"] + 0.5
    told("export", "--checkpoint", trained["checkpoint"], "--out", "model.onnx")

    summary = told("demo", "--headless", "--model", "model.onnx", "--source", "pictures", "--csv", "out.csv")
    assert summary["decisions"] == 30
    assert sum(summary["shares"].values()) == pytest.approx(1)
    assert list(summary["shares"]) == list(LABELS)
    with (shapes / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {f"prob_{label}" for label in LABELS} <= rows[0].keys()
    real = [path.stem.partition("_")[2] for path in sorted((shapes / "pictures").iterdir())]
    called = [row["label"] for row in rows]
    assert [called.count(label) / 30 for label in LABELS] == pytest.approx(list(summary["shares"].values()))
    hits = {label: sum(c == r == label for c, r in zip(called, real, strict=True)) for label in LABELS}
    macro = np.mean([2 * hits[label] / (called.count(label) + real.count(label)) for label in LABELS])
    assert macro == pytest.approx(trained["score"])  # the demo sees what the trainer scored

    for model in (trained["checkpoint"], "model.onnx"):
        predicted = told("predict", "--model", model, "--source", "shapes.parquet", "--out", "predicted.csv")
        assert predicted["rows"] == sum(ROWS.values())
        assert predicted["scores"]["test"] == pytest.approx(trained["score"])
        assert predicted["scores"]["val"] == pytest.approx(trained["val_score"])
