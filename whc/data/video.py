"""Video files, frame by frame."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from whc.data.pictures import require_utf8
from whc.data.preprocess import TOO_LARGE, Image
from whc.environment import MAX_PIXELS
from whc.errors import DataError, problem

Size = tuple[int, int]

SCANNED_FRAMES = 300
MAX_RATE = 60.0
ASSUMED_FPS = 30.0  # of a camera or a video that does not tell

_SLACK = 0.01  # share by which a video may run slower than it is sampled: 29.97 frames a second pass for 30


class Frame(NamedTuple):
    """An RGB uint8 picture (H, W, 3) and its time since the first frame."""

    picture: Image
    seconds: float


@dataclass(frozen=True)
class Video:
    """An open video; iterate it once.

    `fps` is in frames a second, ASSUMED_FPS where the file does not tell. `size` is the height and width in pixels of
    every frame. `count` is the number of frames that the file's header tells, None where it tells none.
    """

    path: str
    fps: float
    size: Size
    count: int | None
    frames: Iterator[Frame]

    def __iter__(self) -> Iterator[Frame]:
        return self.frames


@contextmanager
def open_video(path: Path | str) -> Iterator[Video]:
    """Open a video and close it at the end.

    Pictures are upright, as a phone's file tells. A stream whose frames change size midway is stretched to the size of
    its first frame (OpenCV does it), as every picture is stretched to the network's input later. A damaged file ends
    where it can no longer be decoded: compare `count`.

    Raises:
        DataError: nothing there, or nothing in it that can be decoded.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: must be a video, got nothing there; check the path")
    require_utf8(path, DataError)
    # As an absolute path: FFmpeg takes `concat:a.mp4` for a protocol.
    with capture(os.path.abspath(path)) as opened:  # noqa: PTH100 (resolve would follow links)
        if not opened.isOpened():
            raise DataError(f"{path}: must be a video that FFmpeg can decode, got something else; convert it to MP4")
        width, height = (int(opened.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MAX_PIXELS:
            rule = f"must have frames of at most {TOO_LARGE}"
            raise DataError(problem(str(path), rule, f"{width}x{height}", "make it smaller"))
        first = read_rgb(opened)
        if first is None:
            raise DataError(f"{path}: must have frames that can be decoded, got none; convert or download it again")
        count = int(opened.get(cv2.CAP_PROP_FRAME_COUNT))
        fps = frame_rate(opened)
        size = (first.shape[0], first.shape[1])
        yield Video(str(path), fps, size, count if count > 0 else None, _decoded(opened, first, fps))


@contextmanager
def capture(what: int | str) -> Iterator[cv2.VideoCapture]:
    """OpenCV's reader of a camera (by number) or a file, released at the end."""
    # FFmpeg alone for files: other backends take a name such as img_01.png for a sequence.
    opened = cv2.VideoCapture(what, cv2.CAP_ANY if isinstance(what, int) else cv2.CAP_FFMPEG)
    try:
        yield opened
    finally:
        opened.release()


def read_rgb(opened: cv2.VideoCapture) -> Image | None:
    """The next frame as RGB uint8 (H, W, 3), or None at the end."""
    there, picture = opened.read()
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8) if there else None


def frame_rate(opened: cv2.VideoCapture) -> float:
    """Frames a second, ASSUMED_FPS where they are not told."""
    fps = float(opened.get(cv2.CAP_PROP_FPS))
    return fps if math.isfinite(fps) and fps > 0 else ASSUMED_FPS


def _decoded(opened: cv2.VideoCapture, first: Image, fps: float) -> Iterator[Frame]:
    start = seconds = opened.get(cv2.CAP_PROP_POS_MSEC) / 1000
    yield Frame(first, 0.0)
    while (picture := read_rgb(opened)) is not None:
        seconds = _moment(opened, seconds, fps)
        yield Frame(picture, seconds - start)


def _moment(opened: cv2.VideoCapture, before: float, fps: float) -> float:
    """Seconds at which the frame just read stands in the file; some files hold no times, or times that jump back."""
    seconds = float(opened.get(cv2.CAP_PROP_POS_MSEC)) / 1000
    return seconds if seconds > before else before + 1 / fps


def constant_rate(video: Video) -> float:
    """Frames a second at which a video of constant rate can show each frame at its own time.

    That is `video.fps` where the frames keep that pace. Otherwise (a phone's or a screen's recording) it is that of the
    nearest two of the first SCANNED_FRAMES, MAX_RATE at most. The file is opened once more for it.
    """
    times = [0.0]
    with capture(os.path.abspath(video.path)) as opened:  # noqa: PTH100
        opened.grab()
        start = seconds = opened.get(cv2.CAP_PROP_POS_MSEC) / 1000
        while len(times) < SCANNED_FRAMES and opened.grab():
            seconds = _moment(opened, seconds, video.fps)
            times.append(seconds - start)
    if all(abs(seconds * video.fps - number) < 0.5 for number, seconds in enumerate(times)):
        return video.fps
    return min(MAX_RATE, max(video.fps, *(1 / (later - earlier) for earlier, later in pairwise(times))))


def sampled(video: Video, fps: float) -> Iterator[tuple[int, Image]]:
    """The frame nearest to each of the instants 0, 1/fps, 2/fps ... with the instant's number.

    A gap in the stream leaves out its instants.

    Raises:
        DataError: the video has fewer frames a second than are asked for.
    """
    if fps > video.fps * (1 + _SLACK):
        rule = f"must have at least the {fps:g} frames a second asked for"
        raise DataError(f"{video.path}: {rule}, got {video.fps:g}; use a lower --fps")
    next_number = 0
    for picture, seconds in video:
        number = math.floor((seconds + 0.5 / video.fps) * fps)
        if number >= next_number:
            yield number, picture
            next_number = number + 1
