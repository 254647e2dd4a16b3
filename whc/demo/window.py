"""The latest frames of a stream, at the distance in time of the frames in training."""

from __future__ import annotations

from collections import deque

import numpy as np

from whc.data.preprocess import Image


class Window:
    """Takes the frames of a stream one by one and keeps the latest `frames` that are 1/`frame_rate` s apart.

    Every frame enters if either rate is unknown (None). Otherwise a grid of instants 1/`frame_rate` apart starts at
    the first frame, and the frame nearest to each instant enters: for a model at 10 frames a second, every third frame
    of a stream at 30. All frames of a stream slower than the model's rate enter.
    """

    def __init__(self, frames: int, frame_rate: float | None, stream_fps: float | None) -> None:
        self._frames: deque[Image] = deque(maxlen=frames)
        self._step = 1 / frame_rate if frame_rate and stream_fps else 0.0
        self._tolerance = 0.5 / stream_fps if stream_fps else 0.0
        self._next = 0.0

    def takes(self, seconds: float) -> bool:
        """Whether the frame at this instant enters; call it once for each frame, in order of time."""
        if not self._step:
            return True
        if not self._frames:
            self._next = seconds
        lead = seconds + self._tolerance - self._next
        if lead < 0:
            return False
        self._next += (lead // self._step + 1) * self._step  # skips the instants in a gap of the stream
        return True

    def push(self, picture: Image) -> None:
        """Add a frame (H, W, 3) of the model's size."""
        self._frames.append(picture)

    @property
    def missing(self) -> int:
        """Number of frames until the window is full."""
        return (self._frames.maxlen or 0) - len(self._frames)

    def stack(self) -> Image:
        """The frames in the window, (T, H, W, 3), oldest first."""
        return np.stack(self._frames)


class ClipWindows:
    """Makes the full windows of clips that come one after another; their frames come in order of time."""

    def __init__(self, frames: int, frame_rate: float | None, stream_fps: float | None) -> None:
        # Of single images every one counts.
        self._frames, self._rate, self._fps = frames, frame_rate if frames > 1 else None, stream_fps
        self._clip: object = None
        self._window: Window | None = None
        self._short_clips = 0

    def add(self, clip: object, seconds: float, picture: Image) -> Image | None:
        """The full window (T, H, W, 3) that the next frame of a clip ends, None if it ends none."""
        if self._window is None or clip != self._clip:
            self._short_clips = self.short_clips
            self._window, self._clip = Window(self._frames, self._rate, self._fps), clip
        if not self._window.takes(seconds):
            return None
        self._window.push(picture)
        return None if self._window.missing else self._window.stack()

    @property
    def short_clips(self) -> int:
        """Number of clips so far without a full window."""
        return self._short_clips + (self._window is not None and self._window.missing > 0)
