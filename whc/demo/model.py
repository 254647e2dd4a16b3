"""A loaded model, checked against what its file says of itself."""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from whc import plugins, tasks
from whc.data.preprocess import INTERPOLATIONS, LAYOUTS, RESIZE, Image, resize, to_input
from whc.errors import ArtifactError, problem
from whc.latency import first_pass
from whc.plugins import NestedErrors
from whc.records import ModelMetadata
from whc.runtimes import Session, choose
from whc.runtimes.onnx_file import MAX_NUMBERS
from whc.tasks import Outputs, Task


class Verdict(NamedTuple):
    """The outcome for one window: the model's output, as its task reads it, and the time it took."""

    output: Outputs
    latency_ms: float


class LoadedModel:
    """Turns windows of frames into outputs and verdicts."""

    def __init__(self, session: Session, metadata: ModelMetadata, task: Task) -> None:
        self.path, self.metadata, self.task = session.path, metadata, task
        self._session = session

    def prepare(self, picture: Image) -> Image:
        """One frame, (H, W, 3) of any size, at the model's input size."""
        return resize(picture, self.metadata.height, self.metadata.width, self.metadata.interpolation)

    def outputs(self, windows: Image) -> Outputs:
        """The model's outputs (N, ...) for windows of prepared frames (N, T, H, W, 3).

        Raises:
            ArtifactError: the model gives something else than its task asks for.
        """
        return self._checked(self._run(windows), len(windows))

    def decide(self, window: Image) -> Verdict:
        """The verdict on a window of prepared frames (T, H, W, 3); its latency covers packing and the forward pass.

        Raises:
            ArtifactError: as `outputs`.
        """
        started = perf_counter()
        raw = self._run(window[None])
        latency_ms = (perf_counter() - started) * 1000
        # Of one number it is an array without dimensions, as a row of many is.
        return Verdict(self._checked(raw, 1)[0, ...], latency_ms)

    def _run(self, windows: Image) -> NDArray[np.float32]:
        return self._session.run(to_input(windows, self.metadata.layout))

    def _checked(self, output: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
        """The output as it is, if it is what the task says that it should be."""
        shape = self.task.output_shape
        if output.shape != (rows, *shape):
            rule = f"must give {f'numbers of shape {shape}' if shape else 'one number'} for each input"
            raise ArtifactError(problem(str(self.path), rule, f"shape {output.shape}", "export it again"))
        if wrong := self.task.check_outputs(output):
            raise ArtifactError(f"{self.path}: {wrong}; train or export it again")
        return output


def load(
    path: Path,
    runtime: str = "onnxruntime_cpu",
    threads: int = 1,
    wait_s: float = first_pass.WAIT_S,
    batch: int = 1,
) -> LoadedModel:
    """Load an exported model.

    Args:
        path: an ONNX file exported by whc.
        runtime: name of a runtime plug-in.
        threads: threads of one forward pass, where the runtime lets one choose.
        wait_s: for its first pass, in a process of its own.
        batch: windows of a pass, as many as will be run at once.

    Raises:
        UsageError: no such runtime, or not on this machine.
        ArtifactError: the file cannot be loaded, its first pass gives no answer, or as `checked`.
    """
    choice = choose(runtime, threads)
    first_pass.check(path, choice, wait_s, batch)
    return checked(plugins.load("runtimes", choice.name).load(path, choice.config))


def checked(session: Session) -> LoadedModel:
    """A loaded model, run once on black frames, so that what is wrong shows before a source is opened.

    Raises:
        ArtifactError: it is not ours, or its network and metadata disagree.
    """
    metadata = session.metadata()
    task = _task(metadata, session.path)
    _check(metadata, task, session.input_shape, session.path)
    model = LoadedModel(session, metadata, task)
    model.decide(np.zeros((metadata.frames, metadata.height, metadata.width, 3), np.uint8))
    return model


def _task(metadata: ModelMetadata, path: Path) -> Task:
    next_step = "upgrade whc or export the model again"
    try:
        return tasks.of_file(metadata)
    except NestedErrors as error:
        first = error.cause.errors()[0]
        key = ".".join(map(str, first["loc"]))
        rule = f"{key!r}: {first['msg']}"
        raise ArtifactError(problem(f"{path}: whc.task_config", rule, first["input"], next_step)) from error
    except ValueError as error:
        raise ArtifactError(f"{path}: whc.task: {error}; {next_step}") from error


def _check(metadata: ModelMetadata, task: Task, input_shape: tuple[int, ...], path: Path) -> None:
    """Refuse metadata that name what this version cannot do, or another network than the file holds."""

    def require(holds: bool, key: str, rule: str, got: object) -> None:
        if not holds:
            raise ArtifactError(problem(f"{path}: whc.{key}", rule, got, "export the model again, or upgrade whc"))

    require(metadata.layout in LAYOUTS, "layout", f"must be one of {', '.join(LAYOUTS)}", metadata.layout)
    require(metadata.resize == RESIZE, "resize", f"must be {RESIZE!r}", metadata.resize)
    known = metadata.interpolation in INTERPOLATIONS
    require(known, "interpolation", f"must be one of {', '.join(INTERPOLATIONS)}", metadata.interpolation)
    sizes = (metadata.frames, metadata.height, metadata.width)
    require(min(sizes) > 0, "frames, height, width", "must be positive", sizes)
    rate = metadata.frame_rate
    require(rate is None or (math.isfinite(rate) and rate > 0), "frame_rate", "must be positive or null", rate)
    labels = metadata.labels
    wrong = task.check_labels()
    require(not wrong, "labels", wrong, labels)
    require(len(set(labels)) == len(labels), "labels", "must be all different", labels)
    # Before anything of that size is made: what a file says may be more than fits into memory.
    rule = f"must make at most {MAX_NUMBERS} numbers, and those of the network's input {input_shape}"
    require(3 * math.prod(sizes) <= MAX_NUMBERS, "frames, height, width", rule, sizes)
    window = np.broadcast_to(np.uint8(0), (1, metadata.frames, 3, metadata.height, metadata.width))
    packed = LAYOUTS[metadata.layout](window)
    # A layout only rearranges: one that drops frames (still, of several) was not trained on this window.
    require(packed.size == window.size, "frames", f"must suit layout {metadata.layout!r}", metadata.frames)
    require(packed.shape == input_shape, "layout", f"must describe the network's input {input_shape}", packed.shape)
