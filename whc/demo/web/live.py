"""A source of this machine with what a model says of it, for browsers: JPEG frames, one after another."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import cv2

from whc.demo import overlay, people
from whc.demo.ending import Ending
from whc.demo.events import States
from whc.demo.model import LoadedModel
from whc.demo.outputs import Result
from whc.demo.people import Finder
from whc.demo.regions import Region
from whc.demo.run import results
from whc.demo.sources import open_source
from whc.demo.tracking import memory_seconds
from whc.errors import WhcError

JPEG_QUALITY = 85
Frames = Callable[[Ending], AbstractContextManager[Iterator[Result]]]
"""Opens a source, which an ending stops; closes it at the end of the block."""


def frames_of(model: LoadedModel, source: str | None, region: Region | Finder) -> Frames:
    """What opens a source with what a model says of it; frames of files come at their own time.

    Args:
        model: the model to run.
        source: as for `run`.
        region: the part of each frame that the model sees, or what finds the crops.

    Raises:
        UsageError: the model does not suit the detector.
    """
    view = people.look_for(model, region) if isinstance(region, Finder) else region

    @contextmanager
    def opened(ending: Ending) -> Iterator[Iterator[Result]]:
        with open_source(source, ending) as stream:
            states = States(model.task, memory_s=memory_seconds(stream.fps)) if stream.fps else None
            drawings = results(model, stream, view, overlay.canvas_size(*stream.size), states)
            yield drawings if stream.is_live else _paced(drawings)

    return opened


def _paced(drawings: Iterator[Result]) -> Iterator[Result]:
    started = time.monotonic()
    for result in drawings:
        time.sleep(max(0.0, started + result.seconds - time.monotonic()))
        yield result


class Broadcast:
    """The newest frame for all viewers; the source is open while there is one. Used from one event loop."""

    def __init__(self, frames: Frames) -> None:
        self._frames = frames
        self._turn = asyncio.Lock()  # for who opens or closes the source, as a camera can be open once
        self._showing: _Showing | None = None
        self.end = ""
        """Why no more frames come, empty while they do."""

    async def watch(self) -> AsyncIterator[bytes]:
        """JPEG files from now on, until the source ends; a slow viewer misses some."""
        async with self._turn:
            if self._showing is None or self._showing.is_over:
                self.end = ""
                self._showing = _Showing(self._frames, asyncio.get_running_loop())
            showing = self._showing
            showing.viewers += 1
        try:
            async for jpeg in showing.newest():
                yield jpeg
            self.end = showing.fault or "The source has ended."
        finally:
            async with self._turn:
                showing.viewers -= 1
                if not showing.viewers:
                    await showing.stop()
                    self._showing = None if self._showing is showing else self._showing


class _Showing:
    """One opening of the source: a thread that draws, until it is stopped or the source ends."""

    def __init__(self, frames: Frames, loop: asyncio.AbstractEventLoop) -> None:
        self._frames, self._loop = frames, loop
        self._newest: tuple[int, bytes] | None = None
        self._changed = asyncio.Event()
        self._ending = Ending()
        self._ended = asyncio.Event()
        self.viewers = 0
        self.is_over = False
        self.fault = ""
        # A daemon: the process may end while a camera blocks.
        threading.Thread(target=self._draw, daemon=True).start()

    async def newest(self) -> AsyncIterator[bytes]:
        """The newest frame each time, until the source ends."""
        seen = -1
        while True:
            if self._newest and self._newest[0] != seen:
                seen, jpeg = self._newest
                yield jpeg
            elif self.is_over:
                return
            else:
                await self._changed.wait()

    async def stop(self) -> None:
        """Close the source."""
        self._ending.signal = signal.SIGTERM
        await self._ended.wait()

    def _draw(self) -> None:
        try:
            with self._frames(self._ending) as drawings:
                for result in drawings:
                    if self._ending.signal:
                        break
                    self._loop.call_soon_threadsafe(self._publish, result.number, _jpeg(result))
        except WhcError as error:
            self.fault = str(error)
        except KeyboardInterrupt:
            pass  # the last viewer left before the first frame
        finally:
            self._loop.call_soon_threadsafe(self._end)

    def _publish(self, number: int, jpeg: bytes) -> None:
        self._newest = (number, jpeg)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def _end(self) -> None:
        self.is_over = True
        self._ended.set()
        self._changed.set()


def _jpeg(result: Result) -> bytes:
    picture = cv2.cvtColor(result.drawing, cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
