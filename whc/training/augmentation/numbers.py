"""The few numbers that describe the changes of a batch: drawn and computed in numpy, which is faster for so few."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whc.tasks.parts import Floats

__all__ = ["Floats", "drawn", "on"]


def drawn(generator: torch.Generator, *shape: int) -> Floats:
    """Numbers drawn evenly from 0..1."""
    values: Floats = torch.rand(*shape, generator=generator, device=generator.device).cpu().numpy()
    return values


def on(images: Tensor, numbers: NDArray[np.generic]) -> Tensor:
    """Numbers of a batch, on the device of its images."""
    return torch.from_numpy(numbers).to(images.device)
