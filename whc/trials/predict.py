"""A checkpoint that runs in PyTorch, behind the same protocol as an exported file in a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from whc.records import ModelMetadata
from whc.training import checkpoint
from whc.trials.artifacts import describe, device, restore


class TorchSession:
    """A `whc.runtimes.Session` of a network."""

    is_ours = True

    def __init__(self, path: Path, network: nn.Module, metadata: ModelMetadata, shape: tuple[int, ...]) -> None:
        self.path = path
        self.input_shape = (1, *shape)
        self._device = device()
        self._network, self._metadata = network.to(self._device).eval(), metadata

    def metadata(self) -> ModelMetadata:
        """The metadata that the exported file would have."""
        return self._metadata

    def run(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Outputs for a batch (N, ...)."""
        with torch.inference_mode():
            outputs: NDArray[np.float32] = (
                self._network(torch.from_numpy(images).to(self._device)).float().cpu().numpy()
            )
        return outputs


def load(path: Path, threads: int = 1, changes: Mapping[str, Any] | None = None) -> TorchSession:
    """Load a checkpoint, ours or one of the original projects, on the GPU if there is one.

    Args:
        path: the checkpoint.
        threads: threads of one forward pass on the CPU.
        changes: laid over its configuration.

    Raises:
        ArtifactError: it cannot be read, or its network cannot be built.
    """
    saved = checkpoint.load(path, changes)
    config, network = restore(saved, str(path))
    torch.set_num_threads(threads)
    task = config.task_for(saved.labels)
    return TorchSession(path, task.finished(network), describe(config, saved), config.model.input_shape)
