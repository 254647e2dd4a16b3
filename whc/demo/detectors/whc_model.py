"""Boxes of a detection model that whc exported."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from whc.data.preprocess import Image
from whc.demo import model as models
from whc.demo.detectors import Boxes, Detector, Form, Settings, best_boxes
from whc.demo.model import LoadedModel
from whc.errors import UsageError, problem
from whc.plugins import PluginConfig
from whc.records import ModelMetadata
from whc.tasks import Task

NEEDS_FILE = True
FORM = "a detection model of whc"
MAX_OVERLAP = 0.7  # of boxes of several classes around one object


class Config(PluginConfig):
    """No parameters: the file says which boxes count."""


def reads(form: Form) -> bool:
    """Whether whc wrote the file."""
    return form.is_ours


def load(form: Form | None, config: Config, settings: Settings) -> Detector:
    """Load the model.

    Raises:
        ArtifactError: the file cannot be used.
        UsageError: its task is not to find boxes in single pictures, or it has no class of the name.
    """
    del config
    assert form is not None  # noqa: S101 (NEEDS_FILE)
    model = models.load(form.path, threads=settings.threads, wait_s=settings.wait_s)
    what = what_it_finds(model.task, model.metadata, model.path, settings.label)
    number = None if settings.label is None else model.task.labels.index(settings.label)
    return Detector(str(model.path), what, partial(_find, model, number))


def what_it_finds(task: Task, metadata: ModelMetadata, path: Path, label: str | None) -> str:
    """What a model finds, in a word: the class `label`, or of all classes.

    Raises:
        UsageError: its task is not to find boxes in single pictures, or it has no class of the name.
    """
    if task.head_gives != "boxes" or metadata.frames > 1:
        rule, next_step = "must find boxes in single pictures", "give it as --model, and a detector as --detect"
        raise UsageError(problem(f"--detect: {path}", rule, f"task {metadata.task}", next_step))
    if label is not None and label not in task.labels:
        next_step = f"choose one of {', '.join(task.labels)}"
        raise UsageError(problem("--detect-class", f"must be a class of {path}", label, next_step))
    return label or (task.labels[0] if len(task.labels) == 1 else "object")


def _find(model: LoadedModel, number: int | None, picture: Image) -> Boxes:
    found = np.asarray(model.task.found_boxes(model.decide(model.prepare(picture)[None]).output), np.float64)
    chosen = found if number is None else found[found[:, 1] == number]
    return best_boxes(chosen[:, [0, 2, 3, 4, 5]], MAX_OVERLAP)
