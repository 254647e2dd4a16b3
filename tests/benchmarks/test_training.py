"""From the command to the first step, to the originals' F1, and what 250 seconds reach: data/smile, all cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image, ImageEnhance
from torch.nn.functional import binary_cross_entropy_with_logits

from whc.data.dataset import SPLIT_NAMES, Corpus, load
from whc.factory.front import changed as corpus_changed
from whc.models.assemble import ModelConfig, build
from whc.tasks.classification import Classification
from whc.tasks.conditions import turned_condition
from whc.training import checkpoint
from whc.training.loop import evaluate
from whc.trials.artifacts import batches_of, restore
from whc.trials.config import TrialConfig

pytestmark = pytest.mark.bench

ORIGINAL_F1, ORIGINAL_EPOCHS = 0.576, 20  # of shared/peer/trained.json: baseline, width 32
LONG_SECONDS = 250
BATCH, SIZE = 256, (32, 32)


def changed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Flip 0.5, affine 0.4 (shift 5 %, scale 0.9 to 1.1), photometric distortion 0.5."""
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.4:
        width, height = picture.size
        zoom = 1 / rng.uniform(0.9, 1.1)
        across, down = rng.uniform(-0.05, 0.05, 2) * (width, height)
        moved = (zoom, 0, (1 - zoom) * width / 2 + across, 0, zoom, (1 - zoom) * height / 2 + down)
        picture = picture.transform(picture.size, Image.Transform.AFFINE, moved, Image.Resampling.BILINEAR)
    if rng.random() < 0.5:
        for enhance in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
            picture = enhance(picture).enhance(rng.uniform(0.8, 1.2))
    return picture


class OriginalTrainer:
    """The original trainers, written from their description: baseline, width 32, on a Parquet file.

    Every image is decoded and changed anew by Pillow, one by one; batches of 256, AdamW at 1e-4.
    """

    def __init__(self, data: Path) -> None:
        table = pq.read_table(data, columns=["split", "image_bytes", "class_id"]).to_pandas()
        table = table[table["split"] == "train"]
        self.encoded, self.targets = table["image_bytes"].tolist(), table["class_id"].to_numpy(np.float32)
        self.rng = np.random.default_rng(0)
        torch.set_num_threads(os.cpu_count() or 1)
        self.network = build(ModelConfig.model_validate({"width": 32}), 1)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-4, weight_decay=1e-4)

    def sample(self, row: int) -> torch.Tensor:
        picture = Image.open(BytesIO(self.encoded[row])).convert("RGB")
        picture = changed(picture, self.rng).resize(SIZE, Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)

    def epoch(self) -> float:
        """Seconds of one pass over the training split."""
        start = time.perf_counter()
        order = self.rng.permutation(len(self.encoded))
        for chosen in np.array_split(order, len(order) // BATCH + 1):
            images = torch.stack([self.sample(row) for row in chosen])
            targets = torch.from_numpy(self.targets[chosen])
            loss = binary_cross_entropy_with_logits(self.network(images)[:, 0], targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        return time.perf_counter() - start


@pytest.fixture
def data(shared: Path) -> Path:
    return shared / "data" / "smile" / "dataset.parquet"


def train(data: Path, out: Path, *changes: str) -> float:
    """Run the public command; returns when it began, in seconds of the system's clock.

    `<out>-every` keeps all checkpoints, with the times at which they were written.
    """
    settings = [part for change in changes for part in ("--set", change)]
    every = out.with_name(f"{out.name}-every")
    every.mkdir()
    began = time.time()
    command = [Path(sys.executable).with_name("whc"), "train", "--data", data, "--out", out, *settings]
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}  # the tests' own
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, env=env, **quiet) as process:
        while process.poll() is None:
            for path in (out / "checkpoints").glob("epoch_*.pt"):
                with suppress(FileExistsError):
                    (every / path.name).hardlink_to(path)
            time.sleep(0.3)
    assert process.returncode == 0
    return began


def first_step(out: Path) -> float:
    """When the first step was taken, as train.log tells."""
    (line,) = [line for line in (out / "train.log").read_text().splitlines() if "first step" in line]
    return datetime.strptime(line[:23], "%Y-%m-%d %H:%M:%S,%f").timestamp()


def f1_of(path: Path, corpus: Corpus) -> float:
    config, network = restore(checkpoint.load(path), str(path))
    batches = batches_of(config, corpus, torch.device("cpu"))
    task = config.task_for(corpus.labels)
    outputs = np.concatenate(list(evaluate(network, batches, "test", task)))
    return float(task.judge(outputs, batches.windows("test").targets).score())


def f1_told(path: Path, corpus: Corpus) -> str:
    test, task = SPLIT_NAMES.index("test"), TrialConfig().task_for(corpus.labels)
    told = {
        degrees: f1_of(path, corpus_changed(corpus, test, turned_condition(degrees), task)) for degrees in (0, 12, -12)
    }
    return ", ".join(f"{f1:.4f} at {degrees:+} degrees" for degrees, f1 in told.items())


def test_start(data: Path, tmp_path: Path) -> None:
    decoding, starts = [], []
    for turn in range(3):
        start = time.perf_counter()
        load(data, [(32, 32)], Classification)
        decoding.append(time.perf_counter() - start)
        out = tmp_path / str(turn)
        starts.append(-train(data, out, "training.epochs=1") + first_step(out))
    assert np.median(decoding) < np.median(starts)
    print(
        f"\nstart: {np.median(starts):.2f} s from the command to the first step, {np.median(decoding):.2f} s to decode"
    )


def test_time_to_the_originals_f1(data: Path, tmp_path: Path) -> None:
    original, corpus = OriginalTrainer(data), load(data, [(32, 32)], Classification)
    for seed in range(3):
        out = tmp_path / str(seed)
        began = train(data, out, f"training.seed={seed}")
        epoch_s = original.epoch()
        epochs = json.loads((out / "history.json").read_text())
        for path in sorted(out.with_name(f"{out.name}-every").glob("epoch_*.pt")):
            seconds, f1 = path.stat().st_mtime - began, f1_of(path, corpus)
            if f1 >= ORIGINAL_F1:
                break
        assert f1 >= ORIGINAL_F1, "no epoch reached it"
        ratio = ORIGINAL_EPOCHS * epoch_s / seconds
        print(
            f"\nseed {seed}: test F1 {f1:.4f} after {seconds:.1f} s, {path.stem} ({epochs[-1]['seconds']:.2f} s each); "
            f"the original's epoch {epoch_s:.1f} s, so {ORIGINAL_EPOCHS} of them take {ratio:.1f} times as long; "
            f"ours after {len(epochs)}: {f1_told(out / 'checkpoint.pt', corpus)}"
        )


def test_what_250_seconds_reach(data: Path, tmp_path: Path) -> None:
    corpus = load(data, [(32, 32)], Classification)
    train(data, tmp_path / "short", "training.epochs=4")
    epochs = json.loads((tmp_path / "short" / "history.json").read_text())
    count = int((LONG_SECONDS - 8) / np.median([epoch["seconds"] for epoch in epochs[1:]]))
    out = tmp_path / "long"
    began = train(data, out, f"training.epochs={count}")
    seconds = (out / "checkpoint.pt").stat().st_mtime - began
    assert f1_of(out / "checkpoint.pt", corpus) > ORIGINAL_F1
    print(f"\n{count} epochs in {seconds:.0f} s: test F1 {f1_told(out / 'checkpoint.pt', corpus)}")
