"""How much of training is waiting for data: the trainer's steps against the same steps on a batch that is there."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import torch

from whc.data.dataset import Corpus
from whc.training.augmentation import augment
from whc.trials.artifacts import batches_of, untrained
from whc.trials.config import TrialConfig

pytestmark = pytest.mark.bench

ROUNDS, STEPS, BATCH = 15, 10, 64


def corpus(rows: int) -> Corpus:
    rng = np.random.default_rng(0)
    ids = np.arange(rows, dtype=np.int64)
    images = {(32, 32): rng.integers(0, 256, (rows, 32, 32, 3), np.uint8)}
    return Corpus(images, ids % 2, ids * 0, ids, ids, ids * 0, ("no", "yes"), None, "noise")


def seconds(run: Callable[[], None]) -> float:
    start = time.perf_counter()
    for _ in range(STEPS):
        run()
    return time.perf_counter() - start


@pytest.mark.parametrize("backbone", ["baseline", "inverted_se", "convnext"])
def test_data_path(backbone: str) -> None:
    torch.set_num_threads(1)
    config = TrialConfig.model_validate({"model": {"backbone": backbone, "width": 32}})
    data = corpus(4096)
    network = untrained(config, data.labels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    batches = batches_of(config, data, torch.device("cpu"))
    rows = batches.windows("train")
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)

    def learn(images: torch.Tensor, class_ids: np.ndarray) -> None:
        loss = config.task_module.loss(network(images), torch.from_numpy(class_ids), 1.0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def trainer() -> None:
        chosen = rng.integers(0, len(rows.index), BATCH)
        images = augment(batches.batch(rows.index[chosen]), config.training.augmentation, generator)
        learn(images, rows.class_ids[chosen])

    resident, ids = batches.batch(rows.index[:BATCH]), rows.class_ids[:BATCH]
    seconds(trainer)  # warm-up
    pairs = [(seconds(trainer), seconds(lambda: learn(resident, ids))) for _ in range(ROUNDS)]
    ratio = float(np.median([alone / whole for whole, alone in pairs]))
    speed = BATCH * STEPS / float(np.median([whole for whole, _ in pairs]))
    print(f"\ndata path, {backbone} width 32, one thread: {ratio:.2f} of the step alone, {speed:.0f} images/s")
    assert 0 < ratio < 1.2
