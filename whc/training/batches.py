"""From decoded images to a network's input, batch by batch: the device gathers bytes and converts them to floats."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whc.data.dataset import Corpus, Size
from whc.data.preprocess import LAYOUTS, Image
from whc.data.windows import Windows, windows
from whc.tasks.parts import Parts

Larger = Callable[[NDArray[np.int64]], Tensor]
"""From numbers (M,) of windows of a batch to their images with more pixels, (M, T*3, H', W') in 0..1."""

Change = Callable[[Tensor, slice, Larger | None], tuple[Tensor, Parts]]
"""From (N, T*3, H, W), frames stacked as channels in every layout, to the changed images and what they are made of.

The slice says which of all windows these are, in the order in which they are asked for; `Larger` is None where the
corpus holds no larger images.
"""

# Pixels prepared together: on a CPU as many as fit its cache, on a GPU enough for few kernel launches.
PIXELS_AT_ONCE = {"cpu": 2**18, "cuda": 2**22}


@dataclass(frozen=True)
class Batches:
    """Batches of one corpus, in the form that one kind of network takes.

    On a GPU all images of the corpus for `size` are uploaded once, as bytes, and stay as long as this object. On the
    CPU they are not copied.
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
        frames = self._gather(self._images, index).permute(0, 1, 4, 2, 3)
        return self._arranged(frames.to(torch.float32).div_(self._white))

    def changed_batch(self, index: NDArray[np.int64], change: Change, start: int = 0) -> tuple[Tensor, Parts]:
        """As `batch`, after an augmentation; also what the pictures are made of. `start` counts the windows before."""
        frames = self._floats(self._images, index)
        larger = None if self._larger is None else partial(self._larger_floats, index)
        changed, parts = change(frames.flatten(1, 2), slice(start, start + len(index)), larger)
        return self._arranged(changed.reshape(frames.shape)), parts

    def stream(
        self, indices: Sequence[NDArray[np.int64]], change: Change, at_once: int | None = None
    ) -> Iterator[tuple[Tensor, Parts]]:
        """Changed batches in order; several small batches, `at_once`, are made together, for half the cost.

        What they are made of is counted over all batches: `parts.rows` are places in the joined `indices`.
        """
        at_once = at_once or self.at_once(indices)
        done = 0
        for start in range(0, len(indices), at_once):
            group = indices[start : start + at_once]
            images, parts = self.changed_batch(np.concatenate(group), change, done)
            ends = np.cumsum([len(index) for index in group]).tolist()
            for first, end in pairwise([0, *ends]):
                yield images[first:end], parts.between(first, end, done)
            done += ends[-1]

    def at_once(self, indices: Sequence[NDArray[np.int64]]) -> int:
        """How many of these batches are made together."""
        height, width = self.size
        return max(1, PIXELS_AT_ONCE[self.device.type] // (indices[0].size * height * width))

    def _arranged(self, frames: Tensor) -> Tensor:
        return _channels_last(LAYOUTS[self.layout](frames), self.layout)

    def _floats(self, images: Tensor, index: NDArray[np.int64]) -> Tensor:
        """Windows as floats in 0..1, (N, T, 3, H, W)."""
        frames = self._gather(images, index).permute(0, 1, 4, 2, 3)
        # Changes need each channel separate in memory; separating them is cheapest while bytes become floats.
        return frames.to(torch.float32, memory_format=torch.contiguous_format).div_(self._white)

    def _larger_floats(self, index: NDArray[np.int64], rows: NDArray[np.int64]) -> Tensor:
        assert self._larger is not None  # noqa: S101 (asked for only where there are some)
        return self._floats(self._larger, index[rows]).flatten(1, 2)

    def _gather(self, images: Tensor, index: NDArray[np.int64]) -> Tensor:
        """Windows as stored: uint8 (N, T, H, W, 3)."""
        rows = torch.from_numpy(index.ravel()).to(self.device)
        return images.index_select(0, rows).view(*index.shape, *images.shape[1:])

    @cached_property
    def _images(self) -> Tensor:
        """All images at this size, uint8 (rows, H, W, 3), on the device; never written to."""
        return self._uploaded(self.corpus.images[self.size])

    @cached_property
    def _larger(self) -> Tensor | None:
        """As `_images`, with more pixels each; None where there are none."""
        images = self.corpus.larger.get(self.size)
        return None if images is None else self._uploaded(images)

    def _uploaded(self, images: Image) -> Tensor:
        with warnings.catch_warnings():
            # Arrays in Ray's object store are read-only, and torch has no read-only tensors.
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(images).to(self.device)

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
