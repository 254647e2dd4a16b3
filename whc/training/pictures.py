"""The pictures of an epoch, as a network in training and its teacher see them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from whc.data.windows import Windows
from whc.tasks import Task
from whc.tasks.parts import Parts
from whc.training.augmentation import Augmentation, augment
from whc.training.batches import Batches, Change, Larger

Shown = tuple[Tensor, Parts, Tensor]
"""A batch for the network, what its pictures are made of, and the same pictures for the teacher."""


@dataclass(frozen=True)
class Pictures:
    """Augmented batches from `batches`; the teacher's come from `theirs` (None: it sees those of the network)."""

    batches: Batches
    theirs: Batches | None
    task: Task
    settings: Augmentation

    def epoch(self, rows: Windows, order: NDArray[np.int64], steps: int, seed: int) -> Iterator[Shown]:
        """The windows `order` of `rows` in so many batches; parts count places in `order`."""
        indices = [rows.index[part] for part in np.array_split(order, steps)]
        stream = self.batches.stream(indices, self._change(self.batches, rows, order, seed))
        if self.theirs is None:
            yield from ((images, parts, images) for images, parts in stream)
            return
        # As many at once as ours, so that the same random numbers change the same pictures.
        change = self._change(self.theirs, rows, order, seed)
        theirs = self.theirs.stream(indices, change, self.batches.at_once(indices))
        yield from ((images, parts, seen) for (images, parts), (seen, _) in zip(stream, theirs, strict=True))

    def _change(self, batches: Batches, rows: Windows, order: NDArray[np.int64], seed: int) -> Change:
        """The augmentation of the windows of an epoch, with their objects where it pastes some."""
        generator = torch.Generator().manual_seed(seed)  # on the CPU: no wait for a GPU

        def change(images: Tensor, place: slice, larger: Larger | None) -> tuple[Tensor, Parts]:
            objects = None
            if self.settings.copy_paste:
                objects = self.task.objects(rows.targets[order[place]], batches.size)
            return augment(images, self.settings, generator, objects, larger)

        return change


def both(labelled: Iterator[Shown], unlabelled: Iterator[Shown]) -> Iterator[Shown]:
    """Batches with pictures without labels at their ends; parts are those of the labelled ones alone."""
    for (images, parts, seen), (more, _, more_seen) in zip(labelled, unlabelled, strict=True):
        joined = torch.cat([images, more])
        yield joined, parts, joined if seen is images else torch.cat([seen, more_seen])
