"""The last frames of a stream, as far apart as those the model was trained on."""

from __future__ import annotations

from collections import deque

import numpy as np

from whc.data.preprocess import Image


class Window:
    """Takes the frames of a stream one by one and keeps the latest `frames` that are 1/`frame_rate` s apart.

    Every frame enters when either rate is unknown (None). Otherwise a grid of instants 1/`frame_rate` apart starts at
    the first frame, and the frame nearest to each instant enters: of a stream at 30 frames a second, every third for a
    model at 10. A stream slower than the model's rate enters whole.
    """

    def __init__(self, frames: int, frame_rate: float | None, stream_fps: float | None) -> None:
        self._held: deque[Image] = deque(maxlen=frames)
        self._step = 1 / frame_rate if frame_rate and stream_fps else 0.0
        self._tolerance = 0.5 / stream_fps if stream_fps else 0.0
        self._next = 0.0

    def takes(self, seconds: float) -> bool:
        """Whether the frame at this instant enters; asked once for each frame, in order of time."""
        if not self._step:
            return True
        if not self._held:
            self._next = seconds
        lead = seconds + self._tolerance - self._next
        if lead < 0:
            return False
        self._next += (lead // self._step + 1) * self._step  # a gap in the stream passes over its instants
        return True

    def push(self, picture: Image) -> None:
        """Take in a frame (H, W, 3), already of the model's size."""
        self._held.append(picture)

    @property
    def missing(self) -> int:
        """Number of frames until the window is full."""
        return (self._held.maxlen or 0) - len(self._held)

    def stack(self) -> Image:
        """The frames held, (T, H, W, 3), oldest first."""
        return np.stack(self._held)
