"""Runtimes: one file each. A runtime loads an artifact and runs it; none of them imports torch.

A file defines `Config`, `load(path, config) -> Session`, and `ON_GPU`: whether a first pass may take minutes, because
an engine is built or kernels are loaded for a device. It imports its library within `load`, so that a configuration can
be read where the runtime is missing; `load` then raises RuntimeUnavailable.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from whc.errors import RuntimeUnavailable, UsageError
from whc.plugins import Choice, ChoiceOf
from whc.plugins import load as load_plugin
from whc.records import ModelMetadata


class Session(Protocol):
    """A loaded artifact with one input and one output of interest."""

    @property
    def path(self) -> Path:
        """The file it came from."""

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of one input, batch size 1; raises ArtifactError when it is open, or larger than any picture."""

    def metadata(self) -> ModelMetadata:
        """The metadata in the file; raises ArtifactError when whc did not write the file."""

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for a batch (N, ...), as the task of the file has them; raises ArtifactError when it fails."""


def choose(name: str, threads: int = 1) -> Choice:
    """The runtime of that name; `threads` is ignored by runtimes without such a parameter.

    Raises:
        UsageError: no such runtime.
    """
    try:
        fields = load_plugin("runtimes", name).Config.model_fields
        return ChoiceOf("runtimes").parse({name: {"threads": threads} if "threads" in fields else {}})
    except ValueError as error:
        raise UsageError(f"runtime: {error}") from error


def library(runtime: str, module: str) -> Any:
    """Import a module that the runtime's extra installs.

    Raises:
        RuntimeUnavailable: it is not installed, or lacks a library of its own.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, OSError) as error:
        missing = f"no module {error.name!r}" if isinstance(error, ModuleNotFoundError) else ""
        reason = missing or str(error).splitlines()[0]
        raise RuntimeUnavailable(
            f"runtime {runtime}: must be installed, got {reason}; install whc[{runtime}]"
        ) from error
