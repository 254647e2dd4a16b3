"""What a trial trains with: its trainer, and its teacher, read from a file and given pictures of its own size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import torch
from torch import nn

from whc.data.dataset import Corpus, Size
from whc.errors import ArtifactError, problem
from whc.models import vit
from whc.models.backbones import Backbone
from whc.models.vit import Vit
from whc.plugins import Choice
from whc.tasks import Task
from whc.training import checkpoint
from whc.training.batches import Batches
from whc.training.loop import Trainer, TrainingConfig
from whc.training.memory import inference_bytes
from whc.training.teacher import FeatureTeacher, OutputTeacher, Teacher
from whc.trials.artifacts import batches_of, check_labels, device, restore, untrained
from whc.trials.config import TrialConfig


def trainer(config: TrialConfig, corpus: Corpus) -> Trainer:
    """A trainer of the untrained network, on the GPU if there is one.

    Raises:
        ArtifactError: as `open_teacher`.
        UsageError: the labels of the corpus do not fit the task.
    """
    network, task = untrained(config, corpus.labels), config.task_for(corpus.labels)
    check_labels(task, config.task.name)
    batches = batches_of(config, corpus, device())
    with torch.random.fork_rng(devices=[]):
        teacher = open_teacher(config, network, task, batches)
    return Trainer(network, batches, task, config.training, teacher)


def image_sizes(config: TrialConfig) -> set[Size]:
    """Sizes of the pictures that a training needs: the network's, and its teacher's.

    Raises:
        ArtifactError: the teacher's file cannot be read.
    """
    return {config.model.image_size, *teacher_sizes(config.training)}


def teacher_sizes(training: TrainingConfig) -> set[Size]:
    """Size of a teacher's pictures; nothing without a teacher, or if it sees those of the network in training.

    Raises:
        ArtifactError: as `image_sizes`.
    """
    teacher = _read(training) if training.teacher else None
    return {teacher.config.model.image_size} if isinstance(teacher, _Restored) else set()


def teacher_bytes(config: TrialConfig) -> int:
    """Peak memory of a training's teacher beside it, estimated from its shapes; without the pictures, 0 without one.

    Raises:
        ArtifactError: as `image_sizes`.
    """
    if config.training.teacher is None:
        return 0
    teacher = _read(config.training)
    network, seen = (teacher, config) if isinstance(teacher, Vit) else (teacher.network, teacher.config)
    return inference_bytes(network, (config.training.batch_size, *seen.model.input_shape))


def check_teacher(training: TrainingConfig, task: Choice, labels: Sequence[str]) -> None:
    """Refuse a teacher, before any trial begins, that no network of the task and these labels can learn from.

    Raises:
        ArtifactError: as `open_teacher`.
    """
    teacher = _read(training)
    if isinstance(teacher, _Restored):
        _check_task(training, task, labels, teacher)


def suits(teacher: TrialConfig, student: TrialConfig) -> bool:
    """Whether networks of the same task see the same: as many frames, in pictures of the same shape."""
    theirs, ours = teacher.model, student.model
    return theirs.frames == ours.frames and _has_same_shape(theirs.image_size, ours.image_size)


def open_teacher(config: TrialConfig, network: nn.Module, task: Task, batches: Batches) -> Teacher | None:
    """The teacher of a network in training; None where the configuration names none.

    Args:
        config: of the trial; names the file.
        network: in training.
        task: of the trial, with its labels.
        batches: its pictures.

    Raises:
        ArtifactError: the file cannot be read, or does not suit the network in training.
    """
    training = config.training
    if training.teacher is None:
        return None
    teacher = _read(training)
    if isinstance(teacher, Vit):
        patch = teacher.patch.kernel_size
        fits = all(side >= least for side, least in zip(batches.size, patch, strict=True))
        _check(training, "pictures of one frame", batches.layout, batches.layout == "still")
        _check(training, f"patches within {_sides(batches.size)} pixels", _sides(patch), fits)
        backbone = cast("Backbone", network.get_submodule("backbone"))
        return FeatureTeacher(teacher.to(batches.device), backbone.out_channels)
    theirs = teacher.config
    _check_task(training, config.task, task.labels, teacher)
    _check(training, f"{batches.frames} frames", theirs.model.frames, batches.frames == theirs.model.frames)
    _check_shape(training, batches.size, theirs.model.image_size)
    distance = task.distillation(network)
    finished = theirs.task_for(teacher.labels).finished(teacher.network).to(batches.device)
    own = replace(batches, size=theirs.model.image_size, layout=theirs.model.layout)
    return OutputTeacher(finished, distance, None if own == batches else own)


@dataclass(frozen=True)
class _Restored:
    """A network of a checkpoint of ours or of an original's, with the averaged weights where there are any."""

    config: TrialConfig
    network: nn.Module
    labels: Sequence[str]


def _read(training: TrainingConfig) -> Vit | _Restored:
    path = Path(training.teacher or "")
    try:
        weights = checkpoint.load_vit(path)
        if weights is not None:
            return vit.from_weights(weights, training.teacher_heads)
        saved = checkpoint.load(path)
        return _Restored(*restore(saved, str(path)), saved.labels)
    except ArtifactError as error:
        raise ArtifactError(f"training.teacher: {error}") from error
    except ValueError as error:
        rule = "must be the weights of a plain ViT"
        raise ArtifactError(problem(f"training.teacher: {path}", rule, str(error), "choose another file")) from error


def _check(training: TrainingConfig, wanted: str, got: object, is_met: bool) -> None:
    if not is_met:
        rule = f"must have {wanted}, for the network in training"
        raise ArtifactError(problem(f"training.teacher: {training.teacher}", rule, got, "choose another teacher"))


def _check_task(training: TrainingConfig, task: Choice, labels: Sequence[str], teacher: _Restored) -> None:
    name, theirs = teacher.config.task.name, list(teacher.labels)
    _check(training, f"task {task.name}", name, name == task.name)
    _check(training, f"the labels {', '.join(labels)}", ", ".join(theirs), theirs == list(labels))


def _check_shape(training: TrainingConfig, ours: Size, theirs: Size) -> None:
    """A turn is one of pixels: in pictures of another shape it would not move the same content to the same place."""
    turns = training.augmentation.affine and training.augmentation.rotation_degrees
    wanted = f"pictures of the shape of {_sides(ours)} (or no training.augmentation.rotation_degrees)"
    _check(training, wanted, _sides(theirs), _has_same_shape(ours, theirs) or not turns)


def _has_same_shape(ours: Size, theirs: Size) -> bool:
    return ours[0] * theirs[1] == ours[1] * theirs[0]


def _sides(size: Sequence[int]) -> str:
    return "x".join(map(str, size))
