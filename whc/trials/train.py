"""Training outside a study, in a folder of its own: `whc train`."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from whc import records
from whc.config import dump_yaml, load_yaml, validate
from whc.data.dataset import Corpus
from whc.data.preprocess import INTERPOLATION, Image
from whc.data.windows import windows
from whc.errors import ArtifactError, UsageError, problem
from whc.models.sequence import FramesConfig
from whc.tasks import Outputs, Task
from whc.training import checkpoint, diagnostics
from whc.training.checkpoint import Checkpoint
from whc.training.logbook import Logbook, logged
from whc.training.loop import Best, Epoch, Outcome, Trainer, TrainingConfig, TrainingError, evaluate
from whc.trials import artifacts, learning
from whc.trials.config import TrialConfig

KEPT_CHECKPOINTS = 10  # so many of the latest checkpoints, and so many of the best
CHECKPOINTS = "checkpoints"
RARE_SHARE = 0.1  # of the training rows; a network may learn never to answer a class with a smaller share

log = logging.getLogger(__name__)


class Watcher(Protocol):
    """Follows a training."""

    def started(self, epochs: int, of_epochs: int, images: int) -> None:
        """Called once with the epochs already trained, all epochs, and the images in an epoch."""

    def trained(self, images: int) -> None:
        """Called after each step."""

    def epoch_ended(self, epoch: Epoch) -> None:
        """Called after each epoch."""


@dataclass(frozen=True)
class Start:
    """What training begins with.

    `weights` are those of the checkpoint named `init`, None for random ones. `saved` is the checkpoint from which an
    interrupted run continues. `interpolation` is how images are resized.
    """

    config: TrialConfig
    interpolation: str = INTERPOLATION
    init: str = ""
    weights: dict[str, Tensor] | None = None
    saved: Checkpoint | None = None


@dataclass(frozen=True)
class TrainedRun:
    """What a training gave: the summary, as written to summary.json, and outputs of the test split by row number.

    `task` is that of the outputs, as it is shipped.
    """

    summary: dict[str, Any]
    task: Task
    test_outputs: dict[int, Outputs]


def begin(content: dict[str, Any], source: str, out: Path, init: Path | None) -> Start:
    """Begin a new run.

    Args:
        content: the configuration as written; what it omits of `task` and `model` is taken from `init`.
        source: name of the configuration in errors.
        out: the run's folder.
        init: checkpoint with the first weights, ours or one of the original projects'.

    Raises:
        UsageError: the configuration is wrong, or the folder holds a run already.
        ArtifactError: the checkpoint cannot be used.
    """
    if (out / "config.yaml").exists():
        rule = "must be a folder without a training run"
        raise UsageError(problem("--out", rule, str(out), "go on with --resume, or choose another folder"))
    if not init:
        return Start(validate(TrialConfig, content, source))
    saved = checkpoint.load(init, content)
    config = validate(TrialConfig, saved.config | {"training": content.get("training", {})}, source)
    return Start(config, saved.interpolation, str(init), saved.weights)


def resume(content: dict[str, Any], source: str, out: Path) -> Start:
    """Continue an interrupted run from its latest checkpoint.

    Args:
        content: the configuration, if it is given once more; empty to use the run's own.
        source: name of the configuration in errors.
        out: the run's folder.

    Raises:
        UsageError: the folder holds no run, or one of another configuration.
        ArtifactError: the latest checkpoint is damaged.
    """
    path = out / "config.yaml"
    if not path.is_file():
        raise UsageError(problem("--resume", "--out must hold an interrupted run", str(out), "leave out --resume"))
    config = validate(TrialConfig, load_yaml(path), str(path))
    if content:
        _refuse_changes(config.resolved(), validate(TrialConfig, content, source).resolved(), out)
    checkpoints = sorted((out / CHECKPOINTS).glob("epoch_*.pt"))
    if not checkpoints:
        rule = "must hold a checkpoint to go on from"
        raise UsageError(problem(str(out / CHECKPOINTS), rule, "none", f"delete {out} and train again"))
    try:
        saved = checkpoint.load(checkpoints[-1])
    except ArtifactError as error:
        raise ArtifactError(f"{error}, or delete this file to go on from the one before") from error
    return Start(config, saved.interpolation, saved=saved)


def _refuse_changes(begun: dict[str, Any], changed: dict[str, Any], out: Path) -> None:
    for section, values in begun.items():
        pairs = values.items() if isinstance(values, dict) else [("", values)]
        for key, value in pairs:
            new = changed[section].get(key) if isinstance(values, dict) else changed[section]
            if new != value:
                name = f"{section}.{key}".rstrip(".")
                rule = f"--resume: {name} must be {value!r} as in the run"
                raise UsageError(problem(str(out), rule, new, "leave the change out, or train into another folder"))


def train_and_save(start: Start, corpus: Corpus, out: Path, draw_every: int | None, watcher: Watcher) -> TrainedRun:
    """Train in a folder: config.yaml, checkpoint.pt (the best epoch), checkpoints/, the logs and diagnostics.

    Args:
        start: what to begin with.
        corpus: decoded data.
        out: folder of the run.
        draw_every: epochs between two pictures of train and val; 0 draws the last epoch alone, None draws nothing.
        watcher: follows the training.

    Returns:
        The summary, and outputs of the test split. In the summary, score, details, floor and the score with the
        parameters `tuned` on validation are of the test split, which is scored once; they are None without one.
        `remark` is not empty if nothing was learnt.

    Raises:
        TrainingError: the loss is not a number; names the last good checkpoint.
        UsageError: the weights or the interrupted run do not fit the data or the configuration.
    """
    out.mkdir(parents=True, exist_ok=True)
    trainer = _trainer(start, corpus, out)
    records.write_atomic(out / "config.yaml", dump_yaml(start.config.resolved()))
    with logged(out / "train.log"), diagnostics.artist() as artist:
        pictures = _Pictures(start.config, corpus, out, draw_every, artist)
        _train(trainer, start.config, corpus, out, pictures, watcher)
        return _finish(trainer, start, corpus, out, pictures)


def _trainer(start: Start, corpus: Corpus, out: Path) -> Trainer:
    if start.weights is not None and (wrong := artifacts.misfit(start.config, corpus.labels, start.weights)):
        next_step = "leave model out of the configuration, or start without --init"
        raise UsageError(problem(start.init, "weights must fit model and labels", wrong, next_step))
    trainer = learning.trainer(start.config, corpus)
    if start.weights is not None:
        trainer.start_from(start.weights)
    if start.saved is not None:
        if start.saved.data_fingerprint != corpus.fingerprint:
            rule = f"must be the data of the run ({start.saved.data_fingerprint})"
            raise UsageError(problem("--data", rule, corpus.fingerprint, f"give the file that {out} was trained on"))
        trainer.restore(start.saved.progress or {})
    return trainer


class _Pictures:
    """Orders the diagnostic pictures after the epochs that need them."""

    def __init__(
        self, config: TrialConfig, corpus: Corpus, out: Path, every: int | None, artist: diagnostics.Artist
    ) -> None:
        self._config, self._task, self._artist = config, config.task_for(corpus.labels), artist
        self._corpus = corpus
        self._folder, self._every = out / "diagnostics", every

    def epoch_ended(self, epoch: Epoch) -> None:
        if self._every is None:
            return
        is_last = epoch.epoch == self._config.training.epochs
        if is_last or (self._every and epoch.epoch % self._every == 0):
            name, title = f"epoch_{epoch.epoch:04}", f"epoch {epoch.epoch}"
            task = self._task.settled(epoch.val.outputs, epoch.val.targets)
            # Augmentation changed the pictures of train, so that none are shown.
            self._draw(f"train_{name}", f"train, {title}", task, epoch.train, None)
            self._draw(f"val_{name}", f"val, {title}", task, epoch.val, self._noteworthy(task, epoch.val, "val"))

    def tested(self, outcome: Outcome, epoch: int, task: Task) -> None:
        if self._every is not None:
            self._draw("test", f"test, best epoch {epoch}", task, outcome, self._noteworthy(task, outcome, "test"))

    def _noteworthy(self, task: Task, outcome: Outcome, split: str) -> Image:
        model, rows = self._config.model, task.noteworthy(outcome.outputs, outcome.targets)
        ends = windows(self._corpus, split, model.frames).index[rows, -1]
        pictures: Image = self._corpus.images[model.image_size][ends]
        return pictures

    def _draw(self, name: str, title: str, task: Task, outcome: Outcome, pictures: Image | None) -> None:
        score = float(task.judge(outcome.outputs, outcome.targets).score())
        path, title = self._folder / f"{name}.png", f"{title}: {task.metric.shown(score)}"
        self._artist.draw(path, title, task, outcome.outputs, outcome.targets, pictures)


def _train(
    trainer: Trainer, config: TrialConfig, corpus: Corpus, out: Path, pictures: _Pictures, watcher: Watcher
) -> None:
    folder = out / CHECKPOINTS
    folder.mkdir(exist_ok=True)
    epochs_done = len(trainer.curve)
    watcher.started(epochs_done, config.training.epochs, trainer.images)
    log.info("%s after %d of %d epochs, data %s", out, epochs_done, config.training.epochs, corpus.fingerprint)
    logbook = Logbook(out, epochs_done, config.task_kind.metric)
    try:
        for epoch in trainer.epochs(_logging_the_first(watcher.trained)):
            _save_epoch(trainer, config, corpus, folder)
            logbook.write(epoch)
            pictures.epoch_ended(epoch)
            watcher.epoch_ended(epoch)
    except TrainingError as error:
        checkpoints = sorted(folder.glob("epoch_*.pt"))
        where = f"the last good checkpoint is {checkpoints[-1]}" if checkpoints else "there is no good checkpoint yet"
        log.error("%s", error)
        raise TrainingError(f"{error}; {where}") from error
    finally:
        logbook.close()


def _logging_the_first(trained: Callable[[int], None]) -> Callable[[int], None]:
    steps = itertools.count()

    def trained_and_logged(images: int) -> None:
        if next(steps) == 0:
            log.info("first step taken")
        trained(images)

    return trained_and_logged


def _save_epoch(trainer: Trainer, config: TrialConfig, corpus: Corpus, folder: Path) -> None:
    """Save the epoch, and delete checkpoints that are neither among the latest nor among the best."""
    point = trainer.curve[-1]
    latest = Best(point.epoch, point.val_score, trainer.scored.state_dict())
    saved = replace(artifacts.to_checkpoint(config, corpus, latest), progress=trainer.state())
    checkpoint.save(saved, folder / f"epoch_{point.epoch:05}.pt")
    best = sorted(trainer.curve, key=lambda past: past.val_score, reverse=True)[:KEPT_CHECKPOINTS]
    kept_names = {f"epoch_{past.epoch:05}.pt" for past in (*trainer.curve[-KEPT_CHECKPOINTS:], *best)}
    for path in folder.glob("epoch_*.pt"):
        if path.name not in kept_names:
            path.unlink()


def _outcome(network: nn.Module, start: Start, corpus: Corpus, split: str) -> tuple[Outcome, NDArray[np.int64]]:
    """Outputs and targets of a split, and the row numbers that they belong to."""
    task = start.config.task_for(corpus.labels)
    batches = artifacts.batches_of(start.config, corpus, next(network.parameters()).device)
    outputs = np.concatenate(list(evaluate(network, batches, split, task)))
    split_windows = batches.windows(split)
    return Outcome(outputs, split_windows.targets), corpus.row_numbers[split_windows.index[:, -1]]


def _floor_remark(config: TrialConfig, corpus: Corpus, val_score: float, val_floor: float) -> str:
    """Message with likely reasons for a training that has learnt nothing; empty for any other."""
    if val_score > val_floor:
        return ""
    training, defaults, metric = config.training, TrainingConfig(), config.task_kind.metric
    names = corpus.labelled.strata_names
    counts = np.bincount(windows(corpus, "train", 1).strata, minlength=len(names))
    rarest = int(counts.argmin())
    reasons = []
    if training.epochs < defaults.epochs:
        short = f"{training.epochs} epoch is" if training.epochs == 1 else f"{training.epochs} epochs are"
        reasons.append(f"{short} few (--set training.epochs={defaults.epochs})")
    if training.lr > defaults.lr:
        reasons.append(f"a learning rate of {training.lr:g} is high (--set training.lr={defaults.lr:g})")
    if 0 < counts[rarest] < RARE_SHARE * counts.sum() and training.resampling == "none":
        share = f"{counts[rarest] / counts.sum():.1%} of the training rows are {names[rarest]!r}"
        reasons.append(f"only {share} (--set training.resampling=balanced)")
    sequence = config.model.sequence
    if isinstance(sequence.config, FramesConfig) and not sequence.config.differences:
        setting = f"model.sequence.{sequence.name}.differences=true"
        reasons.append(f"the scene can be learnt by heart, in place of the motion (--set {setting})")
    reasons.append("the labels do not go with the pictures (whc data info FILE)")
    side = "below" if metric.is_error else "above"
    number, floor = metric.number(val_score), metric.number(val_floor)
    rule = f"validation {metric.name} {number} is not {side} {floor}, what always the same answer scores"
    return f"nothing was learnt: {rule}; likely because {', or '.join(reasons)}"


def _finish(trainer: Trainer, start: Start, corpus: Corpus, out: Path, pictures: _Pictures) -> TrainedRun:
    """Save the best epoch, and score it once on the test split if there is one."""
    best, config = trainer.best, start.config
    assert best is not None  # noqa: S101 (there is at least one epoch)
    checkpoint.save(artifacts.to_checkpoint(config, corpus, best), out / "checkpoint.pt")
    network = trainer.scored
    network.load_state_dict(best.weights)
    val, _ = _outcome(network, start, corpus, "val")
    task = config.task_for(corpus.labels).settled(val.outputs, val.targets)
    test, test_rows = _outcome(network, start, corpus, "test") if corpus.has_test else (None, ())
    if test:
        pictures.tested(test, best.epoch, task)
    else:
        log.info(task.metric.untested)
    tuned = task.tuned(val.outputs, val.targets)
    val_floor = task.floor(val.targets)
    summary = {
        "task": config.task.name,
        "metric": task.metric.model_dump(mode="json"),
        "test_split": corpus.has_test,
        **_test_scores(test, task, tuned),
        "tuned": tuned and tuned.config.model_dump(mode="json"),
        "val_score": best.val_score,
        "val_floor": val_floor,
        "epoch": best.epoch,
        "remark": _floor_remark(config, corpus, best.val_score, val_floor),
        "params": sum(parameter.numel() for parameter in network.parameters()),
        "init": start.init,
        "unreadable": list(corpus.unreadable),
        "data_fingerprint": corpus.fingerprint,
        "checkpoint": str(out / "checkpoint.pt"),
        "curve": [point.model_dump() for point in trainer.curve],
    }
    records.write_atomic(out / "summary.json", json.dumps(summary, indent=1) + "\n")
    return TrainedRun(summary, task, dict(zip(map(int, test_rows), test.outputs, strict=True)) if test else {})


def _test_scores(test: Outcome | None, task: Task, tuned: Task | None) -> dict[str, Any]:
    """Fields of the summary about the test split; each is None if there is no test split."""
    if test is None:
        return dict.fromkeys(("score", "details", "score_when_tuned", "floor"))
    when_tuned = None if tuned is None else float(tuned.judge(test.outputs, test.targets).score())
    return {
        "score": float(task.judge(test.outputs, test.targets).score()),
        "details": task.details(test.outputs, test.targets),
        "score_when_tuned": when_tuned,
        "floor": task.floor(test.targets),
    }
