"""Number of trainings that share a GPU: as many as their memory allows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from whc.trials.artifacts import peak_memory_bytes
from whc.trials.config import TrialConfig
from whc.trials.learning import image_sizes, teacher_bytes

# Memory of each process: the CUDA context, and the workspaces of cuDNN and cuBLAS. On an H200 (PyTorch 2.11, CUDA 13)
# trainings took 940 to 1,040 MiB more than the estimate from their shapes.
CONTEXT_BYTES = 1 << 30
MEMORY_MARGIN = 1.25
PARTS_PER_GPU = 20  # shares are multiples of a part, so that a worker can be reused for a trial of similar size


@dataclass(frozen=True)
class Packing:
    """Memory that trainings share; `gpu_bytes` is the memory of the smallest GPU, 0 where there is none.

    `image_bytes` is the size of the decoded data by (height, width); every training holds its data on the GPU, also
    those of its teacher. `labels` are those of the data, None while they are not known.
    """

    gpu_bytes: int
    image_bytes: Mapping[tuple[int, int], int]
    labels: Sequence[str] | None = None

    def share(self, config: TrialConfig, alone: bool) -> float:
        """The share of a GPU that a training gets, up to 1; 0 where there is no GPU.

        Args:
            config: what is trained.
            alone: whether the training gets the whole GPU.
        """
        if not self.gpu_bytes:
            return 0.0
        if alone:
            return 1.0
        outputs = config.task_for(self.labels).outputs
        pictures = sum(self.image_bytes[size] for size in image_sizes(config))
        training = peak_memory_bytes(config, outputs) + teacher_bytes(config) + pictures
        parts = math.ceil((CONTEXT_BYTES + MEMORY_MARGIN * training) / self.gpu_bytes * PARTS_PER_GPU)
        return min(parts, PARTS_PER_GPU) / PARTS_PER_GPU
