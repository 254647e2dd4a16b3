"""Where results go: an MP4, a CSV, the screen. A file appears under its name when it is whole."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import cv2

from whc.data.preprocess import Image
from whc.demo.classifier import Verdict
from whc.demo.overlay import Size
from whc.errors import UsageError

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
    """An MP4 of the drawn frames.

    Args:
        path: ends in .mp4.
        size: height and width of the drawn frames, even.
        fps: frames a second at which it plays.

    Raises:
        UsageError: it cannot be written.
    """
    with replacing(path, ".mp4") as temporary:
        writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*"mp4v"), fps, (size[1], size[0]))
        if not writer.isOpened():
            raise UsageError(f"{path}: must be a video that OpenCV can encode, got a refusal; choose --csv instead")
        written = 0

        def write(result: Result) -> bool:
            nonlocal written
            writer.write(cv2.cvtColor(result.shown, cv2.COLOR_RGB2BGR))
            written += 1
            return True

        try:
            yield write
        finally:
            writer.release()
        _check_video(path, temporary, written)


def _check_video(path: Path, temporary: Path, written: int) -> None:
    """OpenCV's writer never reports a failure, such as a full disk: count what it wrote."""
    capture = cv2.VideoCapture(str(temporary), cv2.CAP_FFMPEG)
    held = int(capture.get(cv2.CAP_PROP_FRAME_COUNT)) if capture.isOpened() else 0
    capture.release()
    if held != written:
        raise UsageError(f"{path}: must hold {written} frames, got {held}; is the disk full?")


@contextmanager
def csv_file(path: Path, columns: Sequence[str]) -> Iterator[Write]:
    """A table with a row for each frame.

    `label` is the one called. With two labels `probability` is that of the positive one, and `positive` 0 or 1; with
    more it is that of the label called, and each label has a column `prob_<label>`. The verdict's columns are empty
    until there is one; `latency_ms` is empty where the verdict is an earlier frame's.

    Args:
        path: ends in .csv.
        columns: names of the numbers that the model gives, from `Classifier.columns`.

    Raises:
        UsageError: it cannot be written.
    """
    lone = len(columns) == 1
    header = ("frame", "seconds", "label", "probability", *(("positive",) if lone else columns), "latency_ms")
    with replacing(path, ".csv") as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(header)

        def write(result: Result) -> bool:
            verdict = result.verdict
            cells: Sequence[object] = [""] * (len(header) - 2)
            if verdict is not None:
                told = (int(verdict.positive),) if lone else (f"{value:.6f}" for value in verdict.output)
                latency = f"{verdict.latency_ms:.3f}" if result.fresh else ""
                cells = (verdict.label, f"{verdict.probability:.6f}", *told, latency)
            rows.writerow((result.number, f"{result.seconds:.3f}", *cells))
            return True

        yield write


@contextmanager
def replacing(path: Path, suffix: str) -> Iterator[Path]:
    """A temporary path that replaces `path` when the block succeeds and is removed when it fails.

    Raises:
        UsageError: `path` does not end in `suffix`, is a folder, or cannot be written.
    """
    if path.suffix.lower() != suffix:
        raise UsageError(f"{path}: must end in {suffix}, got {path.suffix!r}; rename it")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{suffix}")  # OpenCV goes by the suffix
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(None, "a folder")
        temporary.touch()
        yield temporary
        temporary.replace(path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise UsageError(f"{path}: must be a file that can be written, got: {reason}; choose another path") from error
    finally:
        if temporary.parent.is_dir():
            temporary.unlink(missing_ok=True)


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
