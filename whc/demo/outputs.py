"""Outputs of a run: a video, a CSV file, the screen. A file gets its name only when it is complete."""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import cv2

from whc.data.pictures import require_utf8
from whc.data.preprocess import Image
from whc.demo.events import PersonEvents
from whc.demo.overlay import Size
from whc.demo.viewing import Sighting
from whc.errors import UsageError
from whc.records.writing import replacing
from whc.tasks.answers import Answers

MAX_HELD_SECONDS = 60.0
PERSON_COLUMNS = ("person", "box_score", "cx", "cy", "w", "h")  # the box in shares of the frame
STATE_COLUMNS = ("state", "event")  # smoothed over time
_VIDEO_CODECS = {".webm": "VP80", ".mp4": "mp4v"}
_QUIT_KEYS = {ord("q"), ord("Q"), 27}


class Result(NamedTuple):
    """One frame of a run: its number from 0, its time in the stream in seconds, its drawing (RGB).

    `sightings` are what the model says of its parts: one without a detector, else one for each person. `doubt` says why
    the model should not be believed here, empty if nothing does. `gone` are people whose states end as they have gone.
    """

    number: int
    seconds: float
    drawing: Image
    sightings: Sequence[Sighting]
    doubt: str = ""
    gone: Sequence[PersonEvents] = ()


Write = Callable[[Result], bool]
"""Takes the results in order; returns False to stop the run."""


@contextmanager
def video_file(path: Path, size: Size, fps: float) -> Iterator[Write]:
    """A video of the drawn frames at a constant rate; each frame is at its own time to within half a frame.

    A frame is repeated until the time of the next frame, at most for MAX_HELD_SECONDS. It is left out if the next frame
    has the same place in the video.

    Args:
        path: ends in .webm (VP8) or .mp4 (MPEG-4 part 2, which browsers do not play).
        size: height and width of the drawn frames, both even.
        fps: frames a second of the video.

    Raises:
        UsageError: the video cannot be written.
    """
    _require_suffix(path, tuple(_VIDEO_CODECS))
    require_utf8(path, UsageError)
    with _replacing_output(path) as temporary:
        codec = cv2.VideoWriter.fourcc(*_VIDEO_CODECS[path.suffix.lower()])
        with _silent_stderr():
            writer = cv2.VideoWriter(str(temporary), cv2.CAP_FFMPEG, codec, fps, (size[1], size[0]))
        if not writer.isOpened():
            raise UsageError(f"{path}: must be a video that OpenCV can encode, got a refusal; choose --csv instead")
        reel = _Reel(writer, fps)
        try:
            yield reel.add
        finally:
            reel.end()
            writer.release()
        _check_video(path, temporary, reel.frames)


class _Reel:
    """Repeats each frame in a video of constant rate for as long as it is on the screen."""

    def __init__(self, writer: cv2.VideoWriter, fps: float) -> None:
        self._writer, self._fps = writer, fps
        self._pending: Image | None = None
        self._skipped = 0  # places of a long gap that are not filled
        self.frames = 0  # number of frames written

    def add(self, result: Result) -> bool:
        """Write the pending frame up to the time of this frame, which is pending then."""
        place = round(result.seconds * self._fps) - self._skipped
        last_place = self.frames + max(1, round(MAX_HELD_SECONDS * self._fps))
        if place > last_place:
            self._skipped += place - last_place
        self._fill(min(place, last_place))
        self._pending = cv2.cvtColor(result.drawing, cv2.COLOR_RGB2BGR)
        return True

    def end(self) -> None:
        """Write the pending frame."""
        self._fill(self.frames + 1)

    def _fill(self, place: int) -> None:
        while self._pending is not None and self.frames < place:
            self._writer.write(self._pending)
            self.frames += 1


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Suppress a warning of OpenCV: WebM lacks AVI's name of the codec, and OpenCV then finds the right name."""
    sys.stderr.flush()
    original, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(devnull, 2)
        yield
    finally:
        os.dup2(original, 2)
        os.close(original)
        os.close(devnull)


def _check_video(path: Path, temporary: Path, expected_frames: int) -> None:
    """Count the frames of a video, because OpenCV's writer reports no failure, such as a full disk."""
    capture = cv2.VideoCapture(str(temporary), cv2.CAP_FFMPEG)
    frames = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if frames != expected_frames:
        raise UsageError(f"{path}: must hold {expected_frames} frames, got {max(frames, 0)}; is the disk full?")


