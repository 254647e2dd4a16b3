"""`whc predict` through the real entry point: what scripts and people get, and what each mistake is told."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whc.training.checkpoint import Checkpoint, save
from whc.trials.artifacts import export, restore, untrained
from whc.trials.config import TrialConfig

Command = Callable[..., Any]
CONFIG = {"model": {"width": 4, "depth": 1, "image_size": 16}}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model.pt and the same as model.onnx, of two labels and untrained, and things to run them on."""
    home = tmp_path_factory.mktemp("made")
    config = TrialConfig.model_validate(CONFIG)
    labels = ["calm", "moved"]
    weights = untrained(config, labels).state_dict()
    saved = Checkpoint(config.resolved(), weights, labels, 10.0, "f00d", "1", 1, 0.5)
    save(saved, home / "model.pt")
    export(*restore(saved, "model.pt"), saved, home / "model.onnx")
    pictures = [np.full((20, 20, 3), shade, np.uint8) for shade in (0, 100, 200)]
    encoded = [cv2.imencode(".png", picture)[1].tobytes() for picture in pictures]
    (home / "pictures").mkdir()
    for number, content in enumerate(encoded):
        (home / "pictures" / f"{number}.png").write_bytes(content)
    table = {"image_bytes": encoded, "label": ["calm", "moved", "moved"], "split": ["val", "test", "test"]}
    pq.write_table(pa.table(table), home / "crops.parquet")
    pq.write_table(pa.table({**table, "label": ["calm", "moved", "smiling"]}), home / "other.parquet")
    (home / "empty").mkdir()
    (home / "folder.csv").mkdir()
    return home


@pytest.fixture
def models(made: Path, home: Path) -> Path:
    """A copy that is the current folder."""
    shutil.copytree(made, home, dirs_exist_ok=True)
    return home


def test_checkpoint_and_file_give_the_same_table(models: Path, whc_command: Command) -> None:
    found = []
    for model in ("model.pt", "model.onnx"):
        ended = whc_command("predict", "--model", model, "--source", "crops.parquet", "--out", "out/x.csv", "--json")
        assert (ended.code, ended.err) == (0, "")
        told = json.loads(ended.out)
        assert (told["rows"], sum(told["called"].values()), list(told["scores"])) == (3, 3, ["val", "test"])
        assert told["out"] == str(Path("out", "x.csv"))
        with (models / "out" / "x.csv").open(encoding="utf-8", newline="") as file:
            found.append(list(csv.DictReader(file)))
    for ours, theirs in zip(*found, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ("row", "path", "split", "true_label", "label"):
            assert ours[name] == theirs[name]
        assert float(ours["prob_moved"]) == pytest.approx(float(theirs["prob_moved"]), abs=1e-5)


def test_told_in_one_line(models: Path, whc_command: Command) -> None:
    ended = whc_command("predict", "--model", "model.onnx", "--source", "pictures", "--out", "x.csv", "--threads", 2)
    assert (ended.code, ended.err) == (0, "")
    (line,) = ended.out.splitlines()
    assert line.startswith("x.csv: 3 rows in ")
    assert "images/s); " in line


def test_an_exported_file_needs_no_torch(models: Path, whc_process: Command) -> None:
    """Where importing it fails, everything still works."""
    (models / "torch.py").write_text("raise RuntimeError('torch was imported')")
    arguments = ("predict", "--source", "crops.parquet", "--out", "x.csv", "--model")
    ended = whc_process(*arguments, "model.onnx")
    assert (ended.code, ended.err) == (0, "")
    assert "torch was imported" in whc_process(*arguments, "model.pt").err


def test_a_signal_keeps_the_rows_so_far(models: Path) -> None:
    """Of a long video, in a process of its own."""
    writer = cv2.VideoWriter("long.avi", cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"MJPG"), 30, (640, 480))
    for _ in range(1500):
        writer.write(np.zeros((480, 640, 3), np.uint8))
    writer.release()
    command = [sys.executable, "-c", "from whc.cli import main; main()", "predict", "--model", "model.onnx"]
    command += ["--source", "long.avi", "--out", "x.csv"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not any(path.stat().st_size > 5000 for path in models.glob(".x.*")):
            assert time.monotonic() < deadline
            assert process.poll() is None, process.communicate()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        told, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (128 + signal.SIGTERM, "")
    assert re.search(r"x\.csv: \d+ rows in .*; interrupted after \d+ of 1500 pictures\n", told)
    with (models / "x.csv").open(encoding="utf-8", newline="") as file:
        frames = [int(row["frame"]) for row in csv.DictReader(file)]
    assert frames == list(range(len(frames)))
    assert told.startswith(f"x.csv: {len(frames)} rows in ")
    assert not list(models.glob(".x.*"))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_names_in_other_bytes_are_printed(models: Path) -> None:
    """Where the terminal's encoding is strict, after the work is done."""
    source = os.fsdecode(b"pictures\xff")
    (models / "pictures").rename(models / source)
    command = [sys.executable, "-c", "from whc.cli import main; main()", "predict", "--model", "model.onnx"]
    command += ["--source", source, "--out", os.fsdecode(b"\xff.csv")]
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    for more, shown in (([], r"\udcff.csv: 3 rows"), (["--json"], r'"pictures\udcff"')):
        done = subprocess.run([*command, *more], env=strict, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert shown in done.stdout


CASES = {
    "no model": ("--model gone.pt --source pictures --out x.csv", 1, "gone.pt: must be a readable checkpoint"),
    "no exported model": ("--model gone.onnx --source pictures --out x.csv", 1, "gone.onnx: must be an ONNX file"),
    "no name": ("--model whc_m --source pictures --out x.csv", 1, "whc_m: must be a registered model"),
    "no checkpoint": ("--model crops.parquet --source pictures --out x.csv", 1, "crops.parquet: must be a checkpoint"),
    "no source": ("--model model.onnx --source gone --out x.csv", 1, "gone: must be a folder of images, an image, a"),
    "no images": ("--model model.onnx --source empty --out x.csv", 1, "empty: must hold images"),
    "no video": ("--model model.onnx --source model.pt --out x.csv", 1, "model.pt: must be a video"),
    "other labels": (
        "--model model.onnx --source other.parquet --out x.csv",
        1,
        "other.parquet: label: must be known to the model (0 calm, 1 moved), got ['smiling']",
    ),
    "unknown split": (
        "--model model.onnx --source crops.parquet --split train --out x.csv",
        1,
        "crops.parquet: split: must be one that the file has, got 'train'; there: test, val",
    ),
    "split of a folder": ("--model model.onnx --source pictures --split val --out x.csv", 2, "--split: must come with"),
    "no box": ("--model model.onnx --source pictures --out x.csv --region left", 2, "region: must be x,y,w,h"),
    "out is a folder": ("--model model.onnx --source pictures --out folder.csv", 2, "folder.csv: must be a file that"),
    "out is no table": ("--model model.onnx --source pictures --out x.txt", 2, "x.txt: must end in .csv"),
    "out below a file": ("--model model.onnx --source pictures --out model.pt/x.csv", 2, "model.pt/x.csv: must be"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_input(case: str, models: Path, whc_command: Command) -> None:
    arguments, code, told = CASES[case]
    before = sorted(models.iterdir())
    ended = whc_command("predict", *arguments.split())
    assert (ended.code, ended.out) == (code, "")
    (line,) = ended.err.splitlines()
    assert line.startswith(f"error: {told}")
    assert "; " in line
    assert sorted(models.iterdir()) == before
