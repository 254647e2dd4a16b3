"""What the model says of the parts of a stream's frames, and of one region of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from whc.data.preprocess import Image
from whc.demo.regions import WHOLE_FRAME, Region
from whc.demo.runnable import RunnableModel, Verdict
from whc.demo.window import Window
from whc.tasks.smoothing import Votes

if TYPE_CHECKING:
    from whc.data.cropping import Edges


class Found(NamedTuple):
    """A box of a detector: who it is, its score, and the box cx, cy, w, h in shares of the picture."""

    identity: int
    score: float
    box: tuple[float, ...]


class Status(NamedTuple):
    """What the decisions of a person come to over time: the state, () before the first; its name; and its changes."""

    state: Votes
    name: str
    events: tuple[str, ...]


class Sighting(NamedTuple):
    """What the model says of one part of a frame.

    `verdict` is the latest, None before the first; `is_fresh`: it is of this frame. `edges` are those of the part that
    the model saw, None for the complete frame; `found` is the person, None without a detector. `status` is None for
    pictures, which have no time.
    """

    verdict: Verdict | None
    is_fresh: bool
    edges: Edges | None
    found: Found | None
    status: Status | None = None


Watch = Callable[[Image, float], list[Sighting]]
"""From the next frame of a stream and its time in seconds to what the model says of its parts."""


def watch_region(model: RunnableModel, region: Region, fps: float | None) -> Watch:
    """Look at the same part of each frame."""
    viewer = Viewer(model, fps)

    def watch(picture: Image, seconds: float) -> list[Sighting]:
        edges = None if region == WHOLE_FRAME else region.pixels(picture.shape[0], picture.shape[1])
        return [Sighting(*viewer.see(region.crop(picture), seconds), edges, None)]

    return watch


@dataclass
class Viewer:
    """The window of the frames of one person, and the latest verdict."""

    model: RunnableModel
    fps: float | None
    verdict: Verdict | None = None

    def __post_init__(self) -> None:
        metadata = self.model.metadata
        self._window = Window(metadata.frames, metadata.frame_rate, self.fps)

    def see(self, picture: Image, seconds: float) -> tuple[Verdict | None, bool]:
        """The latest verdict after the next frame, and whether it is of this frame."""
        if not self._window.takes(seconds):
            return self.verdict, False
        self._window.push(self.model.prepare(picture))
        if self._window.missing:
            return self.verdict, False
        self.verdict = self.model.decide(self._window.stack())
        return self.verdict, True
