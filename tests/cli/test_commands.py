"""The commands outside a study, on a small rendered data set, as scripts use them: with --json."""

from __future__ import annotations

import csv
import io
import json
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import whc.cli
from whc.config import load_yaml
from whc.data.synthetic import CLASS_LABELS
from whc.trials.config import TrialConfig

CONFIG = """
model:
  backbone: {inverted_se: {expansion: 2}}
  sequence: {frame_stack: {frames: 2}}
  width: 4
  depth: 2
  image_size: 16
training: {epochs: 3}
"""


def made_by(folder: Path, *arguments: object) -> Any:
    """As `result`, for what is made once for several tests."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.chdir(folder)
        patch.setattr(sys, "argv", ["whc", *map(str, arguments), "--json"])
        with warnings.catch_warnings(), pytest.raises(SystemExit) as end:
            whc.cli.main()
    assert end.value.code == 0, err.getvalue()
    return json.loads(out.getvalue())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def data(folder: Path) -> Path:
    told = made_by(folder, "data", "synth", "--out", "synth", "--clips", 12)
    assert told == {"data": str(Path("synth", "dataset.parquet"))}
    return folder / "synth" / "dataset.parquet"


@pytest.fixture(scope="module")
def trained(folder: Path, data: Path) -> Any:
    """What `train` told; its files are in the folder `trained`."""
    (folder / "mine.yaml").write_text(CONFIG, encoding="utf-8")
    changes = ("--set", "training.epochs=1", "--set", "model.color=luma")
    return made_by(folder, "train", "--data", data, "--out", "trained", "--config", "mine.yaml", *changes)


@pytest.fixture(scope="module")
def model(folder: Path, trained: Any) -> Path:
    out = Path("exported", "model.onnx")
    told = made_by(folder, "export", "--checkpoint", trained["checkpoint"], "--out", out)
    assert told == {"onnx": str(out), "size_bytes": (folder / out).stat().st_size}
    return folder / out


def test_data_synth_is_the_same_for_a_seed(data: Path, home: Path, result: Callable[..., Any]) -> None:
    result("data", "synth", "--out", "again", "--clips", 12, "--seed", 0)
    assert (home / "again" / "dataset.parquet").read_bytes() == data.read_bytes()
    result("data", "synth", "--out", "again", "--clips", 12, "--seed", 1)
    assert (home / "again" / "dataset.parquet").read_bytes() != data.read_bytes()


def test_data_info(data: Path, result: Callable[..., Any]) -> None:
    told = result("data", "info", data)
    assert told["path"] == str(data)
    assert told["labels"] == list(CLASS_LABELS)
    assert told["frame_rate"] == 10
    assert told["sizes"] == {"48x48": told["rows"]}
    assert list(told["splits"]) == ["train", "val", "test"]
    assert sum(split["rows"] for split in told["splits"].values()) == told["rows"]
    assert sum(split["clips"] for split in told["splits"].values()) == 12
    assert all(min(split["strata"].values()) > 0 for split in told["splits"].values())
    assert [leak["count"] for leak in told["leaks"].values()] == [0, 0, 0]
    assert told["unreadable"] == {"count": 0, "examples": []}


def test_train(folder: Path, trained: Any) -> None:
    assert 0 <= trained["score"] <= 1
    assert 0 <= trained["val_score"] <= 1
    assert 0 < trained["floor"] < 1
    assert trained["epoch"] == 1
    assert [point["epoch"] for point in trained["curve"]] == [1]
    assert trained["params"] > 0
    assert trained["unreadable"] == []
    assert trained["checkpoint"] == str(Path("trained", "checkpoint.pt"))
    out = folder / "trained"
    assert {path.name for path in out.iterdir()} == {
        *("checkpoint.pt", "checkpoints", "config.yaml", "diagnostics", "history.json", "summary.json"),
        *("tensorboard", "test_predictions.csv", "train.log"),
    }
    with (out / "test_predictions.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    hits = sum(row["label"] == row["true_label"] == "waving_hand" for row in rows)
    called = sum(row["label"] == "waving_hand" for row in rows) + sum(
        row["true_label"] == "waving_hand" for row in rows
    )
    assert trained["score"] == pytest.approx(2 * hits / called)
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == trained
    resolved = TrialConfig.model_validate(load_yaml(out / "config.yaml"))
    assert (resolved.training.epochs, resolved.model.color, resolved.model.width) == (1, "luma", 4)
    assert resolved.model.frames == 2


def test_a_finished_run_resumes_to_its_own_summary(
    folder: Path, data: Path, trained: Any, result: Callable[..., Any]
) -> None:
    told = result("train", "--data", data, "--out", folder / "trained", "--resume", "--diagnostics", "off")
    assert {**told, "checkpoint": ""} == {**trained, "checkpoint": ""}


def test_weights_to_start_from(folder: Path, data: Path, trained: Any, home: Path, result: Callable[..., Any]) -> None:
    init = folder / trained["checkpoint"]
    told = result("train", "--data", data, "--out", "tuned", "--init", init, "--set", "training.epochs=1")
    assert told["init"] == str(init)
    assert load_yaml(home / "tuned" / "config.yaml")["model"] == load_yaml(folder / "trained" / "config.yaml")["model"]


def test_what_train_wrote_is_a_configuration(
    folder: Path, data: Path, trained: Any, home: Path, result: Callable[..., Any]
) -> None:
    config = folder / "trained" / "config.yaml"
    told = result("train", "--data", data, "--out", "again", "--config", config)
    assert (home / "again" / "config.yaml").read_text(encoding="utf-8") == config.read_text(encoding="utf-8")
    assert told["params"] == trained["params"]
    assert told["val_score"] == pytest.approx(trained["val_score"])  # the same seed


def test_demo(model: Path, home: Path, result: Callable[..., Any]) -> None:
    pictures = home / "pictures"
    pictures.mkdir()
    for number in range(6):
        picture = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        cv2.imwrite(str(pictures / f"{number}.png"), picture)
    told = result(
        "demo", "--model", model, "--source", pictures, "--headless", "--save", "out.webm", "--csv", "out.csv"
    )
    assert told["model"] == str(model)
    assert told["source"] == str(pictures)
    assert told["headline"] == [CLASS_LABELS[1]]
    assert (told["frames"], told["decisions"]) == (6, 5)  # two frames to a decision
    assert 0 <= told["shares"][CLASS_LABELS[1]] <= 1
    assert told["latency_ms_p50"] > 0
    assert told["fps"] > 0
    assert (told["save"], told["csv"]) == ("out.webm", "out.csv")
    assert not told["interrupted"]
    assert (home / "out.webm").stat().st_size > 0
    assert len((home / "out.csv").read_text(encoding="utf-8").splitlines()) == 1 + 6


def test_the_same_for_people(
    folder: Path, data: Path, trained: Any, model: Path, whc_command: Callable[..., Any]
) -> None:
    info = whc_command("data", "info", data)
    assert (info.code, info.err) == (0, "")
    assert "people in more than one split: 0" in info.out
    export = whc_command("export", "--checkpoint", folder / trained["checkpoint"], "--out", "model.onnx")
    assert export.out == f"model.onnx: {model.stat().st_size / 1000:.1f} KB\n"
