"""The training loop: AdamW under a one-cycle schedule, best validation weights kept."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR

from whc.config import Settings
from whc.data.resampling import Resampling, epoch_order, positive_weight
from whc.errors import WhcError
from whc.records import CurvePoint
from whc.training.augmentation import Augmentation, augment
from whc.training.batches import Batches

EVALUATION_BATCH = 256


class TrainingConfig(Settings):
    """How a network is trained.

    `lr` is the peak of the one-cycle schedule (Smith and Topin 2018), reached after the fraction `warmup` of all steps.
    """

    epochs: int = Field(20, ge=1, le=10_000)
    batch_size: int = Field(64, ge=2, le=4096)
    lr: float = Field(5e-3, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=1)
    warmup: float = Field(0.25, gt=0, lt=1)
    resampling: Resampling = "none"
    augmentation: Augmentation = Augmentation()
    seed: int = Field(0, ge=0)


class TrainingError(WhcError):
    """Training cannot go on."""


@dataclass(frozen=True)
class Fit:
    """The outcome of training: the curve, and the weights of its best epoch (by validation F1)."""

    curve: list[CurvePoint]
    weights: dict[str, Tensor]
    epoch: int
    val_f1: float


def evaluate(network: nn.Module, batches: Batches, split: str, task: ModuleType) -> Iterator[NDArray[np.float32]]:
    """Batches of output probabilities over a split, in the order of its windows."""
    network.eval()
    index = batches.windows(split).index
    for start in range(0, len(index), EVALUATION_BATCH):
        with torch.inference_mode():
            logits = network(batches.batch(index[start : start + EVALUATION_BATCH]))
            probabilities: NDArray[np.float32] = task.probabilities(logits).float().cpu().numpy()
        yield probabilities


def score(network: nn.Module, batches: Batches, split: str, task: ModuleType, threshold: float) -> float:
    """F1 of a network over a split."""
    probabilities = np.concatenate(list(evaluate(network, batches, split, task)))
    return float(task.score(probabilities, batches.windows(split).class_ids, threshold))


def _channels_last(network: nn.Module) -> None:
    """Lay convolution weights out as the fast kernels want them."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in network.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])


def _schedule(optimizer: Optimizer, config: TrainingConfig, steps: int) -> LRScheduler:
    """One cycle over all steps."""
    # OneCycleLR divides by zero when the warm-up is exactly its first step.
    warmup = config.warmup / 2 if config.warmup * steps == 1 else config.warmup
    return OneCycleLR(optimizer, config.lr, total_steps=steps, pct_start=warmup)


def fit(
    network: nn.Module,
    batches: Batches,
    task: ModuleType,
    threshold: float,
    config: TrainingConfig,
    on_epoch: Callable[[CurvePoint], None],
) -> Fit:
    """Train a network on the `train` split, scored on `val` after every epoch.

    Args:
        network: untrained, on the device of `batches`; left with the last epoch's weights.
        batches: where batches come from.
        task: the task plug-in.
        threshold: least probability called positive.
        config: how.
        on_epoch: told each point of the curve; may raise to stop.

    Raises:
        TrainingError: the loss is not a number.
        DataError: no window is long enough.
    """
    rows = batches.windows("train")
    rng = np.random.default_rng(config.seed)
    generator = torch.Generator(batches.device).manual_seed(config.seed)
    _channels_last(network.to(batches.device))
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)
    epoch_rows = len(epoch_order(rows.class_ids, config.resampling, np.random.default_rng(0)))
    # No batch of one row, which has no variance for BatchNorm: rows are spread evenly over the steps.
    steps = max(1, min(math.ceil(epoch_rows / config.batch_size), epoch_rows // 2))
    schedule = _schedule(optimizer, config, steps * config.epochs)
    weight = positive_weight(rows.class_ids, config.resampling)

    def step(chosen: NDArray[np.int64]) -> Tensor:
        images = batches.batch(rows.index[chosen], partial(augment, settings=config.augmentation, generator=generator))
        targets = torch.from_numpy(rows.class_ids[chosen]).to(batches.device)
        loss: Tensor = task.loss(network(images), targets, weight)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        return loss.detach()

    curve: list[CurvePoint] = []
    best: Fit | None = None
    for epoch in range(1, config.epochs + 1):
        start = time.perf_counter()
        network.train()
        order = epoch_order(rows.class_ids, config.resampling, rng)
        losses = [step(chosen) for chosen in np.array_split(order, steps)]
        if not torch.stack(losses).isfinite().all():
            raise TrainingError(f"epoch {epoch}: loss must be a number, got NaN or infinity; lower training.lr")
        val_f1 = score(network, batches, "val", task, threshold)
        curve.append(CurvePoint(epoch=epoch, val_f1=val_f1, seconds=time.perf_counter() - start))
        if best is None or val_f1 > best.val_f1:
            weights = {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
            best = Fit(curve, weights, epoch, val_f1)
        on_epoch(curve[-1])
    assert best is not None  # noqa: S101 (epochs >= 1)
    return best
