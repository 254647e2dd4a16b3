"""`--detect` through the real entry point: the demo, the measure of crops, and data sets cut by a detector."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whc.cli import _options
from whc.data.preprocess import Image
from whc.data.video import open_video
from whc.records import CropRule
from whc.runtimes import onnxruntime_cpu
from whc.training.checkpoint import Checkpoint, save
from whc.trials.artifacts import export, restore, untrained
from whc.trials.config import TrialConfig

Command = Callable[..., Any]
BOXES = {"task": "detection", "model": {"backbone": "plain", "head": {"aligned": {"upscale": 2}}, "image_size": 32}}


def make(path: Path, content: dict[str, Any], labels: list[str], crop: CropRule | None = None) -> Path:
    """An untrained model in a file."""
    config = TrialConfig.model_validate(content)
    weights = untrained(config, labels).state_dict()
    origin = Checkpoint(config.resolved(), weights, labels, None, "f00d", "1", 1, 0.5, crop=crop)
    save(origin, path.with_suffix(".pt"))
    export(*restore(origin, "test"), origin, path)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with calm.onnx, which classifies, and boxes.onnx, which finds boxes; untrained."""
    home = tmp_path_factory.mktemp("made")
    make(home / "calm.onnx", {"model": {"width": 4, "depth": 1, "image_size": 16}}, ["calm", "moved"])
    make(home / "boxes.onnx", BOXES, ["person"])
    (home / "boxes.tflite").touch()
    cv2.imwrite(str(home / "picture.png"), np.full((48, 64, 3), 90, np.uint8))
    return home


def frames_in(folder: Path, pictures: list[Image]) -> Path:
    """A folder of pictures."""
    folder.mkdir()
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / f"{number:03}.png"), picture[..., ::-1])
    return folder


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--detect", "calm.onnx"],
            "--detect: calm.onnx: must find boxes in single pictures, got 'task classification'",
        ),
        (
            ["--model", "boxes.onnx", "--detect", "face"],
            "--model: boxes.onnx: must say something of each box, not find",
        ),
        (
            ["--detect", "face", "--detect-class", "eye"],
            "--detect-class: must be a class of a whc detection model, got",
        ),
        (
            ["--detect", "boxes.onnx", "--detect-class", "dog"],
            "--detect-class: must be a class of boxes.onnx, got 'dog'",
        ),
        (
            ["--detect", "face", "--margin", "9"],
            "--margin: must be a share in -0.4..1.5, or with how far the crop lies",
        ),
        (["--detect", "face", "--region", "0,0,1,1"], "--region: must be given without --detect, got '0,0,1,1'"),
        (["--margin", "0.2"], "--margin: must come with --detect, got '0.2'"),
        (["--detect-class", "dog"], "--detect-class: must come with --detect, got 'dog'"),
        (["--detect", "none.onnx"], "none.onnx: must be an ONNX file, got nothing there"),
        (
            ["--detect", "picture.png"],
            "--detect: must be a registered name, or an .onnx file, got 'picture.png'",
        ),
        (
            ["--detect", "boxes.tflite"],
            "--detect: must be a registered name, or an .onnx file, got 'boxes.tflite'; give the ONNX file of the same",
        ),
        (
            ["--detect", "boxes.pt"],
            "--detect: must be a registered name, or an .onnx file, got 'boxes.pt'; run `whc export --checkpoint",
        ),
    ],
)
def test_each_mistake_is_told_in_a_line(
    made: Path, monkeypatch: pytest.MonkeyPatch, whc_command: Command, options: list[str], said: str
) -> None:
    monkeypatch.chdir(made)
    ended = whc_command("demo", "--headless", "--source", "picture.png", "--model", "calm.onnx", *options)
    assert ended.code in (1, 2)
    assert ended.out == ""
    assert len(ended.err.splitlines()) == 1
    assert said in ended.err


def test_a_detection_model_alone_runs_as_before(
    made: Path, monkeypatch: pytest.MonkeyPatch, result: Command, tmp_path: Path
) -> None:
    monkeypatch.chdir(made)
    out = tmp_path / "out.csv"
    shown = result("demo", "--headless", "--source", "picture.png", "--model", "boxes.onnx", "--csv", out)
    assert (shown["frames"], shown["decisions"], shown["detector"], shown["notes"]) == (1, 1, None, [])
    assert list(rows(out)[0]) == ["frame", "seconds", "count", "boxes", "latency_ms", "state", "event"]


def test_a_registered_detector_keeps_its_name(
    made: Path, monkeypatch: pytest.MonkeyPatch, result: Command, tmp_path: Path
) -> None:
    """The name goes where the crops are described, not the path of the file in the registry."""
    monkeypatch.chdir(made)
    files = {"person_m@champion": made / "boxes.onnx", "calm.onnx": made / "calm.onnx"}
    monkeypatch.setattr(_options, "model_file", lambda name, *_: files[name])
    options = ("--detect", "person_m@champion", "--margin", "0.3")
    shown = result("demo", "--headless", "--source", "picture.png", "--model", "calm.onnx", *options)
    assert (shown["detector"], shown["what"]) == ("person_m@champion", "person")


