"""Data without a test split, through the command line: what works, and what is told instead of a score."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from whc.data.synthetic import render
from whc.tasks.classification import Classification

SMALL = ("training.epochs=2", "model.width=4", "model.depth=1", "model.image_size=16")


@pytest.fixture
def without(home: Path) -> Callable[..., Path]:
    """Rendered clips, less those of a split: the file's path."""
    rows = pq.read_table(render(home / "synth", clips=12))

    def write(split: str) -> Path:
        path = home / f"no_{split}.parquet"
        pq.write_table(rows.filter(pc.not_equal(rows["split"], split)), path)
        return path

    return write


def test_train_and_predict(without: Callable[..., Path], home: Path, whc_command: Callable[..., Any]) -> None:
    changes = [part for change in SMALL for part in ("--set", change)]
    trained = whc_command("train", "--data", without("test"), "--out", "run", *changes)
    assert trained.code == 0, trained.err
    first, second = trained.out.splitlines()
    assert first.startswith("run/checkpoint.pt: validation F1 0.")
    assert first.endswith("on validation")
    assert "test F1" not in trained.out
    assert second == Classification.metric.untested
    summary = json.loads((home / "run" / "summary.json").read_text(encoding="utf-8"))
    assert (summary["test_split"], summary["score"], summary["floor"]) == (False, None, None)
    assert not (home / "run" / "test_predictions.csv").exists()

    told = ("predict", "--model", "run/checkpoint.pt", "--source", "no_test.parquet", "--out", "out.csv")
    predicted = whc_command(*told, "--json")
    assert predicted.code == 0, predicted.err
    f1 = json.loads(predicted.out)["scores"]
    assert f1.keys() == {"train", "val"}
    assert f1["val"] == pytest.approx(summary["val_score"])
    refused = whc_command(*told, "--split", "test")
    assert refused.code == 1
    assert (
        refused.err == "error: no_test.parquet: split: must be one that the file has, got 'test'; there: train, val\n"
    )


def test_train_needs_a_validation_split(
    without: Callable[..., Path], home: Path, whc_command: Callable[..., Any]
) -> None:
    trained = whc_command("train", "--data", without("val"), "--out", "run")
    assert trained.code == 1
    assert trained.err.count("\n") == 1
    assert "no_val.parquet: split 'val': must have rows (only test may be absent), got {" in trained.err
    assert trained.err.endswith("; give a part of train, whole people or clips, the split 'val'\n")
    assert not (home / "run").exists()


@pytest.mark.parametrize(
    ("split", "told"),
    [("test", "no test split: nothing can be scored on test"), ("val", "no val split: training needs one")],
)
def test_data_info(without: Callable[..., Path], whc_command: Callable[..., Any], split: str, told: str) -> None:
    shown = whc_command("data", "info", without(split))
    assert shown.code == 0, shown.err
    assert told in shown.out.splitlines()
    assert sum(line.startswith("no ") for line in shown.out.splitlines()) == 1
