"""How much of training is waiting for data: the trainer's steps against the same steps on a batch that is there.

The trainer is the real one; between its steps, block by block, as many steps of a twin run on one resident batch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from whc.config import load_yaml, shipped
from whc.data.dataset import Corpus, scaled_size
from whc.data.row_labels import RowLabels
from whc.training import augmentation
from whc.training.augmentation import augment
from whc.training.batches import Batches
from whc.training.loop import Trainer
from whc.trials.artifacts import batches_of, untrained
from whc.trials.config import TrialConfig

pytestmark = pytest.mark.bench

ROUNDS = {"baseline": 40, "inverted_se": 8, "convnext": 30}  # some seconds each
DETECTORS: dict[str, dict[str, Any]] = {  # of the ladder of search_spaces/person.yaml
    name: {"backbone": "baseline", "head": {"aligned": {"upscale": upscale}}, "width": 16, "dropout": 0, **shape}
    for name, upscale, shape in (
        ("P", 1, {"depth": 7, "image_size": 32}),
        ("M", 2, {"depth": 8, "image_size": 64}),
    )
}
DETECTOR_ROUNDS = {"P": 40, "M": 8}
PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


def corpus(rows: int) -> Corpus:
    """Noise to train on, and a few rows to validate."""
    rng = np.random.default_rng(0)
    ids = np.arange(rows + 64, dtype=np.int64)
    images = {(32, 32): rng.integers(0, 256, (len(ids), 32, 32, 3), np.uint8)}
    splits = (ids >= rows).astype(np.int64)
    labelled = RowLabels(ids % 2, ("no", "yes"), ids % 2, ("no", "yes"))
    return Corpus(images, labelled, True, splits, ids, ids, ids * 0, ids, None, "noise")


def box_corpus(rows: int, size: tuple[int, int]) -> Corpus:
    """As `corpus`, with up to four boxes a picture, and training pictures of 1.5 times the size."""
    plain, rng = corpus(rows), np.random.default_rng(0)
    ids = plain.row_numbers
    boxes = rng.uniform(0.2, 0.6, (len(ids), 4, 5)).astype(np.float32)
    boxes[..., 4] = 0
    boxes[np.arange(4) > rng.integers(0, 4, (len(ids), 1))] = -1
    distinct = rng.integers(0, 256, (256, *scaled_size(size, 1.5), 3), np.uint8)  # noise is noise
    larger = {size: distinct[ids % len(distinct)]}
    images = {size: np.ascontiguousarray(larger[size][:, : size[0], : size[1]])}
    labelled = RowLabels(boxes, ("person",), ids * 0, ("all",))
    return replace(plain, images=images, larger=larger, labelled=labelled, needs_every_stratum=False)


def box_configuration(name: str) -> TrialConfig:
    """A detector in the ladder of search_spaces/person.yaml, with the strongest augmentation that it draws."""
    space = load_yaml(shipped("search_spaces", "person"))["space"]
    strengths = space["training"]["augmentation"].items()
    augmentation = {key: max(value) if isinstance(value, list) else value for key, value in strengths}
    training = {"epochs": 1, "batch_size": 64, "augmentation": augmentation}
    return TrialConfig.model_validate({"task": "detection", "model": DETECTORS[name], "training": training})


def configuration(backbone: str, batch: int, precision: str) -> TrialConfig:
    training = {"epochs": 1, "batch_size": batch, "precision": precision}
    return TrialConfig.model_validate({"model": {"backbone": backbone, "width": 32}, "training": training})


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


class Twin:
    """Forward, backward and step alone: the network again, and one batch that is there.

    With a `trainer` the batch is an augmented one of its own: mosaics have more boxes, and more boxes cost more.
    """

    def __init__(
        self, config: TrialConfig, network: nn.Module, batches: Batches, trainer: Trainer | None = None
    ) -> None:
        rows = batches.windows("train")
        chosen = slice(config.training.batch_size)
        self.images = batches.batch(rows.index[chosen])
        self.targets = torch.from_numpy(rows.targets[chosen]).to(batches.device)
        if trainer:
            order = np.arange(config.training.batch_size)
            change = trainer._change(batches, order, 0)
            self.images, parts = batches.changed_batch(rows.index[chosen], change)
            self.targets = trainer._changed_targets(order, parts).to(batches.device)
        self.network = deepcopy(network).train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), fused=True)
        task = config.task_for(batches.corpus.labels)
        self.loss = task.objective(network, batches.windows("train").targets, torch.ones(2, device=batches.device), 0.0)
        precision = config.training.precision
        self.arithmetic = partial(
            torch.autocast, batches.device.type, PRECISIONS[precision], enabled=precision != "fp32"
        )

    def step(self, images: Tensor | None = None) -> None:
        with self.arithmetic():
            logits = self.network(self.images if images is None else images)
        loss = self.loss(logits.float(), self.targets)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def compare(
    config: TrialConfig, device: torch.device, rounds: int, steps: int, make: Callable[[int], Corpus] = corpus
) -> tuple[float, float]:
    """Median over rounds of the twin's seconds over the trainer's, and the trainer's images a second."""
    batch = config.training.batch_size
    data = make((rounds + 2) * steps * batch)
    batches = batches_of(config, data, device)
    trainer = Trainer(untrained(config, data.labels), batches, config.task_for(data.labels), config.training)
    twin = Twin(config, trainer.network, batches, trainer if config.training.augmentation.composing else None)
    pairs: list[tuple[float, float]] = []
    done, start = 0, clock(device)

    def after_step(count: int) -> None:
        nonlocal done, start
        done += 1
        if done % steps:
            return
        trained = clock(device)
        for _ in range(steps):
            twin.step()
        end = clock(device)
        pairs.append((trained - start, end - trained))
        start = end

    list(trainer.epochs(after_step))
    whole, alone = np.array(pairs[2:]).T  # the first are warm-up
    return float(np.median(alone / whole)), float(batch * steps / np.median(whole))


