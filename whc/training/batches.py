"""From decoded images to a network's input, batch by batch: the device gathers bytes and converts them to floats."""

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
"""How the points of N pictures moved (N, 2, 3), as `whc.training.augmentation.moves` gives it."""

Change = Callable[[Tensor], tuple[Tensor, Moves]]
"""From (N, T*3, H, W), frames stacked as channels in every layout, to the changed images and their moves."""

# Pixels prepared together: on a CPU as many as fit its cache, on a GPU enough for few kernel launches.
PIXELS_AT_ONCE = {"cpu": 2**18, "cuda": 2**22}


@dataclass(frozen=True)
class Batches:
    """Batches of one corpus, in the form that one kind of network takes.

    On a GPU all images of the corpus at `size` are uploaded once, as bytes, and stay as long as this object. On the CPU
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
        """Windows `index` (N, T) as the network's input, float in 0..1, in the fastest memory layout."""
        frames = self._gather(index).permute(0, 1, 4, 2, 3)
        return self._arranged(frames.to(torch.float32).div_(self._white))

    def changed_batch(self, index: NDArray[np.int64], change: Change) -> tuple[Tensor, Moves]:
        """As `batch`, after an augmentation; also how it moved the points of the pictures."""
        frames = self._gather(index).permute(0, 1, 4, 2, 3)
        # Changes need each channel separate in memory; separating them is cheapest while bytes become floats.
        frames = frames.to(torch.float32, memory_format=torch.contiguous_format).div_(self._white)
        changed, moves = change(frames.flatten(1, 2))
        return self._arranged(changed.reshape(frames.shape)), moves

    def stream(
        self, indices: Sequence[NDArray[np.int64]], change: Change, at_once: int | None = None
    ) -> Iterator[tuple[Tensor, Moves]]:
        """Changed batches in order; several small batches, `at_once`, are made together, for half the cost."""
        at_once = at_once or self.at_once(indices)
        for start in range(0, len(indices), at_once):
            group = indices[start : start + at_once]
            lengths = [len(index) for index in group]
            images, moves = self.changed_batch(np.concatenate(group), change)
            yield from zip(images.split(lengths), np.split(moves, np.cumsum(lengths)[:-1]), strict=True)  # type: ignore[no-untyped-call]

    def at_once(self, indices: Sequence[NDArray[np.int64]]) -> int:
        """How many of these batches are made together."""
        height, width = self.size
        return max(1, PIXELS_AT_ONCE[self.device.type] // (indices[0].size * height * width))

    def _arranged(self, frames: Tensor) -> Tensor:
        return _channels_last(LAYOUTS[self.layout](frames), self.layout)

    def _gather(self, index: NDArray[np.int64]) -> Tensor:
        """Windows as stored: uint8 (N, T, H, W, 3)."""
        rows = torch.from_numpy(index.ravel()).to(self.device)
        return self._images.index_select(0, rows).view(*index.shape, *self._images.shape[1:])

    @cached_property
    def _images(self) -> Tensor:
        """All images at this size, uint8 (rows, H, W, 3), on the device; never written to."""
        with warnings.catch_warnings():
            # Arrays in Ray's object store are read-only, and torch has no read-only tensors.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(self.corpus.images[self.size]).to(self.device)

    @cached_property
    def _white(self) -> Tensor:
        """255 as a tensor; a GPU would multiply by the inverse of a plain number, and differ in the last bit."""
        return torch.full((), 255.0, device=self.device)


def _channels_last(arranged: Tensor, layout: str) -> Tensor:
    """Images in the memory layout of the fast convolutions; without it a network trains a sixth slower."""
    if layout == "lstm":  # the backbone sees each frame as a separate picture
        pictures = arranged.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        return pictures.view(arranged.shape)
    memory_format = torch.channels_last_3d if arranged.dim() == 5 else torch.channels_last
    return arranged.contiguous(memory_format=memory_format)
