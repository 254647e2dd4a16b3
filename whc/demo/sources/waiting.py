"""Sources that may block: a thread opens, reads and closes them, so that a signal ends the run while nothing comes."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace

from whc.data.video import Frame
from whc.demo.ending import Ending
from whc.demo.sources.source import Source
from whc.errors import DataError, WhcError

_LOOK_SECONDS = 0.1  # between two looks for a signal
_CLOSE_SECONDS = 1.0  # for a camera to close; a read that blocks for longer is left to itself


@contextmanager
def read(
    opening: AbstractContextManager[Source], ending: Ending | None, open_s: float | None, name: str
) -> Iterator[Source]:
    """A source that a thread reads.

    Of a live source only the newest frame waits to be taken: a new frame replaces it, which counts as dropped. Of
    others each frame waits.

    Args:
        opening: opens the source; entered and left in the thread.
        ending: a signal in it ends the stream; None: signals are not looked for.
        open_s: seconds in which the first frame must come; None: any time.
        name: of the source, for errors.

    Raises:
        WhcError: as `opening`.
        DataError: no frame came in time.
        KeyboardInterrupt: a signal came before the first frame.
    """
    reading = _Reading(opening, ending or Ending())
    thread = threading.Thread(target=reading.run, daemon=True, name="whc source")
    thread.start()
    try:
        yield reading.source(open_s, name)
    finally:
        reading.close()
        thread.join(_CLOSE_SECONDS)


class _Reading:
    """What the thread and the run share; all changes are made under `_changed`."""

    def __init__(self, opening: AbstractContextManager[Source], ending: Ending) -> None:
        self._opening, self._ending = opening, ending
        self._changed = threading.Condition()
        self._inner: Source | None = None
        self._outer: Source | None = None
        self._frame: Frame | None = None
        self._error: WhcError | None = None
        self._has_ended = self._is_closed = False

    def run(self) -> None:
        """Read the source; in the thread."""
        try:
            with self._opening as source:
                for frame in source:
                    if not self._hand_over(source, frame):
                        break
        except WhcError as error:
            self._error = error
        finally:
            with self._changed:
                self._has_ended = True
                self._changed.notify_all()

    def _hand_over(self, source: Source, frame: Frame) -> bool:
        """Leave a frame to be taken; False if the run needs no more."""
        with self._changed:
            self._inner = source
            if source.is_live and self._outer and self._frame:
                self._outer.dropped += 1
            elif not source.is_live:
                self._changed.wait_for(lambda: self._frame is None or self._is_closed)
            self._frame = frame
            self._changed.notify_all()
            return not self._is_closed

    def source(self, open_s: float | None, name: str) -> Source:
        """The source, as soon as its first frame is there."""
        deadline = None if open_s is None else time.monotonic() + open_s
        while not self._wait():
            if self._ending.signal:
                raise KeyboardInterrupt  # there is nothing to finish
            if deadline and time.monotonic() > deadline:
                raise DataError(f"{name}: must give a frame within {open_s:g} s, got none; check that it is on")
        if self._inner is None:
            raise self._error or RuntimeError(f"the thread that reads {name} ended without a frame")
        self._outer = replace(self._inner, frames=self._frames(self._inner))
        return self._outer

    def _wait(self) -> bool:
        """Wait for a frame or the end, for a moment; whether there is one of them."""
        with self._changed:
            return self._changed.wait_for(lambda: self._frame is not None or self._has_ended, _LOOK_SECONDS)

    def _frames(self, inner: Source) -> Iterator[Frame]:
        while not self._ending.signal:
            if not self._wait():
                continue
            with self._changed:
                frame, self._frame = self._frame, None
                self._changed.notify_all()
            if frame is None:
                break
            yield frame
        assert self._outer is not None  # noqa: S101
        self._outer.ended = "" if self._ending.signal else str(self._error or inner.ended)

    def close(self) -> None:
        """Let the thread end."""
        with self._changed:
            self._is_closed = True
            self._frame = None
            self._changed.notify_all()
