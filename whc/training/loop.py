"""The training loop, one epoch at a time: training, scoring, the best weights, and resuming after a stop."""

from __future__ import annotations

import ctypes
import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from whc.config import Settings
from whc.data.resampling import Resampling, epoch_order, stratum_weights
from whc.data.windows import unlabelled_windows
from whc.errors import WhcError, problem
from whc.records import CurvePoint
from whc.tasks import Loss, Task
from whc.tasks.parts import Parts
from whc.training.augmentation import Augmentation
from whc.training.average import Average
from whc.training.batches import Batches
from whc.training.pictures import Pictures, Shown, both
from whc.training.schedule import Schedule, ScheduleName
from whc.training.teacher import Teacher

EVALUATION_BATCH = 256
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_AMP_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def _absolute(path: str | None) -> str | None:
    """A path that means the same file for a worker in another folder."""
    return path and str(Path(path).absolute())


def _is_none(value: object) -> bool:
    return value is None


class TrainingConfig(Settings):
    """How a network is trained: AdamW under a schedule.

    `lr` is the schedule's peak, reached by `one_cycle` after the fraction `warmup` of all steps. `label_smoothing` is
    the share of a target spread evenly over all answers, where a task supports it. `ema` is the decay of an average of
    the weights, which is scored and saved in their place (0: none). `precision` is that of the arithmetic in training;
    scores are always computed in fp32.

    `teacher` is a file whose network teaches this one: a checkpoint of the same task and labels, whose outputs are
    learnt, or the weights of a plain ViT, whose features are; `teacher_weight` is the weight of that part of the loss,
    `teacher_heads` are the ViT's attention heads, which such a file does not hold (None: one for 64 channels).
    """

    epochs: int = Field(20, ge=1, le=10_000)
    batch_size: int = Field(64, ge=2, le=4096)
    lr: float = Field(5e-3, gt=0, le=1)
    weight_decay: float = Field(0.01, ge=0, le=1)
    schedule: ScheduleName = "one_cycle"
    warmup: float = Field(0.25, gt=0, lt=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    ema: float = Field(0.98, ge=0, lt=1)
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    resampling: Resampling = "none"
    augmentation: Augmentation = Augmentation()
    seed: int = Field(0, ge=0, lt=2**31)
    # Left out of what is written while there is none, so that configurations of earlier versions stay the same.
    teacher: Annotated[str | None, AfterValidator(_absolute)] = Field(None, min_length=1, exclude_if=_is_none)
    teacher_weight: float = Field(1.0, gt=0, le=1000, exclude_if=lambda weight: weight == 1)
    teacher_heads: int | None = Field(None, ge=1, le=64, exclude_if=_is_none)


class TrainingError(WhcError):
    """Training cannot go on."""


@dataclass(frozen=True)
class Outcome:
    """Outputs of a network for M windows (M, ...), and their targets (M, ...), both in the task's form."""

    outputs: NDArray[np.float32]
    targets: NDArray[Any]


@dataclass(frozen=True)
class Epoch:
    """One epoch, counted from 1.

    `train` holds the outputs during training, for augmented images; `lr` is the rate of the last step;
    `images_per_second` counts training alone, `seconds` the whole epoch.
    """

    epoch: int
    train_loss: float
    train_score: float
    val_loss: float
    val_score: float
    lr: float
    images_per_second: float
    seconds: float
    train: Outcome
    val: Outcome

    @property
    def point(self) -> CurvePoint:
        """The part that a trial's record stores."""
        return CurvePoint(epoch=self.epoch, val_score=self.val_score, seconds=self.seconds)

    @property
    def scalars(self) -> dict[str, float]:
        """Its numbers by name."""
        return {name: value for name, value in vars(self).items() if not isinstance(value, Outcome)}


@dataclass(frozen=True)
class Best:
    """The weights of the epoch with the highest validation score; of equal epochs, the earliest.

    `task_parameters` are those of the task as it is shipped with these weights; None in files of earlier versions.
    """

    epoch: int
    val_score: float
    weights: dict[str, Tensor]
    task_parameters: dict[str, Any] | None = None


def _raw_outputs(network: nn.Module, batches: Batches, split: str) -> Iterator[Tensor]:
    network.eval()
    index = batches.windows(split).index
    for start in range(0, len(index), EVALUATION_BATCH):
        with torch.inference_mode():
            raw: Tensor = network(batches.batch(index[start : start + EVALUATION_BATCH]))
        yield raw


def evaluate(network: nn.Module, batches: Batches, split: str, task: Task) -> Iterator[NDArray[np.float32]]:
    """Batches of decoded outputs over a split, in the order of its windows."""
    decode = task.decoder(network)
    for raw in _raw_outputs(network, batches, split):
        with torch.inference_mode():
            outputs: NDArray[np.float32] = decode(raw).cpu().numpy()
        yield outputs


def _channels_last(network: nn.Module) -> None:
    """Put convolution weights into the memory layout of the fast kernels."""
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for weight in network.parameters():
        if weight.dim() in formats:
            weight.data = weight.data.contiguous(memory_format=formats[weight.dim()])


def _check_precision(precision: str, device: torch.device) -> None:
    """Refuse a precision that this device computes slowly or not at all."""
    if precision == "fp16" and device.type != "cuda":
        raise TrainingError(problem("training.precision", "fp16 needs a GPU", device.type, "use fp32 or bf16"))
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if precision == "bf16" and not fast:
        raise TrainingError(problem("training.precision", "bf16 must be supported here", device.type, "use fp32"))


def _keep_memory() -> None:
    """Let glibc keep freed memory for the next step: page faults took a fifth of a small network's step."""
    if sys.platform == "linux":
        with suppress(AttributeError, OSError):  # another C library
            mallopt = ctypes.CDLL(None).mallopt
            mallopt(M_MMAP_THRESHOLD, 1 << 30)
            mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


class Trainer:
    """Trains one network: `for epoch in trainer.epochs(): ...`, with `state` after any epoch.

    `images` counts the windows of one epoch after resampling; `curve` and `best` describe the epochs so far.
    The random numbers of an epoch come from the seed and the epoch's number alone, so a process that was stopped and
    resumed trains the same epochs.

    Args:
        network: on any device; trained in place on that of `batches`.
        batches: source of the batches.
        task: what is learnt.
        config: how it is learnt.
        teacher: a trained network to learn from too; None: from labels alone.

    Raises:
        TrainingError: the device does not support the precision.
        DataError: no window is long enough.
    """

    def __init__(
        self,
        network: nn.Module,
        batches: Batches,
        task: Task,
        config: TrainingConfig,
        teacher: Teacher | None = None,
    ) -> None:
        _check_precision(config.precision, batches.device)
        _keep_memory()
        self.network = network.to(batches.device)
        _channels_last(network)
        self.curve: list[CurvePoint] = []
        self.best: Best | None = None
        self._batches, self._task, self._config = batches, task, config
        self._rows, self._val = batches.windows("train"), batches.windows("val")
        self._loss = self._objective()
        self.images = len(epoch_order(self._rows.strata, config.resampling, np.random.default_rng(0)))
        # Rows are spread evenly over the steps: a batch of one row has no variance for BatchNorm.
        self._steps = max(1, min(math.ceil(self.images / config.batch_size), self.images // 2))
        self._teacher, learners = teacher, [network]
        self._shown = Pictures(batches, teacher.batches if teacher else None, task, config.augmentation)
        self._unlabelled = unlabelled_windows(batches.corpus, batches.frames) if teacher else None
        if teacher:
            learners.append(teacher.adapter.to(batches.device))
        self._optimizer = torch.optim.AdamW(
            chain.from_iterable(learner.parameters() for learner in learners),
            lr=config.lr,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self._schedule = Schedule(
            self._optimizer, config.schedule, config.lr, config.warmup, self._steps * config.epochs
        )
        self._scaler = torch.amp.GradScaler(batches.device.type, enabled=config.precision == "fp16")
        self._average = Average(network, config.ema) if config.ema else None
        if teacher:
            teacher.follow(network)

    def _objective(self) -> Loss:
        count = len(self._batches.corpus.labelled.strata_names)
        weights = torch.from_numpy(stratum_weights(self._rows.strata, self._config.resampling, count))
        weights = weights.to(self._batches.device)
        return self._task.objective(self.network, self._rows.targets, weights, self._config.label_smoothing)

    @property
    def scored(self) -> nn.Module:
        """The network that is scored and saved: the average of the weights where there is one."""
        return self._average.network if self._average else self.network

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Begin with these weights, not random ones; raises RuntimeError when they are of another network."""
        self.network.load_state_dict(weights)
        self.scored.load_state_dict(weights)

    def epochs(self, on_images: Callable[[int], None] = lambda count: None) -> Iterator[Epoch]:
        """Train epoch by epoch, from the current state to the configured number of epochs.

        Args:
            on_images: called after each step with its number of windows.

        Raises:
            TrainingError: the loss is not a number; `curve` and `best` still describe the epochs before.
        """
        while len(self.curve) < self._config.epochs:
            epoch = self._epoch(len(self.curve) + 1, on_images)
            if not math.isfinite(epoch.val_score):
                rule = "must have rows with something to find, as nothing else can be scored"
                raise TrainingError(f"split 'val' {rule}, got none; split the data again")
            self.curve.append(epoch.point)
            if self.best is None or epoch.val_score > self.best.val_score:
                weights = {name: tensor.detach().cpu().clone() for name, tensor in self.scored.state_dict().items()}
                settled = self._task.settled(epoch.val.outputs, epoch.val.targets)
                self.best = Best(epoch.epoch, epoch.val_score, weights, settled.config.model_dump(mode="json"))
            yield epoch

    def _epoch(self, number: int, on_images: Callable[[int], None]) -> Epoch:
        start = time.perf_counter()
        seeds = np.random.SeedSequence([self._config.seed, number]).generate_state(4).tolist()
        order_seed, image_seed, network_seed, unlabelled_seed = seeds
        order = epoch_order(self._rows.strata, self._config.resampling, np.random.default_rng(order_seed))
        torch.manual_seed(network_seed)  # for dropout
        self.network.train()
        losses, outputs, targets = [], [], []
        for images, parts, seen in self._pictures(order, image_seed, unlabelled_seed):
            targets_here = self._changed_targets(order, parts)
            loss, raw = self._step(images, targets_here, seen)
            losses.append(loss)
            outputs.append(raw)
            targets.append(targets_here)
            on_images(len(parts))
        train_loss = float(torch.stack(losses).mean())
        if not math.isfinite(train_loss):
            raise TrainingError(f"epoch {number}: loss must be a number, got {train_loss}; lower training.lr")
        trained = time.perf_counter()
        lr = float(self._optimizer.param_groups[0]["lr"])
        decoded = self._decoded(torch.cat(outputs))
        train = Outcome(decoded, self._task.joined(targets).numpy())
        val_loss, val = self._validate()
        self._schedule.epoch_ended(val_loss)
        return Epoch(
            epoch=number,
            train_loss=train_loss,
            train_score=self._score(train),
            val_loss=val_loss,
            val_score=self._score(val),
            lr=lr,
            images_per_second=len(order) / (trained - start),
            seconds=time.perf_counter() - start,
            train=train,
            val=val,
        )

    def _pictures(self, order: NDArray[np.int64], seed: int, unlabelled_seed: int = 0) -> Iterator[Shown]:
        """Batches in order, each with a share of the pictures without labels where there are some."""
        labelled = self._shown.epoch(self._rows, order, self._steps, seed)
        if self._unlabelled is None:
            return labelled
        # At most as many as have labels, which make the epoch; and one or more for each batch.
        rows = np.random.default_rng(unlabelled_seed).permutation(len(self._unlabelled.index))
        count = min(max(len(rows), self._steps), len(order))
        more = self._shown.epoch(self._unlabelled, np.resize(rows, count), self._steps, unlabelled_seed)
        return both(labelled, more)

    def _changed_targets(self, order: NDArray[np.int64], parts: Parts) -> Tensor:
        """Targets that follow the pixels; `parts.rows` are places in `order`."""
        targets = torch.from_numpy(self._rows.targets[order[parts.rows]])
        if len(targets) == 1:
            return self._task.moved(targets[0], torch.from_numpy(parts.moves[0]), self._batches.size)
        return self._task.composed(targets, parts, self._batches.size)

    def _step(self, images: Tensor, targets: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """One step of the optimiser; returns the loss, and the raw outputs for the pictures with targets, the first."""
        config, device = self._config, self._batches.device
        targets = targets.to(device)
        with torch.autocast(device.type, _AMP_TYPES.get(config.precision), enabled=config.precision in _AMP_TYPES):
            raw = self.network(images)
        raw = raw.float()
        answers = raw[: len(targets)]
        loss = self._loss(answers, targets)
        if self._teacher:
            loss = loss + config.teacher_weight * self._teacher.loss(raw, seen)
        self._optimizer.zero_grad()
        self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        self._scaler.step(self._optimizer)
        self._scaler.update()
        self._schedule.step_ended()
        if self._average:
            self._average.update()
        return loss.detach(), answers.detach()

    def _validate(self) -> tuple[float, Outcome]:
        raw = torch.cat(list(_raw_outputs(self.scored, self._batches, "val")))
        targets = torch.from_numpy(self._val.targets).to(raw.device)
        loss = float(self._loss(raw, targets))
        return loss, Outcome(self._decoded(raw), self._val.targets)

    def _decoded(self, raw: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            outputs: NDArray[np.float32] = self._task.decoder(self.scored)(raw).float().cpu().numpy()
        return outputs

    def _score(self, outcome: Outcome) -> float:
        return float(self._task.judge(outcome.outputs, outcome.targets).score())

    def state(self) -> dict[str, Any]:
        """The complete state of the training: tensors, numbers, lists and mappings alone."""
        return {
            "network": self.network.state_dict(),
            "average": self._average.state_dict() if self._average else None,
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "scaler": self._scaler.state_dict(),
            "curve": [point.model_dump() for point in self.curve],
            "best": asdict(self.best) if self.best else None,
            **({"teacher": self._teacher.adapter.state_dict()} if self._teacher else {}),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a state of the same configuration and data."""
        self.network.load_state_dict(state["network"])
        if self._average:
            self._average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._schedule.load_state_dict(state["schedule"])
        self._scaler.load_state_dict(state["scaler"])
        if self._teacher:
            self._teacher.adapter.load_state_dict(state["teacher"])
        self.curve = [CurvePoint(**point) for point in state["curve"]]
        self.best = Best(**state["best"]) if state["best"] else None
