"""From decoded images to a network's input, batch by batch: bytes are gathered, then made floats on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whc.data.dataset import Corpus, Size
from whc.data.preprocess import LAYOUTS, pack
from whc.data.windows import Windows, windows


@dataclass(frozen=True)
class Batches:
    """Batches of one corpus, as one kind of network wants them."""

    corpus: Corpus
    size: Size
    frames: int
    layout: str
    device: torch.device

    def windows(self, split: str) -> Windows:
        """The windows of a split."""
        return windows(self.corpus, split, self.frames)

    def batch(self, index: NDArray[np.int64], change: Callable[[Tensor], Tensor] = lambda frames: frames) -> Tensor:
        """Windows `index` (N, T) as the network's input, float in 0..1.

        `change` may augment them first; it sees (N, T*3, H, W), frames stacked as channels, whatever the layout.
        """
        stacked = torch.from_numpy(pack(self.corpus.images[self.size][index], "frame_stack")).to(self.device)
        frames = change(stacked.float().div_(255).contiguous(memory_format=torch.channels_last))
        arranged: Tensor = LAYOUTS[self.layout](frames.view(len(frames), -1, 3, *frames.shape[2:]))
        return arranged
