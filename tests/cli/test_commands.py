"""The commands outside a study, one after another on a small rendered data set, as scripts use them: with --json."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from whc.config import load_yaml
from whc.data.synthetic import LABELS
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


@pytest.fixture
def result(whc_command: Callable[..., Any]) -> Callable[..., Any]:
    """Runs a command with --json; gives the object that stdout holds, and holds alone."""

    def run(*arguments: object) -> Any:
        ended = whc_command(*arguments, "--json")
        assert ended.code == 0, ended.err
        assert "Traceback" not in ended.err
        assert "error" not in ended.err
        return json.loads(ended.out)

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests of this file, which run in order, leave what the next one needs."""
    return tmp_path_factory.mktemp("made")


def needs(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"the test that makes {path.name} did not pass, or was not run")
    return path


def test_data_synth(made: Path, result: Callable[..., Any]) -> None:
    assert result("data", "synth", "--out", made, "--clips", 12) == {"data": str(made / "dataset.parquet")}
    again = made / "again"
    result("data", "synth", "--out", again, "--clips", 12, "--seed", 0)
    assert (again / "dataset.parquet").read_bytes() == (made / "dataset.parquet").read_bytes()


def test_data_info(made: Path, result: Callable[..., Any]) -> None:
    data = needs(made / "dataset.parquet")
    told = result("data", "info", data)
    assert told["path"] == str(data)
    assert told["labels"] == list(LABELS)
    assert told["frame_rate"] == 10
    assert told["sizes"] == {"48x48": told["rows"]}
    assert list(told["splits"]) == ["train", "val", "test"]
    assert sum(split["rows"] for split in told["splits"].values()) == told["rows"]
    assert sum(split["clips"] for split in told["splits"].values()) == 12
    assert all(min(split["classes"].values()) > 0 for split in told["splits"].values())
    assert [leak["count"] for leak in told["leaks"].values()] == [0, 0, 0]
    assert told["unreadable"] == {"count": 0, "examples": []}


def test_train(made: Path, home: Path, result: Callable[..., Any]) -> None:
    data = needs(made / "dataset.parquet")
    (home / "mine.yaml").write_text(CONFIG, encoding="utf-8")
    out = made / "trained"
    command = ("train", "--data", data, "--out", out, "--config", "mine.yaml")
    told = result(*command, "--set", "training.epochs=1", "--set", "model.color=luma")
    assert 0 <= told["f1"] <= 1
    assert 0 <= told["val_f1"] <= 1
    assert 0 < told["constant_f1"] < 1
    assert told["epoch"] == 1
    assert [point["epoch"] for point in told["curve"]] == [1]
    assert told["params"] > 0
    assert told["unreadable"] == []
    assert told["checkpoint"] == str(out / "checkpoint.pt")
    assert (out / "checkpoint.pt").is_file()
    assert json.loads((out / "summary.json").read_text(encoding="utf-8")) == told
    resolved = TrialConfig.model_validate(load_yaml(out / "config.yaml"))
    assert (resolved.training.epochs, resolved.model.color, resolved.model.width) == (1, "luma", 4)
    assert resolved.model.frames == 2


def test_what_train_wrote_is_a_configuration(made: Path, result: Callable[..., Any]) -> None:
    config = needs(made / "trained" / "config.yaml")
    out = made / "trained again"
    told = result("train", "--data", made / "dataset.parquet", "--out", out, "--config", config)
    assert (out / "config.yaml").read_text(encoding="utf-8") == config.read_text(encoding="utf-8")
    first = json.loads((made / "trained" / "summary.json").read_text(encoding="utf-8"))
    assert told["params"] == first["params"]
    assert told["val_f1"] == pytest.approx(first["val_f1"])  # the same seed


def test_export(made: Path, result: Callable[..., Any]) -> None:
    checkpoint = needs(made / "trained" / "checkpoint.pt")
    out = made / "exported" / "model.onnx"
    told = result("export", "--checkpoint", checkpoint, "--out", out)
    assert told == {"onnx": str(out), "size_bytes": out.stat().st_size}


def test_bench(made: Path, result: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model = needs(made / "exported" / "model.onnx")
    other = made / "copy.onnx"
    other.write_bytes(model.read_bytes())
    monkeypatch.chdir(made)
    told = result("bench", model, "copy.onnx")
    assert list(told) == [str(model), "copy.onnx", "reference"]
    for latency in told.values():
        assert 0 < latency["low_ms"] <= latency["ms"] <= latency["high_ms"]
        assert 0 < latency["p90_ms"] <= latency["p99_ms"]
        assert (latency["runtime"], latency["threads"]) == ("onnxruntime_cpu", 1)
        assert latency["host"]
    assert told["reference"]["ratio"] == 1


def test_demo(made: Path, home: Path, result: Callable[..., Any]) -> None:
    model = needs(made / "exported" / "model.onnx")
    folder = home / "pictures"
    folder.mkdir()
    for number in range(6):
        picture = np.random.default_rng(number).integers(0, 256, (40, 60, 3), np.uint8)
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    told = result("demo", "--model", model, "--source", folder, "--headless", "--save", "out.mp4", "--csv", "out.csv")
    assert told["model"] == str(model)
    assert told["source"] == str(folder)
    assert told["positive"] == LABELS[1]
    assert (told["frames"], told["decisions"]) == (6, 5)  # two frames to a decision
    assert 0 <= told["positive_share"] <= 1
    assert told["latency_ms_p50"] > 0
    assert told["fps"] > 0
    assert (told["save"], told["csv"]) == ("out.mp4", "out.csv")
    assert not told["interrupted"]
    assert (home / "out.mp4").stat().st_size > 0
    assert len((home / "out.csv").read_text(encoding="utf-8").splitlines()) == 1 + 6


def test_the_same_for_people(made: Path, whc_command: Callable[..., Any]) -> None:
    data, model = needs(made / "dataset.parquet"), needs(made / "exported" / "model.onnx")
    info = whc_command("data", "info", data)
    assert (info.code, info.err) == (0, "")
    assert "people in more than one split: 0" in info.out
    export = whc_command("export", "--checkpoint", made / "trained" / "checkpoint.pt", "--out", "model.onnx")
    assert export.out == f"model.onnx: {model.stat().st_size / 1000:.1f} KB\n"
