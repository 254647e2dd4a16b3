"""An open stream of frames, of whatever kind."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from whc.data.preprocess import Image
from whc.data.video import ASSUMED_FPS, MAX_RATE, Frame, Size


@dataclass
class Source:
    """An open stream; iterate it once.

    `name` has no password. `fps` is None for pictures, which all count. `size` is the first frame's height and width in
    pixels (pictures may differ). `count` is the number of frames, None if it is unknown. `rate` returns the frames a
    second with which a video of constant rate shows each frame at its own time; the call may take seconds. `is_live`:
    frames come at their own time, and those that come too fast are left out; `dropped` counts them. `skipped` counts
    files that are no pictures, `unreadable` names pictures that cannot be decoded. `ended` says what ended the stream,
    empty if that was to be expected.
    """

    name: str
    fps: float | None
    size: Size
    count: int | None
    frames: Iterator[Frame]
    rate: Callable[[], float]
    is_live: bool = False
    dropped: int = 0
    skipped: int = 0
    unreadable: list[str] = field(default_factory=list)
    ended: str = ""

    def __iter__(self) -> Iterator[Frame]:
        return self.frames


def size_of(picture: Image) -> Size:
    """Height and width of a picture (H, W, 3)."""
    return picture.shape[0], picture.shape[1]


def live_rate(fps: float) -> float:
    """The frames a second of a stream that is still to come: as it says, unless that is absurd."""
    return fps if 1 <= fps <= MAX_RATE else ASSUMED_FPS
