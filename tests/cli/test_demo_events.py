"""Smoothed states and events of a real clip through `whc demo`, as people and as programs see them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from whc.runtimes import onnx_file
from whc.training.checkpoint import Checkpoint
from whc.trials.artifacts import export, restore, untrained
from whc.trials.config import TrialConfig

LABELS = ["calm", "moved"]
LAW = {"short_s": 0.15, "long_s": 0.4, "hysteresis": 0.0}


@pytest.fixture
def model(home: Path) -> Path:
    """An untrained network of a whole picture, in a file."""
    config = TrialConfig.model_validate({"model": {"width": 4, "depth": 1, "image_size": 16}})
    weights = untrained(config, LABELS).state_dict()
    origin = Checkpoint(config.resolved(), weights, LABELS, None, "f00d", "1", 1, 0.5)
    export(*restore(origin, "test"), origin, home / "model.onnx")
    return home / "model.onnx"


def set_threshold(path: Path, threshold: float) -> None:
    file, proto = onnx_file.read(path)
    changed = file.metadata().model_copy(update={"task_config": {"threshold": threshold, "smoothing": LAW}})
    onnx.helper.set_model_props(proto, changed.to_properties())
    onnx.save(proto, path)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_real_clip(model: Path, home: Path, whc_command: Callable[..., Any], shared: Path) -> None:
    clip = shared / "data" / "video" / "asl_thanks.mkv"
    demo = ("demo", "--headless", "--model", model, "--source", clip)
    first = whc_command(*demo, "--csv", "raw.csv", "--json")
    assert first.code == 0, first.err
    raw = rows(home / "raw.csv")
    set_threshold(model, float(np.median([float(row["probability"]) for row in raw])))  # so that answers change

    ended = whc_command(*demo, "--csv", "out.csv", "--jsonl", "out.jsonl", "--json")
    summary, table = json.loads(ended.out), rows(home / "out.csv")
    frames = [json.loads(line) for line in (home / "out.jsonl").read_text("utf-8").splitlines()]
    assert len(frames) == len(table) == summary["frames"] == 51
    assert [row["probability"] for row in table] == [row["probability"] for row in raw]
    events = [f"{float(row['seconds']):.2f} s: {row['event']}" for row in table if row["event"]]
    assert [line for line in ended.err.splitlines() if "s: moved" in line] == events
    assert [event for frame in frames for event in frame["people"][0]["events"]] == [
        row["event"] for row in table if row["event"]
    ]
    assert sum(summary["events"].values()) == len(events)
    assert all(before.split()[-1] != after.split()[-1] for before, after in pairwise(events))

    plain = whc_command(*demo, "--no-smoothing")
    changes = [line for line in plain.out.splitlines() if "s: moved" in line]
    labels = [row["label"] for row in table]
    assert len(changes) == sum(before != after for before, after in pairwise(["calm", *labels]))
    assert 0 < len(events) < len(changes)
    assert plain.err == ""


def test_a_file_of_another_kind_is_refused(model: Path, whc_command: Callable[..., Any]) -> None:
    ended = whc_command("demo", "--headless", "--model", model, "--jsonl", "out.json")
    assert (ended.code, ended.out) == (2, "")
    assert ended.err == "error: out.json: must end in .jsonl, got '.json'; rename it\n"
