"""Who is who: boxes of one frame get the identities of the boxes that they overlap in earlier frames.

No library: matching by overlap is short, and libraries for it bring SciPy, matplotlib or more to the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from whc.data.boxes import overlaps

MEMORY_SECONDS = 1.0
LEAST_OVERLAP = 0.2


@dataclass
class _Track:
    identity: int
    box: NDArray[np.float64]
    seconds: float


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

    def follow(self, boxes: NDArray[np.float64], seconds: float) -> list[int]:
        """The identities of the boxes (M, 4) cx, cy, w, h of the next frame, whose time is in seconds.

        The pair with the largest overlap is matched first.
        """
        self._tracks = [track for track in self._tracks if seconds - track.seconds <= self._memory_seconds]
        shared = overlaps(boxes, np.reshape([track.box for track in self._tracks], (-1, 4)))
        matched: dict[int, _Track] = {}
        while shared.size and shared.max() >= LEAST_OVERLAP:
            row, column = np.unravel_index(shared.argmax(), shared.shape)
            matched[int(row)] = self._tracks[column]
            shared[row, :] = shared[:, column] = -1
        return [self._seen(matched.get(row), box, seconds) for row, box in enumerate(boxes)]

    def _seen(self, track: _Track | None, box: NDArray[np.float64], seconds: float) -> int:
        if track is None:
            self.count += 1
            track = _Track(self.count, box, seconds)
            self._tracks.append(track)
        track.box, track.seconds = box, seconds
        return track.identity
