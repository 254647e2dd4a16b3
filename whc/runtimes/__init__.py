"""Runtimes: one file each. A runtime loads an artifact and runs it; none of them imports torch.

A file defines `Config` and `load(path, config) -> Session`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from whc.records import ModelMetadata


class Session(Protocol):
    """A loaded artifact with one input and one output of interest."""

    @property
    def path(self) -> Path:
        """The file it came from."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, batch size 1."""

    def metadata(self) -> ModelMetadata:
        """What the file says of itself; raises ArtifactError when it is not one of ours."""

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities for a batch: (N,) for two classes, (N, C) for more."""
