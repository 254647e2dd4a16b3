"""A loaded model, checked against the metadata of its file."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from whc import plugins, tasks
from whc.data.preprocess import INTERPOLATION_METHODS, LAYOUTS, RESIZE_MODE
from whc.demo.runnable import RunnableModel
from whc.errors import ArtifactError, problem
from whc.latency import first_pass
from whc.plugins import NestedErrors
from whc.records import ModelMetadata
from whc.runtimes import Session, choose_for
from whc.runtimes.model_file import MAX_NUMBERS
from whc.tasks import Task


class LoadedModel(RunnableModel):
    """A model with all of its task."""

    def __init__(self, session: Session, metadata: ModelMetadata, task: Task) -> None:
        super().__init__(session, metadata, task)
        self.task = task


def load(
    path: Path,
    runtime: str | None = None,
    threads: int = 1,
    wait_s: float = first_pass.WAIT_S,
    batch: int = 1,
    like: ModelMetadata | None = None,
) -> LoadedModel:
    """Load an exported model.

    Args:
        path: a file exported by whc.
        runtime: name of a runtime plug-in; None: the usual one for such a file.
        threads: threads of one forward pass, if the runtime supports a choice.
        wait_s: time limit in seconds of the first pass, which runs in a separate process.
        batch: number of windows in one pass.
        like: the metadata of another model, which stand in where the file has none of whc's own.

    Raises:
        UsageError: the runtime does not exist, does not read the file, or does not run on this machine.
        ArtifactError: the file cannot be loaded, its first pass gives no output, or `checked` refuses it.
    """
    choice = choose_for([path], runtime, threads)
    first_pass.check(path, choice, wait_s, batch)
    session = plugins.load("runtimes", choice.name).load(path, choice.config)
    return checked(session, _foreign(session, like) if like and not session.is_ours else None)


def _foreign(session: Session, like: ModelMetadata) -> ModelMetadata:
    """The metadata of a file without any, if it takes its input and gives its output as another model does."""
    shape = session.input_shape
    match shape[1:]:
        case (channels, height, width) if channels % 3 == 0:
            layout, frames = ("still", 1) if channels == 3 else ("frame_stack", channels // 3)
        case (frames, 3, height, width):
            layout = "lstm"
        case (3, frames, height, width):
            layout = "cnn3d"
        case _:
            rule = "must take RGB pictures, (N, 3, H, W), or windows of them, as whc has no metadata of it"
            raise ArtifactError(problem(str(session.path), rule, shape, "export it with `whc export`"))
    changes = {"layout": layout, "frames": frames, "height": height, "width": width}
    origin = {"study": "", "trial": "", "data_fingerprint": "", "code_version": ""}
    return like.model_copy(update=changes | origin)


def checked(session: Session, metadata: ModelMetadata | None = None) -> LoadedModel:
    """A loaded model, run once on black frames, so that errors appear before a source is opened.

    Args:
        session: the model's file, loaded.
        metadata: what the file is; None: what it says itself.

    Raises:
        ArtifactError: whc did not export the file, or its network and metadata disagree.
    """
    metadata = metadata or session.metadata()
    task = task_of(metadata, session.input_shape, session.path)
    model = LoadedModel(session, metadata, task)
    model.decide(np.zeros((metadata.frames, metadata.height, metadata.width, 3), np.uint8))
    return model


def task_of(metadata: ModelMetadata, input_shape: tuple[int, ...], path: Path) -> Task:
    """The task of a file, whose metadata fit its network.

    Args:
        metadata: what the file is.
        input_shape: of the network, for one window.
        path: names the file in messages.

    Raises:
        ArtifactError: this version does not support the metadata, or they do not fit the network.
    """
    task = _task(metadata, path)
    _check(metadata, task, input_shape, path)
    return task


def _task(metadata: ModelMetadata, path: Path) -> Task:
    next_step = "upgrade whc or export the model again"
    try:
        return tasks.of_file(metadata)
    except NestedErrors as error:
        first_error = error.cause.errors()[0]
        key = ".".join(map(str, first_error["loc"]))
        rule = f"{key!r}: {first_error['msg']}"
        raise ArtifactError(problem(f"{path}: whc.task_config", rule, first_error["input"], next_step)) from error
    except ValueError as error:
        raise ArtifactError(f"{path}: whc.task: {error}; {next_step}") from error


def _check(metadata: ModelMetadata, task: Task, input_shape: tuple[int, ...], path: Path) -> None:
    """Refuse metadata that this version does not support, or that do not fit the network in the file."""

    def require(is_met: bool, key: str, rule: str, value: object) -> None:
        if not is_met:
            raise ArtifactError(problem(f"{path}: whc.{key}", rule, value, "export the model again, or upgrade whc"))

    require(metadata.layout in LAYOUTS, "layout", f"must be one of {', '.join(LAYOUTS)}", metadata.layout)
    require(metadata.resize == RESIZE_MODE, "resize", f"must be {RESIZE_MODE!r}", metadata.resize)
    is_known = metadata.interpolation in INTERPOLATION_METHODS
    require(is_known, "interpolation", f"must be one of {', '.join(INTERPOLATION_METHODS)}", metadata.interpolation)
    sizes = (metadata.frames, metadata.height, metadata.width)
    require(min(sizes) > 0, "frames, height, width", "must be positive", sizes)
    rate = metadata.frame_rate
    require(rate is None or (math.isfinite(rate) and rate > 0), "frame_rate", "must be positive or null", rate)
    labels = metadata.labels
    wrong = task.check_labels()
    require(not wrong, "labels", wrong, labels)
    require(len(set(labels)) == len(labels), "labels", "must be all different", labels)
    # Checked before an array of that size is made: sizes in a file may exceed the memory.
    rule = f"must make at most {MAX_NUMBERS} numbers, and those of the network's input {input_shape}"
    require(3 * math.prod(sizes) <= MAX_NUMBERS, "frames, height, width", rule, sizes)
    window = np.broadcast_to(np.uint8(0), (1, metadata.frames, 3, metadata.height, metadata.width))
    packed = LAYOUTS[metadata.layout](window)
    # A layout only rearranges: a network whose layout drops frames was not trained on this window.
    require(packed.size == window.size, "frames", f"must suit layout {metadata.layout!r}", metadata.frames)
    require(packed.shape == input_shape, "layout", f"must describe the network's input {input_shape}", packed.shape)