class Stopwatch:
    """Milliseconds spent in functions."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    def around(self, function: Callable[..., Any], *names: str) -> Callable[..., Any]:
        """The function, timed; its calls go by these names in turn."""
        turn = cycle(names)

        def run(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.spent.setdefault(next(turn), []).append(1000 * (time.perf_counter() - start))
            return result

        return run

    def __getitem__(self, name: str) -> float:
        return float(np.median(self.spent[name]))


def breakdown(config: TrialConfig, steps: int, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Milliseconds of each part of one step of training, on the CPU."""
    size = config.training.batch_size
    data = corpus(steps * size)
    batches = batches_of(config, data, torch.device("cpu"))
    network = untrained(config, data.labels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows, generator = batches.windows("train"), torch.Generator().manual_seed(0)
    watch, twin = Stopwatch(), Twin(config, network, batches)
    # What `augment` does with some of the samples, in the order in which it does it.
    monkeypatch.setattr(augmentation, "_replace", watch.around(augmentation._replace, "flip", "affine", "clahe"))
    monkeypatch.setattr(augmentation, "light", watch.around(augmentation.light, "photometric"))
    monkeypatch.setattr(Batches, "_gather", watch.around(Batches._gather, "gather"))
    settings = config.training.augmentation
    change = watch.around(lambda images, *_: augment(images, settings, generator), "augment")
    batch, step = watch.around(batches.changed_batch, "batch"), watch.around(twin.step, "step")
    for chosen in np.split(np.random.default_rng(0).permutation(steps * size), steps):
        step(batch(rows.index[chosen], change)[0])
    steps_of_augment = "flip", "affine", "photometric", "clahe"
    return {
        "gather": watch["gather"],
        "convert": watch["batch"] - watch["augment"] - watch["gather"],
        "draw": watch["augment"] - sum(watch[name] for name in steps_of_augment),
        **{name: watch[name] for name in (*steps_of_augment, "step")},
    }


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize("backbone", ROUNDS)
def test_data_path(backbone: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration(backbone, 64, "fp32")
    ratio, speed = compare(config, torch.device("cpu"), ROUNDS[backbone], steps=5)
    print(f"\ndata path, {backbone} width 32, {threads} threads: {ratio:.2f} of the step alone, {speed:.0f} images/s")
    parts = breakdown(config, 2 * ROUNDS[backbone], monkeypatch)
    print("  ms a batch: " + ", ".join(f"{name} {ms:.2f}" for name, ms in parts.items()))
    assert 0.7 < ratio < 1.3


@pytest.mark.parametrize("threads", [1, 2], indirect=True)
@pytest.mark.parametrize("name", DETECTORS)
def test_data_path_of_boxes(name: str, threads: int) -> None:
    config = box_configuration(name)
    make = partial(box_corpus, size=config.model.image_size)
    ratio, speed = compare(config, torch.device("cpu"), DETECTOR_ROUNDS[name], steps=5, make=make)
    ms = 1000 * config.training.batch_size / speed
    print(f"\ndata path, detector {name}, {threads} threads: {ratio:.2f} of the step alone, {ms:.1f} ms a step")
    # A trial of a search has one thread. P's step is short, and a second thread finds little to do in a data path.
    assert ratio > (0.85 if (name, threads) == ("M", 1) else 0.5)


def pose_corpus(rows: int) -> Corpus:
    """As `corpus`, at 64x64 pixels, with yaw, pitch and roll."""
    plain, rng = corpus(rows), np.random.default_rng(0)
    degrees = rng.uniform(-60, 60, (len(plain.row_numbers), 3)).astype(np.float32)
    images = {(64, 64): rng.integers(0, 256, (256, 64, 64, 3), np.uint8)[plain.row_numbers % 256]}
    labelled = RowLabels(degrees, (), plain.row_numbers * 0, ("all",))
    return replace(plain, images=images, labelled=labelled, needs_every_stratum=False)


def gpu_case(name: str, batch: int) -> tuple[TrialConfig, Callable[[int], Corpus]]:
    """A configuration and its data: a backbone's classifier, a detector, or a head-pose network."""
    changes = {"batch_size": batch, "precision": "bf16"}
    if name in ROUNDS:
        return configuration(name, batch, "bf16"), corpus
    if name in DETECTORS:
        config = box_configuration(name)
        make: Callable[[int], Corpus] = partial(box_corpus, size=config.model.image_size)
    else:
        model = {"backbone": "plain", "head": "linear", "width": 8, "depth": 8, "image_size": 64, "dropout": 0}
        augmentation = {"flip": 0.5, "affine": 1, "scale": 0.5, "shift": 0.07, "rotation_degrees": 20}
        training = {"epochs": 1, "augmentation": augmentation}
        config = TrialConfig.model_validate({"task": "head_pose", "model": model, "training": training})
        make = pose_corpus
    return config.model_copy(update={"training": config.training.model_copy(update=changes)}), make


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("batch", [256, 1024])
@pytest.mark.parametrize("name", [*ROUNDS, *DETECTORS, "head pose"])
def test_data_path_on_a_gpu(name: str, batch: int) -> None:
    config, make = gpu_case(name, batch)
    ratio, speed = compare(config, torch.device("cuda"), rounds=20 if name in ROUNDS else 8, steps=10, make=make)
    print(f"\ndata path, {name}, GPU, batch {batch}: {ratio:.2f} of the step alone, {speed:.0f} images/s")
    assert ratio < 1.3
    assert ratio > (0.7 if name in ROUNDS else 0.2)
