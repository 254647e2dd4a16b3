"""From decoded images to a network's input, batch by batch: bytes are gathered, then made floats, on the device."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whc.data.dataset import Corpus, Size
from whc.data.preprocess import LAYOUTS
from whc.data.windows import Windows, windows

Moves = NDArray[np.float32]
"""Where points of N pictures went (N, 2, 3), as `whc.training.augmentation.moves` gives it."""

Change = Callable[[Tensor], tuple[Tensor, Moves]]
"""From (N, T*3, H, W), frames stacked as channels whatever the layout, to the same changed, and its moves."""

# Prepared together: on a CPU what fits its cache, on a GPU what makes launches few.
PIXELS_AT_ONCE = {"cpu": 2**18, "cuda": 2**22}


@dataclass(frozen=True)
class Batches:
    """Batches of one corpus, as one kind of network wants them.

    On a GPU all images of the corpus at `size` are uploaded once, as bytes, and kept as long as this is; on the CPU
    they are not copied.
    """

    corpus: Corpus
    size: Size
    frames: int
    layout: str
    device: torch.device

    def windows(self, split: str) -> Windows:
        """The windows of a split."""
        return windows(self.corpus, split, self.frames)

    def batch(self, index: NDArray[np.int64]) -> Tensor:
        """Windows `index` (N, T) as the network's input, float in 0..1, laid out as convolutions are fastest."""
        frames = self._gather(index).permute(0, 1, 4, 2, 3)
        return self._arranged(frames.to(torch.float32).div_(self._white))

    def changed_batch(self, index: NDArray[np.int64], change: Change) -> tuple[Tensor, Moves]:
        """As `batch`, after an augmentation, and where that moved the pictures' points."""
        frames = self._gather(index).permute(0, 1, 4, 2, 3)
        # Changes want each channel by itself in memory: as bytes become floats is the cheapest moment to part them.
        frames = frames.to(torch.float32, memory_format=torch.contiguous_format).div_(self._white)
        changed, moves = change(frames.flatten(1, 2))
        return self._arranged(changed.reshape(frames.shape)), moves

    def stream(self, indices: Sequence[NDArray[np.int64]], change: Change) -> Iterator[tuple[Tensor, Moves]]:
        """One changed batch after another; small ones are made several at once, for half the cost."""
        height, width = self.size
        at_once = max(1, PIXELS_AT_ONCE[self.device.type] // (indices[0].size * height * width))
        for start in range(0, len(indices), at_once):
            some = indices[start : start + at_once]
            lengths = [len(index) for index in some]
            images, moves = self.changed_batch(np.concatenate(some), change)
            yield from zip(images.split(lengths), np.split(moves, np.cumsum(lengths)[:-1]), strict=True)  # type: ignore[no-untyped-call]

    def _arranged(self, frames: Tensor) -> Tensor:
        return _channels_last(LAYOUTS[self.layout](frames), self.layout)

    def _gather(self, index: NDArray[np.int64]) -> Tensor:
        """Windows as they are kept: uint8 (N, T, H, W, 3)."""
        rows = torch.from_numpy(index.ravel()).to(self.device)
        return self._images.index_select(0, rows).view(*index.shape, *self._images.shape[1:])

    @cached_property
    def _images(self) -> Tensor:
        """All images at this size, uint8 (rows, H, W, 3), on the device; never written to."""
        with warnings.catch_warnings():
            # What Ray's object store holds is read-only, which torch has no word for.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(self.corpus.images[self.size]).to(self.device)

    @cached_property
    def _white(self) -> Tensor:
        """A division by a plain 255 would be a multiplication on a GPU, and differ from the demo's in the last bit."""
        return torch.full((), 255.0, device=self.device)


def _channels_last(arranged: Tensor, layout: str) -> Tensor:
    """The memory layout of the fast convolutions: without it a network trains a sixth slower."""
    if layout == "lstm":  # each frame is a picture of its own to the backbone
        pictures = arranged.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return pictures.view(arranged.shape)
    memory_format = torch.channels_last_3d if arranged.dim() == 5 else torch.channels_last
    return arranged.contiguous(memory_format=memory_format)
