"""`whc train` scores its test split once, and its table says what `whc predict` would say."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import whc.trials.train as training
from whc.trials.predict import TorchSession

Rows = list[dict[str, str]]
SETTINGS = ("--set", "training.epochs=1", "--set", "model.image_size=16", "--set", "model.width=4")


def read(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def assert_same(left: Rows, right: Rows) -> None:
    assert len(left) == len(right)
    for one, other in zip(left, right, strict=True):
        assert one.keys() == other.keys()
        for name, cell in one.items():
            if name == "score":
                assert float(cell) == pytest.approx(float(other[name]), abs=1e-5)
            else:
                assert cell == other[name]


@pytest.mark.parametrize("sequence", ["none", "frame_stack"])
def test_the_table_is_that_of_predict(home: Path, result: Callable[..., Any], sequence: str) -> None:
    data = Path("synth", "dataset.parquet")
    result("data", "synth", "--out", "synth", "--clips", 12, "--seed", 0)
    changes = ("--set", "model.sequence.frame_stack.frames=2") if sequence == "frame_stack" else ()
    result("train", "--data", data, "--out", "run", *SETTINGS, *changes, "--diagnostics", "off")
    result("predict", "--model", "run/checkpoint.pt", "--source", data, "--split", "test", "--out", "again.csv")
    assert_same(read(home / "run" / "test_predictions.csv"), read(home / "again.csv"))


def test_the_test_split_is_scored_once(home: Path, result: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    scored: Counter[str] = Counter()
    evaluate = training.evaluate

    def counted(network: Any, batches: Any, split: str, task: Any) -> Any:
        scored[split] += 1
        return evaluate(network, batches, split, task)

    def not_again(*_: object) -> None:
        raise AssertionError("the network must not run over the test split a second time")

    monkeypatch.setattr(training, "evaluate", counted)
    monkeypatch.setattr(TorchSession, "run", not_again)
    result("data", "synth", "--out", "synth", "--clips", 12)
    trained = result("train", "--data", "synth/dataset.parquet", "--out", "run", *SETTINGS)
    assert scored["test"] == 1
    assert trained["score"] is not None
    assert read(home / "run" / "test_predictions.csv")


def test_several_files_give_one_table(home: Path, result: Callable[..., Any]) -> None:
    rows = {}
    for seed in (0, 1):
        result("data", "synth", "--out", f"synth{seed}", "--clips", 12, "--seed", seed)
        rows[seed] = result("data", "info", f"synth{seed}/dataset.parquet")
    data = [part for seed in (0, 1) for part in ("--data", f"synth{seed}/dataset.parquet")]
    result("train", *data, "--out", "run", *SETTINGS, "--diagnostics", "off")
    table = read(home / "run" / "test_predictions.csv")
    tested = [rows[seed]["splits"]["test"]["rows"] for seed in (0, 1)]
    first_rows = sum(int(row["row"]) < rows[0]["rows"] for row in table)
    assert [first_rows, len(table) - first_rows] == tested