@contextmanager
def csv_file(path: Path, answers: Answers, has_people: bool = False) -> Iterator[Write]:
    """A table with a row for each frame, or with a row for each person in each frame.

    The columns are `frame`, `seconds`, those of PERSON_COLUMNS if there are people, those of the task for frames,
    `latency_ms`, and STATE_COLUMNS. The task's cells are empty before the first verdict; `latency_ms` is empty if the
    verdict is of an earlier frame. `state` is empty before the first state, `event` where nothing changes (several are
    parted by `; `). A frame in which nobody is found has one row with empty cells; a person who has gone has a last row
    with the event.

    Args:
        path: ends in .csv.
        answers: those of the model.
        has_people: whether a detector finds people.

    Raises:
        UsageError: the file cannot be written.
    """
    person_columns = PERSON_COLUMNS if has_people else ()
    header = ("frame", "seconds", *person_columns, *answers.frame_columns, "latency_ms", *STATE_COLUMNS)
    with table(path) as write_row:
        write_row(header)

        def write(result: Result) -> bool:
            rows = [(*_person_cells(s), *_verdict_cells(s, answers), *_status_cells(s)) for s in result.sightings]
            empty = ("",) * (len(header) - 5)
            rows += [(str(who), *empty, "", "; ".join(events)) for who, events in result.gone]
            for cells in rows or [("",) * (len(header) - 2)]:
                write_row((result.number, f"{result.seconds:.3f}", *cells))
            return True

        yield write


def _person_cells(sighting: Sighting) -> tuple[str, ...]:
    if sighting.found is None:
        return ()
    found = sighting.found
    return (str(found.identity), f"{found.score:.3f}", *(f"{share:.6f}" for share in found.box))


def _verdict_cells(sighting: Sighting, answers: Answers) -> tuple[str, ...]:
    verdict = sighting.verdict
    if verdict is None:
        return ("",) * (len(answers.frame_columns) + 1)
    return (*answers.frame_cells(verdict.output), f"{verdict.latency_ms:.3f}" if sighting.is_fresh else "")


def _status_cells(sighting: Sighting) -> tuple[str, str]:
    status = sighting.status
    return (status.name, "; ".join(status.events)) if status else ("", "")


@contextmanager
def table(path: Path) -> Iterator[Callable[[Iterable[object]], object]]:
    """A CSV file; yields a function that writes a row.

    Raises:
        UsageError: `path` does not end in .csv, is a folder, or cannot be written.
    """
    with text_file(path, ".csv") as write:
        yield csv.writer(SimpleNamespace(write=write)).writerow


@contextmanager
def text_file(path: Path, suffix: str) -> Iterator[Callable[[str], None]]:
    """A file of text; yields a function that writes a part of it.

    Raises:
        UsageError: `path` does not end in `suffix`, is a folder, or cannot be written.
    """
    _require_suffix(path, (suffix,))
    with _replacing_output(path) as temporary:
        with _as_usage_error(path):
            file = temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="")

        def write(text: str) -> None:
            with _as_usage_error(path):
                file.write(text)

        try:
            yield write
            with _as_usage_error(path):
                file.close()
        finally:
            with suppress(OSError):  # after a failed write, closing the file fails too
                file.close()


@contextmanager
def _replacing_output(path: Path) -> Iterator[Path]:
    """As `replacing`, but its own errors are UsageErrors; errors of the block stay unchanged."""
    with ExitStack() as stack:
        with _as_usage_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                raise IsADirectoryError(None, "a folder")
            temporary = stack.enter_context(replacing(path))
            temporary.touch()
        yield temporary
        with _as_usage_error(path):
            stack.close()


def _require_suffix(path: Path, suffixes: Sequence[str]) -> None:
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: must end in {' or '.join(suffixes)}, got {path.suffix!r}; rename it")


@contextmanager
def _as_usage_error(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: must be a file that can be written, got: {reason}; choose another path") from error


@contextmanager
def screen(title: str, is_paced: bool) -> Iterator[Write]:
    """A window on the screen; q, Esc or closing the window stops the run.

    Args:
        title: title of the window.
        is_paced: whether each frame waits for its time in the stream; not for a camera.

    Raises:
        UsageError: this OpenCV cannot open windows.
    """
    try:
        cv2.namedWindow(title, cv2.WINDOW_AUTOSIZE)
    except cv2.error as error:
        raise UsageError("display: must be one that OpenCV can open windows on, got none; use --headless") from error
    started = time.monotonic()

    def write(result: Result) -> bool:
        cv2.imshow(title, cv2.cvtColor(result.drawing, cv2.COLOR_RGB2BGR))
        early_ms = (result.seconds - (time.monotonic() - started)) * 1000 if is_paced else 0
        key = cv2.waitKey(max(1, round(early_ms))) & 0xFF
        return key not in _QUIT_KEYS and cv2.getWindowProperty(title, cv2.WND_PROP_VISIBLE) >= 1

    try:
        yield write
    finally:
        cv2.destroyAllWindows()
