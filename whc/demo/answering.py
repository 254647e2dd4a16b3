"""Pictures in, a model's answers out, batch by batch: for tables of pictures of any origin."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from whc.data.preprocess import Image
from whc.demo.runnable import RunnableModel
from whc.demo.window import ClipWindows
from whc.tasks.answers import Outputs

BATCH_WINDOWS = 32  # activations of larger batches do not fit into a core's cache

Item = TypeVar("Item")


class ClipFrame(NamedTuple, Generic[Item]):
    """A frame of a clip, of the model's size (H, W, 3), at its time in the clip; `item` is what it belongs to."""

    item: Item
    clip: object
    seconds: float
    picture: Image


def answered(
    model: RunnableModel, clips: ClipWindows, frames: Iterable[ClipFrame[Item]], batch: int = BATCH_WINDOWS
) -> Iterator[tuple[list[Item], Outputs]]:
    """What belongs to the last frame of each full window, and the outputs (N, ...) for these windows, in batches.

    Args:
        model: the model to run.
        clips: makes the windows.
        frames: clip after clip, each in order of time.
        batch: windows that a pass takes at once.

    Raises:
        ArtifactError: the model's outputs do not fit its task.
    """
    for chunk in chunks(_windows(clips, frames), batch):
        items, windows = zip(*chunk, strict=True)
        yield list(items), model.outputs(np.stack(windows))


def _windows(clips: ClipWindows, frames: Iterable[ClipFrame[Item]]) -> Iterator[tuple[Item, Image]]:
    for frame in frames:
        window = clips.add(frame.clip, frame.seconds, frame.picture)
        if window is not None:
            yield frame.item, window


def chunks(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items, the last one of what is left."""
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
