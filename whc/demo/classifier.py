"""A loaded model, checked against what its file says of itself."""

from __future__ import annotations

import math
from pathlib import Path
from time import perf_counter
from types import ModuleType
from typing import NamedTuple

import numpy as np

from whc import plugins
from whc.data.preprocess import INTERPOLATIONS, LAYOUTS, RESIZE, Image, resize, to_input
from whc.errors import ArtifactError, UsageError, problem
from whc.records import ModelMetadata
from whc.runtimes import Session


class Verdict(NamedTuple):
    """The outcome for one window: the label called, the positive label's probability 0..1, and the time it took."""

    label: str
    probability: float
    positive: bool
    latency_ms: float


class Classifier:
    """Turns windows of frames into verdicts."""

    def __init__(self, session: Session, metadata: ModelMetadata, task: ModuleType) -> None:
        self.path, self.metadata = session.path, metadata
        self._session, self._task = session, task

    def prepare(self, picture: Image) -> Image:
        """One frame, (H, W, 3) of any size, at the model's input size."""
        return resize(picture, self.metadata.height, self.metadata.width, self.metadata.interpolation)

    def decide(self, window: Image) -> Verdict:
        """The verdict on a window of prepared frames (T, H, W, 3); its latency covers packing and the forward pass.

        Raises:
            ArtifactError: the model gives something else than one probability.
        """
        started = perf_counter()
        output = self._session.run(to_input(window[None], self.metadata.layout))
        latency_ms = (perf_counter() - started) * 1000
        if output.shape != (1,):
            raise ArtifactError(
                problem(str(self.path), "must give one probability", f"shape {output.shape}", "export it again")
            )
        probability = float(output[0])
        if not 0 <= probability <= 1:  # NaN too: it would pass for a calm negative
            raise ArtifactError(
                problem(str(self.path), "must give a probability in 0..1", probability, "train or export it again")
            )
        decision = self._task.decode(probability, self.metadata.labels, self.metadata.threshold)
        return Verdict(decision.label, probability, decision.positive, latency_ms)


def load(path: Path, runtime: str = "onnxruntime_cpu", threads: int = 1) -> Classifier:
    """Load a model and run it once on black frames, so that what is wrong shows before a source is opened.

    Args:
        path: an ONNX file exported by whc.
        runtime: name of a runtime plug-in.
        threads: threads of one forward pass.

    Raises:
        UsageError: no such runtime.
        ArtifactError: the file cannot be loaded, is not ours, or its network and metadata disagree.
    """
    try:
        backend = plugins.load("runtimes", runtime)
    except ValueError as error:
        raise UsageError(f"runtime: {error}") from error
    session: Session = backend.load(path, backend.Config(threads=threads))
    metadata = session.metadata()
    classifier = Classifier(session, metadata, _task(metadata, path))
    _check(metadata, session.input_shape, path)
    classifier.decide(np.zeros((metadata.frames, metadata.height, metadata.width, 3), np.uint8))
    return classifier


def _task(metadata: ModelMetadata, path: Path) -> ModuleType:
    try:
        return plugins.load("tasks", metadata.task)
    except ValueError as error:
        raise ArtifactError(f"{path}: whc.task: {error}; upgrade whc or export the model again") from error


def _check(metadata: ModelMetadata, input_shape: tuple[int, ...], path: Path) -> None:
    """Refuse metadata that name what this version cannot do, or another network than the file holds."""

    def require(holds: bool, key: str, rule: str, got: object) -> None:
        if not holds:
            raise ArtifactError(problem(f"{path}: whc.{key}", rule, got, "export the model again, or upgrade whc"))

    require(metadata.layout in LAYOUTS, "layout", f"must be one of {', '.join(LAYOUTS)}", metadata.layout)
    require(metadata.resize == RESIZE, "resize", f"must be {RESIZE!r}", metadata.resize)
    known = metadata.interpolation in INTERPOLATIONS
    require(known, "interpolation", f"must be one of {', '.join(INTERPOLATIONS)}", metadata.interpolation)
    require(
        min(metadata.frames, metadata.height, metadata.width) > 0,
        "frames, height, width",
        "must be positive",
        (metadata.frames, metadata.height, metadata.width),
    )
    rate = metadata.frame_rate
    require(rate is None or (math.isfinite(rate) and rate > 0), "frame_rate", "must be positive or null", rate)
    require(0 < metadata.threshold < 1, "threshold", "must be in 0..1", metadata.threshold)
    second = metadata.labels[1:] == [metadata.positive]  # what class_id 1 is to tasks
    require(second, "labels", f"must be two, {metadata.positive!r} second", metadata.labels)
    window = np.zeros((1, metadata.frames, metadata.height, metadata.width, 3), np.uint8)
    packed = to_input(window, metadata.layout)
    # A layout only rearranges: one that drops frames (still, of several) was not trained on this window.
    require(packed.size == window.size, "frames", f"must suit layout {metadata.layout!r}", metadata.frames)
    require(packed.shape == input_shape, "layout", f"must describe the network's input {input_shape}", packed.shape)
