"""A window that shows a run, with a line of text below the picture, and its keys."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from whc.demo import overlay
from whc.demo.ending import Ending
from whc.demo.outputs import Result, Write, as_usage_error, replacing_output
from whc.demo.sources import Source
from whc.errors import UsageError, WhcError

KEYS = "space: pause  s: save the frame  m: next variant  d: details  q: quit"
MESSAGE_SECONDS = 4.0
_QUIT_KEYS = {ord("q"), ord("Q"), 27}
_LOOK_MS = 50  # between two looks for a signal
_SPEED_FRAMES = 30  # frames over which the shown speed is averaged


@dataclass
class Album:
    """Where single frames are saved; `paths` are those written."""

    folder: Path
    name: str
    paths: list[Path] = field(default_factory=list)

    def save(self, result: Result) -> Path:
        """Save the drawing of a frame as PNG, named by the time of day and the frame's number.

        Raises:
            UsageError: the file cannot be written.
        """
        path = self.folder / f"{self.name}-{datetime.now():%Y%m%d-%H%M%S}-{result.number}.png"
        png = cv2.imencode(".png", cv2.cvtColor(result.drawing, cv2.COLOR_RGB2BGR))[1].tobytes()
        with replacing_output(path) as temporary, as_usage_error(path):
            temporary.write_bytes(png)
        self.paths.append(path)
        return path


@contextmanager
def screen(
    title: str, stream: Source, ending: Ending, album: Album, change: Callable[[], str] | None, is_fast: bool = False
) -> Iterator[Write]:
    """A window on the screen; q, Esc or closing the window stops the run.

    Args:
        title: title of the window.
        stream: what is shown; frames that are not live wait for their time in the stream.
        ending: a signal in it ends a wait.
        album: where the key s saves a frame.
        change: changes the variant that comes next, and tells its name or why there is none; None: no other is known.
        is_fast: whether no frame waits for its time.

    Raises:
        UsageError: this OpenCV cannot open windows.
    """
    try:
        cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE)
    except cv2.error as error:
        raise UsageError("display: must be one that OpenCV can open windows on, got none; use --headless") from error
    try:
        yield _Screen(title, stream, ending, album, change or _no_change, is_fast or stream.is_live).write
    finally:
        cv2.destroyAllWindows()


def _no_change() -> str:
    return "no other variant is known"


class _Screen:
    def __init__(
        self, title: str, stream: Source, ending: Ending, album: Album, change: Callable[[], str], is_fast: bool
    ) -> None:
        self._title, self._stream, self._ending, self._album, self._change = title, stream, ending, album, change
        self._is_fast = is_fast
        self._started = time.monotonic()
        self._instants: deque[float] = deque(maxlen=_SPEED_FRAMES + 1)
        self._message, self._message_until = "", 0.0
        self._has_details = self._is_paused = False
        self._latency_ms: float | None = None

    def write(self, result: Result) -> bool:
        """Show a frame until the next one is due; False to stop."""
        self._instants.append(time.monotonic())
        for sighting in result.sightings:
            if sighting.verdict:
                self._latency_ms = sighting.verdict.latency_ms
        self._show(result)
        due = time.monotonic() if self._is_fast else self._started + result.seconds
        while True:
            left_ms = round(1000 * (due - time.monotonic()))
            paused_at = time.monotonic()
            key = cv2.waitKey(_LOOK_MS if self._is_paused else max(1, min(left_ms, _LOOK_MS))) & 0xFF
            if self._ending.signal or key in _QUIT_KEYS or cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1:
                return False
            if self._is_paused:
                paused_s = time.monotonic() - paused_at
                self._started, due = self._started + paused_s, due + paused_s
            if key != 0xFF and self._press(chr(key).lower(), result):
                self._show(result)
            if not self._is_paused and time.monotonic() >= due:
                return True

    def _press(self, key: str, result: Result) -> bool:
        """Do what a key says; False if it says nothing."""
        if key == " ":
            self._is_paused = not self._is_paused
        elif key == "d":
            self._has_details = not self._has_details
        elif key in ("s", "m"):
            try:
                self._say(f"saved {self._album.save(result)}" if key == "s" else self._change())
            except WhcError as error:
                self._say(str(error))
        else:
            return False
        return True

    def _say(self, message: str) -> None:
        self._message, self._message_until = message, time.monotonic() + MESSAGE_SECONDS

    def _show(self, result: Result) -> None:
        picture = np.concatenate([result.drawing, overlay.text_band(self._text(), result.drawing)])
        cv2.imshow(self._title, cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))

    def _text(self) -> str:
        """The message of the last key, or details, or the keys."""
        if time.monotonic() < self._message_until:
            return self._message
        if self._is_paused:
            return "paused; space goes on"
        return self._details() if self._has_details else KEYS

    def _details(self) -> str:
        parts = [] if self._latency_ms is None else [f"{self._latency_ms:.1f} ms"]
        if len(self._instants) > 1:
            parts.append(f"{(len(self._instants) - 1) / (self._instants[-1] - self._instants[0]):.0f} fps")
        height, width = self._stream.size
        return "  ".join((*parts, f"{self._stream.dropped} dropped", f"{width}x{height}", self._stream.name))