@pytest.mark.parametrize(("clip", "people"), [("male", 1), ("female-and-male", 2)])
def test_faces_of_a_clip(
    made: Path, monkeypatch: pytest.MonkeyPatch, result: Command, shared: Path, tmp_path: Path, clip: str, people: int
) -> None:
    """Each person has one identity, and a label in each frame."""
    monkeypatch.chdir(made)
    with open_video(shared / "data" / "video" / f"head-pose-face-detection-{clip}.mp4") as frames:
        source = frames_in(tmp_path / "frames", [frame.picture for frame in islice(frames, 6)])
    out, video = tmp_path / "out.csv", tmp_path / "out.webm"
    options = ("--detect", "face", "--csv", out, "--save", video)
    shown = result("demo", "--headless", "--model", "calm.onnx", "--source", source, *options)
    assert shown["detector"] == shown["what"] == "face"
    assert [person["person"] for person in shown["people"]] == list(range(1, people + 1))
    assert all(person["frames"] == person["decisions"] == shown["frames"] for person in shown["people"])
    assert "default margin of 0.2" in shown["notes"][-1]
    table = rows(out)
    assert len(table) == people * shown["frames"]
    assert {row["label"] for row in table} <= {"calm", "moved"}
    capture = cv2.VideoCapture(str(video))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == shown["frames"]


def test_a_data_set_of_faces_and_its_model(
    monkeypatch: pytest.MonkeyPatch, home: Path, result: Command, whc_command: Command, shared: Path
) -> None:
    """Cut by a detector; the margin reaches the exported file by way of data set and checkpoint; the demo takes it."""
    detector = shared / "models" / "face_detection_yunet_2026may.onnx"
    clips = {"train": ("male", "female-and-male"), "val": ("female", "asl_yes")}
    for split, names in clips.items():
        for label, name in zip(("smiling", "calm"), names, strict=True):
            (home / "clips" / split / label).mkdir(parents=True)
            file = "asl_yes.mkv" if name == "asl_yes" else f"head-pose-face-detection-{name}.mp4"
            shutil.copy(shared / "data" / "video" / file, home / "clips" / split / label)
    cut = ("--detect", detector, "--margin", "0.1,0,0.05")
    report = result("data", "build", "--videos", "clips", "--out", "data", "--fps", "4", *cut)
    assert report["splits"]["train"]["clips"] == 3  # two people in one of the two clips
    assert report["splits"]["train"]["people"] == 2
    table = pq.read_table(home / "data" / "dataset.parquet")
    rule = CropRule(detector=detector.name, scale=1.2, offset_y=0.05)
    assert CropRule.model_validate_json(table.schema.metadata[b"whc.crop"]) == rule
    assert "train/calm/head-pose-face-detection-female-and-male.mp4/2" in table["video_id"].to_pylist()
    told = whc_command("data", "info", "data/dataset.parquet")
    assert f"crops: cut around the boxes of {detector.name}, margin 0.1,0,0.05" in told.out
    quick = ("--set", "model.width=4", "--set", "model.depth=1", "--set", "model.image_size=16")
    result("train", "--data", "data/dataset.parquet", "--out", "run", "--set", "training.epochs=1", *quick)
    result("export", "--checkpoint", "run/checkpoint.pt", "--out", "model.onnx")
    assert onnxruntime_cpu.load(Path("model.onnx"), onnxruntime_cpu.Config()).metadata().crop == rule
    source = home / "clips" / "train" / "smiling" / "head-pose-face-detection-male.mp4"
    demo = ("demo", "--headless", "--model", "model.onnx", "--source", source)
    assert result(*demo, "--detect", detector)["notes"] == []
    assert "the model learnt crops around the boxes of face_detection_yunet" in result(*demo)["notes"][0]


def test_clips_without_people_are_told(home: Path, whc_command: Command, shared: Path) -> None:
    writer = cv2.VideoWriter("clip.mp4", cv2.VideoWriter.fourcc(*"mp4v"), 10.0, (64, 48))
    for shade in range(20):
        writer.write(np.full((48, 64, 3), 8 * shade, np.uint8))
    writer.release()
    for split in ("train", "val"):
        for label in ("a", "b"):
            (home / "clips" / split / label).mkdir(parents=True)
            shutil.copy("clip.mp4", home / "clips" / split / label)
    ended = whc_command("data", "build", "--videos", "clips", "--out", "data", "--detect", "face")
    assert ended.code == 1
    assert "every split must have rows of every class" in ended.err
    assert "in 20 frames" in ended.err


def test_crops_are_measured(home: Path, whc_command: Command, shared: Path) -> None:
    """Of the smile data, whose crops are smaller than the boxes of faces."""
    table = pq.read_table(shared / "data" / "smile" / "dataset.parquet")
    pq.write_table(table.take(pa.array(range(0, len(table), 300))), home / "few.parquet")
    detector = shared / "models" / "face_detection_yunet_2026may.onnx"
    told = whc_command("data", "info", "few.parquet", "--detect", detector)
    line = next(line for line in told.out.splitlines() if line.startswith("crops:"))
    assert line.startswith("crops: 0.7")
    assert f"whc demo --detect {detector} --margin=-0.1" in line


def test_detectors_are_for_clips(home: Path, whc_command: Command) -> None:
    (home / "pictures").mkdir()
    ended = whc_command("data", "build", "--images", "pictures", "--out", "data", "--detect", "face")
    assert (ended.code, ended.out) == (2, "")
    assert "--detect: must go with --videos, got 'face'; leave it out" in ended.err
