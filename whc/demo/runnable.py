"""A model that is ready to run: windows of frames in, outputs of its task out."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from whc.data.preprocess import Image, resize, to_input
from whc.errors import ArtifactError, problem
from whc.tasks.answers import Answers, Outputs

if TYPE_CHECKING:
    from whc.records import ModelMetadata
    from whc.runtimes import Session


class Verdict(NamedTuple):
    """The result for one window: the model's output, and the time of its forward pass in milliseconds."""

    output: Outputs
    latency_ms: float


class RunnableModel:
    """Turns windows of frames into outputs and verdicts."""

    def __init__(self, session: Session, metadata: ModelMetadata, answers: Answers) -> None:
        self.path, self.metadata, self.answers = session.path, metadata, answers
        self._session = session

    def prepare(self, picture: Image) -> Image:
        """One frame, (H, W, 3) of any size, at the model's input size."""
        return resize(picture, self.metadata.height, self.metadata.width, self.metadata.interpolation)

    def outputs(self, windows: Image) -> Outputs:
        """The model's outputs (N, ...) for windows of prepared frames (N, T, H, W, 3).

        Raises:
            ArtifactError: the model's outputs do not fit its task.
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
        # A single number becomes an array without dimensions, like a row of several outputs.
        return Verdict(self._checked(raw, 1)[0, ...], latency_ms)

    def _run(self, windows: Image) -> NDArray[np.float32]:
        return self._session.run(to_input(windows, self.metadata.layout))

    def _checked(self, output: NDArray[np.float32], rows: int) -> NDArray[np.float32]:
        """The output unchanged, if the task accepts it."""
        shape = self.answers.output_shape
        if output.shape != (rows, *shape):
            rule = f"must give {f'numbers of shape {shape}' if shape else 'one number'} for each input"
            raise ArtifactError(problem(str(self.path), rule, f"shape {output.shape}", "export it again"))
        if wrong := self.answers.check_outputs(output):
            raise ArtifactError(f"{self.path}: {wrong}; train or export it again")
        return output
