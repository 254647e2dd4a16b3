"""How many trainings share a GPU: as many as their memory allows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from whc.trials.artifacts import peak_memory_bytes
from whc.trials.config import TrialConfig

# Of a process: the CUDA context, and the workspaces of cuDNN and cuBLAS. On an H200 (PyTorch 2.11, CUDA 13) trainings
# took 940 to 1,040 MiB beside what their shapes tell.
CONTEXT_BYTES = 1 << 30
MARGIN = 1.25
PARTS = 20  # shares are multiples of one part, so that a worker can be used again for a trial of about the same size


@dataclass(frozen=True)
class Packing:
    """What trainings share; `gpu_bytes` is the memory of the smallest GPU, 0 where there is none.

    `image_bytes` is the size of the decoded data by height and width, which every training holds on its GPU.
    """

    gpu_bytes: int
    image_bytes: Mapping[tuple[int, int], int]

    def share(self, config: TrialConfig, alone: bool) -> float:
        """The part of a GPU that a training shall have, up to 1; 0 where there is none.

        Args:
            config: what is trained.
            alone: whether it shall have the GPU to itself.
        """
        if not self.gpu_bytes:
            return 0.0
        if alone:
            return 1.0
        training = peak_memory_bytes(config, outputs=1) + self.image_bytes[config.model.image_size]
        parts = math.ceil((CONTEXT_BYTES + MARGIN * training) / self.gpu_bytes * PARTS)
        return min(parts, PARTS) / PARTS
