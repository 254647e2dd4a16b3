"""Where results go: a video, a CSV, the screen. A file appears under its name when it is whole."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import cv2

from whc.data.pictures import require_utf8
from whc.data.preprocess import Image
from whc.demo.model import Verdict
from whc.demo.overlay import Size
from whc.errors import UsageError
from whc.records import replacing
from whc.tasks import Task

MAX_HELD_SECONDS = 60.0
_CODECS = {".webm": "VP80", ".mp4": "mp4v"}
_QUIT_KEYS = {ord("q"), ord("Q"), 27}


class Result(NamedTuple):
    """One frame of a run: its number from 0, its time in the stream, the picture drawn (RGB), the latest verdict.

    `verdict` is None until there is one; `fresh` says that it was reached on this frame.
    """

    number: int
    seconds: float
    shown: Image
    verdict: Verdict | None
    fresh: bool


Write = Callable[[Result], bool]
"""Takes the results in order; False asks to stop."""


@contextmanager
def video_file(path: Path, size: Size, fps: float) -> Iterator[Write]:
    """A video of the drawn frames at a constant rate, in which each stands at its own time to half a frame.

    A frame is repeated until the next one's time has come, at most MAX_HELD_SECONDS, and left out when the next one's
    comes within the same.

    Args:
        path: ends in .webm (VP8) or .mp4 (MPEG-4 part 2, which browsers do not play).
        size: height and width of the drawn frames, even.
        fps: frames a second at which it plays.

    Raises:
        UsageError: it cannot be written.
    """
    _require_suffix(path, tuple(_CODECS))
    require_utf8(path, UsageError)
    with _written(path) as temporary:
        codec = cv2.VideoWriter.fourcc(*_CODECS[path.suffix.lower()])
        with _silent_stderr():
            writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, codec, fps, (size[1], size[0]))
        if not writer.isOpened():
            raise UsageError(f"{path}: must be a video that OpenCV can encode, got a refusal; choose --csv instead")
        reel = _Reel(writer, fps)
        try:
            yield reel.take
        finally:
            reel.end()
            writer.release()
        _check_video(path, temporary, reel.written)


class _Reel:
    """Gives a writer of constant rate each frame as often as its time on the screen asks for."""

    def __init__(self, writer: cv2.VideoWriter, fps: float) -> None:
        self._writer, self._fps = writer, fps
        self._held: Image | None = None
        self._skipped = 0  # places of a long gap that are not filled
        self.written = 0

    def take(self, result: Result) -> bool:
        """Hold this frame, after the last one has been written up to its time."""
        place = round(result.seconds * self._fps) - self._skipped
        most = self.written + max(1, round(MAX_HELD_SECONDS * self._fps))
        if place > most:
            self._skipped += place - most
        self._fill(min(place, most))
        self._held = cv2.cvtColor(result.shown, cv2.COLOR_RGB2BGR)
        return True

    def end(self) -> None:
        """Write the frame that is held."""
        self._fill(self.written + 1)

    def _fill(self, place: int) -> None:
        while self._held is not None and self.written < place:
            self._writer.write(self._held)
            self.written += 1


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep OpenCV from printing that WebM does not know AVI's name of the codec, which it then finds by itself."""
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nothing, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _check_video(path: Path, temporary: Path, written: int) -> None:
    """OpenCV's writer never reports a failure, such as a full disk: count what it wrote."""
    capture = cv2.VideoCapture(str(temporary), cv2.CAP_FFMPEG)
    held = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if held != written:
        raise UsageError(f"{path}: must hold {written} frames, got {max(held, 0)}; is the disk full?")


@contextmanager
def csv_file(path: Path, task: Task) -> Iterator[Write]:
    """A table with a row for each frame.

    Between `frame`, `seconds` and `latency_ms` stand the columns that the task has for frames. They are empty until
    there is a verdict; `latency_ms` is empty where the verdict is an earlier frame's.

    Args:
        path: ends in .csv.
        task: of the model.

    Raises:
        UsageError: it cannot be written.
    """
    header = ("frame", "seconds", *task.frame_columns, "latency_ms")
    with table(path) as write_row:
        write_row(header)

        def write(result: Result) -> bool:
            verdict = result.verdict
            cells: Sequence[object] = [""] * (len(header) - 2)
            if verdict is not None:
                cells = (*task.frame_cells(verdict.output), f"{verdict.latency_ms:.3f}" if result.fresh else "")
            write_row((result.number, f"{result.seconds:.3f}", *cells))
            return True

        yield write


@contextmanager
def table(path: Path) -> Iterator[Callable[[Iterable[object]], None]]:
    """A CSV file; yields a function that writes a row.

    Raises:
        UsageError: `path` does not end in .csv, is a folder, or cannot be written.
    """
    _require_suffix(path, (".csv",))
    with _written(path) as temporary:
        with _blames(path):
            file = temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="")
        rows = csv.writer(file)

        def write(row: Iterable[object]) -> None:
            with _blames(path):
                rows.writerow(row)

        try:
            yield write
            with _blames(path):
                file.close()
        finally:
            with suppress(OSError):  # what has failed before fails again when the file is closed
                file.close()


@contextmanager
def _written(path: Path) -> Iterator[Path]:
    """As `replacing`; an error of its own names `path`, one of the block (of the source, say) stays what it is."""
    with ExitStack() as stack:
        with _blames(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(None, "a folder")
            temporary = stack.enter_context(replacing(path))
            temporary.touch()
        yield temporary
        with _blames(path):
            stack.close()


def _require_suffix(path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: must end in {' or '.join(suffixes)}, got {path.suffix!r}; rename it")


@contextmanager
def _blames(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: must be a file that can be written, got: {reason}; choose another path") from error


@contextmanager
def screen(title: str, paced: bool) -> Iterator[Write]:
    """A window on the screen; q, Esc or closing it asks to stop.

    Args:
        title: of the window.
        paced: hold frames back until their time in the stream has come (a camera keeps its own).

    Raises:
        UsageError: this OpenCV has no windows.
    """
    try:
        cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE)
    except cv2.error as error:
        raise UsageError("display: must be one that OpenCV can open windows on, got none; use --headless") from error
    started = time.monotonic()

    def write(result: Result) -> bool:
        cv2.imshow(title, cv2.cvtColor(result.shown, cv2.COLOR_RGB2BGR))
        early_ms = (result.seconds - (time.monotonic() - started)) * 1000 if paced else 0
        pressed = cv2.waitKey(max(1, round(early_ms))) & 0xFF
        return pressed not in _QUIT_KEYS and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1

    try:
        yield write
    finally:
        cv2.destroyAllWindows()
