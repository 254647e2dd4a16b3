"""Video files, frame by frame."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
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
ASSUMED_FPS = 30.0  # for a camera or a video without a frame rate

_RATE_TOLERANCE = 0.01  # a video may be this share slower than the sampling rate: 29.97 frames a second count as 30


class Frame(NamedTuple):
    """An RGB uint8 picture (H, W, 3) and its time since the first frame."""

    picture: Image
    seconds: float


@dataclass(frozen=True)
class Video:
    """An open video; iterate it once.

    `fps` is in frames a second, ASSUMED_FPS where the file has no frame rate. `size` is the height and width in pixels
    of every frame. `count` is the number of frames in the file's header, None where it has none.
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

    Pictures are turned upright, as the file's rotation says. If frames change size midway, OpenCV stretches them to the
    size of the first frame; every picture is stretched to the network's input later. A damaged file ends where it can
    no longer be decoded: compare `count`.

    Raises:
        DataError: the file does not exist, or has no frame that can be decoded.
    """
    if not Path(path).is_file():
        raise DataError(f"{path}: must be a video, got nothing there; check the path")
    require_utf8(path, DataError)
    # An absolute path, because FFmpeg reads `concat:a.mp4` as a protocol.
    with capture(os.path.abspath(path)) as reader:  # noqa: PTH100 (resolve would follow links)
        if not reader.isOpened():
            raise DataError(f"{path}: must be a video that FFmpeg can decode, got something else; convert it to MP4")
        yield begun(reader, str(path))


def begun(reader: cv2.VideoCapture, name: str) -> Video:
    """The video in an open reader, whose first frame is read.

    Raises:
        DataError: there is no frame that can be decoded, or it is too large.
    """
    width, height = (int(reader.get(side)) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > MAX_PIXELS:
        rule = f"must have frames of at most {TOO_LARGE}"
        raise DataError(problem(name, rule, f"{width}x{height}", "make it smaller"))
    first_picture = read_rgb(reader)
    if first_picture is None:
        raise DataError(f"{name}: must have frames that can be decoded, got none; convert or download it again")
    count = int(reader.get(cv2.CAP_PROP_FRAME_COUNT))
    fps = frame_rate(reader)
    size = (first_picture.shape[0], first_picture.shape[1])
    return Video(name, fps, size, count if count > 0 else None, _decoded(reader, first_picture, fps))


@contextmanager
def capture(
    source: int | str, backend: int = cv2.CAP_FFMPEG, settings: Sequence[int] = ()
) -> Iterator[cv2.VideoCapture]:
    """OpenCV's reader of a camera, a file or an address, released at the end.

    Args:
        source: a camera's number, or a path or address.
        backend: of OpenCV. For files FFmpeg alone: others read a name such as img_01.png as a sequence.
        settings: properties of OpenCV with their values, in turn.
    """
    reader = cv2.VideoCapture(source, backend, settings)
    try:
        yield reader
    finally:
        reader.release()


def read_rgb(reader: cv2.VideoCapture) -> Image | None:
    """The next frame as RGB uint8 (H, W, 3), or None at the end."""
    has_frame, picture = reader.read()
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2RGB), np.uint8) if has_frame else None


def frame_rate(reader: cv2.VideoCapture) -> float:
    """Frames a second, ASSUMED_FPS where they are unknown."""
    fps = float(reader.get(cv2.CAP_PROP_FPS))
    return fps if math.isfinite(fps) and fps > 0 else ASSUMED_FPS


def _decoded(reader: cv2.VideoCapture, first_picture: Image, fps: float) -> Iterator[Frame]:
    start = seconds = reader.get(cv2.CAP_PROP_POS_MSEC) / 1000
    yield Frame(first_picture, 0.0)
    while (picture := read_rgb(reader)) is not None:
        seconds = _frame_time(reader, seconds, fps)
        yield Frame(picture, seconds - start)


def _frame_time(reader: cv2.VideoCapture, previous: float, fps: float) -> float:
    """Time in seconds of the last frame read; it is estimated where a file has no times, or times that jump back."""
    seconds = float(reader.get(cv2.CAP_PROP_POS_MSEC)) / 1000
    return seconds if seconds > previous else previous + 1 / fps


def constant_rate(video: Video) -> float:
    """Constant frame rate at which each frame of a video can be shown at its own time.

    That is `video.fps` where the frames keep that rate. Otherwise (a phone's or a screen's recording) the two nearest
    of the first SCANNED_FRAMES decide, up to MAX_RATE. The file is opened again for this.
    """
    times = [0.0]
    with capture(os.path.abspath(video.path)) as reader:  # noqa: PTH100
        reader.grab()
        start = seconds = reader.get(cv2.CAP_PROP_POS_MSEC) / 1000
        while len(times) < SCANNED_FRAMES and reader.grab():
            seconds = _frame_time(reader, seconds, video.fps)
            times.append(seconds - start)
    if all(abs(seconds * video.fps - number) < 0.5 for number, seconds in enumerate(times)):
        return video.fps
    return min(MAX_RATE, max(video.fps, *(1 / (later - earlier) for earlier, later in pairwise(times))))


def sampled(video: Video, fps: float) -> Iterator[tuple[int, Image]]:
    """The frame nearest to each of the times 0, 1/fps, 2/fps ... with the number of that time.

    Times in a gap of the stream are left out.

    Raises:
        DataError: the video has fewer frames a second than `fps`.
    """
    if fps > video.fps * (1 + _RATE_TOLERANCE):
        rule = f"must have at least the {fps:g} frames a second asked for"
        raise DataError(f"{video.path}: {rule}, got {video.fps:g}; use a lower --fps")
    next_number = 0
    for picture, seconds in video:
        number = math.floor((seconds + 0.5 / video.fps) * fps)
        if number >= next_number:
            yield number, picture
            next_number = number + 1
