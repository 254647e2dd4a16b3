"""LiteRT files in float32, of batch 1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import nn

from whc.export import converter
from whc.plugins import PluginConfig
from whc.records import ModelMetadata
from whc.tasks import Task

SUFFIX = ".tflite"
NEEDS_CALIBRATION = False


class Config(PluginConfig):
    """There is nothing to choose."""


def check_installed() -> None:
    """Raise UsageError, with the command that helps, unless the converter and LiteRT itself are installed."""
    converter.require()


def export(
    network: nn.Module,
    task: Task,
    path: Path,
    metadata: ModelMetadata,
    input_shape: tuple[int, ...],
    config: Config,
    calibration: NDArray[np.float32] | None = None,
) -> None:
    """Write `network` as a LiteRT file.

    Raises:
        UsageError: the converter is not set up.
        ArtifactError: the network gives NaN or infinity, or has an operator that LiteRT lacks.
    """
    del config, calibration
    converter.convert(network, task, path, metadata, input_shape)
