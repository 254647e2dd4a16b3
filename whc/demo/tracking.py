"""Who is who: boxes of a frame get the identities of the boxes that were expected where they are.

No library: matching by overlap is short, and libraries for it bring matplotlib, torch or more to the device.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from whc.data.boxes import overlaps

MEMORY_SECONDS = 1.0
MEMORY_FRAMES = 2.5  # a slow stream is remembered for more than a frame
LEAST_OVERLAP = 0.2
MOVING_SECONDS = 0.2  # for which an unseen person is expected to move on
SPEED_SHARE = 0.5  # of the newest speed in the average

Boxes = NDArray[np.float64]
"""(M, 4): cx, cy, w, h in shares of the picture."""


def memory_seconds(fps: float | None) -> float:
    """For how long somebody who is not seen in a stream is remembered."""
    return max(MEMORY_SECONDS, MEMORY_FRAMES / fps if fps else 0.0)


@dataclass
class _Track:
    identity: int
    box: NDArray[np.float64]
    seconds: float
    speed: NDArray[np.float64] = field(default_factory=lambda: np.zeros(2))  # of the centre, in shares a second

    def expected(self, seconds: float) -> NDArray[np.float64]:
        """The box at a later time."""
        moved = self.speed * min(seconds - self.seconds, MOVING_SECONDS)
        return np.concatenate([self.box[:2] + moved, self.box[2:]])

    def see(self, box: NDArray[np.float64], seconds: float) -> None:
        """Follow the person to a box."""
        if seconds > self.seconds:
            speed = (box[:2] - self.box[:2]) / (seconds - self.seconds)
            self.speed = (1 - SPEED_SHARE) * self.speed + SPEED_SHARE * speed
        self.box, self.seconds = box, seconds


class Tracker:
    """Gives each box an identity, counted from 1; one that is not seen for `memory_seconds` never comes back."""

    def __init__(self, memory_seconds: float = MEMORY_SECONDS) -> None:
        self._memory_seconds = memory_seconds
        self._tracks: list[_Track] = []
        self.count = 0  # of identities so far

    @property
    def identities(self) -> set[int]:
        """Those in memory."""
        return {track.identity for track in self._tracks}

    def follow(self, boxes: Boxes, seconds: float) -> list[int]:
        """The identities of the boxes of the next frame, whose time is in seconds.

        The pair of an expected box and a box that overlap most is matched first.
        """
        self._tracks = [track for track in self._tracks if seconds - track.seconds <= self._memory_seconds]
        shared = overlaps(boxes, np.reshape([track.expected(seconds) for track in self._tracks], (-1, 4)))
        matched: dict[int, _Track] = {}
        while shared.size and shared.max() >= LEAST_OVERLAP:
            row, column = np.unravel_index(shared.argmax(), shared.shape)
            matched[int(row)] = self._tracks[column]
            shared[row, :] = shared[:, column] = -1
        return [self._identity(matched.get(row), box, seconds) for row, box in enumerate(boxes)]

    def _identity(self, track: _Track | None, box: NDArray[np.float64], seconds: float) -> int:
        if track is None:
            self.count += 1
            track = _Track(self.count, box, seconds)
            self._tracks.append(track)
        track.see(box, seconds)
        return track.identity
