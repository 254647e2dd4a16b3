# ruff: noqa: E501 (one record a line)
"""One sound file of every kind that a user can hand to a command."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from whc import records
from whc.config import dump_yaml
from whc.data import dataset
from whc.data.dataset import Corpus
from whc.data.synthetic import clip, render
from whc.plugins import ChoiceOf
from whc.records import ModelMetadata, StudyRecord
from whc.tasks.classification import Classification
from whc.trials.config import TrialConfig
from whc.trials.run import Assignment, Limits, run

load = partial(dataset.load, task=Classification)

SPACE = {
    "name": "fuzz",
    "recipe": "tiny",
    "trials": 4,
    "limits": {"latency_ms": 0.5, "size_bytes": 100_000},
    "minutes": 1.5,
    "space": {
        "rules": ["model.depth <= 3 where model.image_size <= 16"],
        "model": {
            "backbone": {"baseline": {}, "inverted_se": {"expansion": [2, 4]}},
            "head": ["avg", "avgmax_mlp"],
            "color": ["rgb", "luma"],
            "sequence": {"none": {}, "frame_stack": {"frames": [2, 4]}},
            "width": [8, 16],
            "depth": {"int": [2, 6], "step": 2},
            "image_size": [16, "24x16"],
        },
        "training": {"epochs": 4, "lr": {"float": [1e-3, 2e-2], "log": True}, "augmentation": {"flip": 0.5}},
    },
}
RECIPE = {"prefix": "fuzz", "min_gain": 0, "refit": {"seeds": 0}, "timing": {"min_rounds": 10, "max_rounds": 10}}
NETWORK = {"width": 4, "depth": 1, "image_size": 16, "dropout": 0.0}


def _trial(corpus: Corpus, runs: Path, number: int) -> None:
    config = TrialConfig.model_validate({"model": NETWORK, "training": {"epochs": 2, "batch_size": 16, "seed": number}})
    name = f"{number:05d}"
    runtime = ChoiceOf("runtimes").parse("onnxruntime_cpu")
    folder = runs / "fuzz-1" / "trials" / name
    run(
        config,
        corpus,
        Assignment(name, "fuzz-1", folder, Limits(), runtime, 0.02, runs / ".latency", {}),
        lambda _: None,
    )


@pytest.fixture(scope="session")
def samples(
    tmp_path_factory: pytest.TempPathFactory,
    make_study: Callable[..., StudyRecord],
    make_metadata: Callable[..., ModelMetadata],
    write_litert: Callable[..., Path],
) -> Path:
    """A user's folder: data, a finished study of two trials, spaces and recipes, pictures, clips, models."""
    home = tmp_path_factory.mktemp("samples")
    data = render(home / "data", clips=12)
    corpus = load(data, [(16, 16)])
    for number in range(2):
        _trial(corpus, home / "runs", number)
    facts = {"data": str(data), "data_fingerprint": corpus.fingerprint, "recipe": str(home / "recipe.yaml")}
    make_study(study="fuzz-1", space_name="fuzz", space=SPACE["space"], trials=2, **facts).save(
        home / "runs" / "fuzz-1"
    )
    (home / "space.yaml").write_text(dump_yaml(SPACE))
    (home / "recipe.yaml").write_text(dump_yaml(RECIPE))
    (home / "mlflow").mkdir()
    (home / "mlflow" / "server.yaml").write_text(dump_yaml({"database": "runs/mlflow.db", "port": 5000}))
    trial = home / "runs" / "fuzz-1" / "trials" / "00000"
    recorded = Path(__file__).parents[1] / "benchmarks" / "recorded"
    (home / "recorded.parquet").write_bytes((recorded / "smile.parquet").read_bytes())
    (home / "recorded.yaml").write_text(dump_yaml({"include": "smile", "name": "recorded"}))
    (home / "model.onnx").write_bytes((trial / "model.onnx").read_bytes())
    described = make_metadata(labels=["still", "waving"], height=8, width=8)
    write_litert(home / "model.tflite", described.to_properties(), (8, 8), is_int8=True)
    (home / "checkpoint.pt").write_bytes((trial / "checkpoint.pt").read_bytes())
    record = records.load(records.TrialRecord, trial / "record.json")
    assert record.latency
    session = records.LatencySession(
        host="device", runtime="onnxruntime_cpu", threads=1, reference_ms=0.02, noisy=False, aa_ratio=1, aa_low=1, aa_high=1,
        files=[records.TimedFile(path="00000.onnx", sha256=record.files["model.onnx"], latency=record.latency,
                                 ratio_to_first=1, ratio_to_first_low=1, ratio_to_first_high=1)], failed=[],
    )  # fmt: skip
    records.save(session, home / "device.json")
    _pictures(home)
    return home


def _pictures(home: Path) -> None:
    """Pictures of every format that OpenCV writes here, in class folders of every split; clips beside them."""
    frames = clip(0, "waving", 24)
    rng = np.random.default_rng(0)
    for split in ("train", "val", "test"):
        for label in ("still", "waving"):
            folder = home / "images" / split / label
            folder.mkdir(parents=True)
            for number, suffix in enumerate((".png", ".jpg", ".webp")):
                cv2.imwrite(str(folder / f"{number}{suffix}"), rng.integers(0, 255, (20 + number, 24, 3), np.uint8))
    for name, code in (("clip.mp4", "mp4v"), ("clip.avi", "MJPG"), ("clip.webm", "VP80")):
        writer = cv2.VideoWriter(
            str(home / name), cv2.VideoWriter.fourcc(*code), 10, (frames.shape[2], frames.shape[1])
        )
        for frame in frames:
            writer.write(frame[..., ::-1])
        writer.release()
