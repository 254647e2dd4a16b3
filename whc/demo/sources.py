"""Where frames come from: a camera, a video, a picture, a folder of pictures, or a rendered clip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from whc.data.pictures import is_still, pictures_below, read_picture, shown
from whc.data.preprocess import Image, Unreadable
from whc.data.video import Frame, Size, capture, constant_rate, frame_rate, open_video, read_rgb
from whc.errors import DataError, problem

FOLDER_FPS = 10.0  # at which images without a time of their own are timed and played
RENDERED_SECONDS = 3  # of each motion
MAX_CAMERA = 99  # from 100 on OpenCV takes the hundreds for the number of a backend
MAX_DIGITS = 10


@dataclass
class Source:
    """An open stream; iterate it once.

    `fps` is None for pictures, where every one counts. `size` is the first frame's height and width in pixels (pictures
    may differ); `count` is the number of frames as far as known beforehand. `skipped` counts files that are no
    pictures, `unreadable` names pictures that give no frame. `rate` gives the frames a second at which a video of
    constant rate keeps the frames' times; it may take a while.
    """

    name: str
    fps: float | None
    size: Size
    count: int | None
    frames: Iterator[Frame]
    rate: Callable[[], float]
    live: bool = False
    skipped: int = 0
    unreadable: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[Frame]:
        return self.frames


@contextmanager
def open_source(spec: str | None) -> Iterator[Source]:
    """Open a source and close it at the end.

    Args:
        spec: a camera's number, the path of a video, of a picture or of a folder of pictures (and its subfolders), or
            None for a rendered clip.

    Raises:
        DataError: nothing there, or nothing in it that can be shown.
    """
    if spec is None:
        yield _rendered()
    elif spec.isdecimal():
        with capture(_camera_number(spec)) as opened:
            yield _camera(opened, spec)
    elif Path(spec).is_dir():
        yield _pictures(spec, *pictures_below(Path(spec)))
    elif not Path(spec).is_file():
        raise DataError(
            f"{shown(spec)}: must be a camera's number, a video, a picture or a folder of pictures, got nothing there; "
            "check the path"
        )
    elif is_still(Path(spec)):
        yield _pictures(spec, [Path(spec)], 0)
    else:
        with open_video(spec) as video:
            yield Source(spec, video.fps, video.size, video.count, video.frames, partial(constant_rate, video))


def _camera_number(text: str) -> int:
    number = int(text) if len(text) < MAX_DIGITS else MAX_CAMERA + 1
    if number > MAX_CAMERA:
        raise DataError(problem("camera", f"must be a number in 0..{MAX_CAMERA}", text, "see `ls /dev/video*`"))
    return number


def _camera(opened: cv2.VideoCapture, number: str) -> Source:
    if not opened.isOpened():
        raise DataError(f"camera {number}: must be connected and free, got none; list cameras with `ls /dev/video*`")
    first = read_rgb(opened)
    if first is None:
        raise DataError(f"camera {number}: must give pictures, got none; close other programs that use it")
    fps = frame_rate(opened)
    return Source(f"camera {number}", fps, _size(first), None, _filmed(opened, first), lambda: fps, live=True)


def _filmed(opened: cv2.VideoCapture, first: Image) -> Iterator[Frame]:
    picture: Image | None = first
    started = time.monotonic()
    while picture is not None:
        yield Frame(picture, time.monotonic() - started)
        picture = read_rgb(opened)


def _size(picture: Image) -> Size:
    return picture.shape[0], picture.shape[1]


def _pictures(name: str, files: list[Path], skipped: int) -> Source:
    source = Source(name, None, (0, 0), len(files), iter(()), lambda: FOLDER_FPS, skipped=skipped)
    pictures = _readable(files, source)
    first = next(pictures, None)
    if first is None:
        raise DataError(
            f"{shown(name)}: must hold images that can be decoded, got none of {len(files)}; "
            f"check the first, {source.unreadable[0]}"
        )
    source.size = _size(first)
    source.frames = _numbered(first, pictures)
    return source


def _readable(files: list[Path], source: Source) -> Iterator[Image]:
    for path in files:
        try:
            yield read_picture(path)
        except Unreadable as error:
            source.unreadable.append(f"{shown(str(path))}: {error}")


def _numbered(first: Image, others: Iterator[Image]) -> Iterator[Frame]:
    yield Frame(first, 0.0)
    for number, picture in enumerate(others, 1):
        yield Frame(picture, number / FOLDER_FPS)


def _rendered() -> Source:
    # Here, because the renderer brings the data set's libraries, which a device with a camera can do without.
    from whc.data.synthetic import FRAME_RATE, Motion, clip

    shown: tuple[Motion, ...] = ("still", "waving", "passing", "waving")
    frames = RENDERED_SECONDS * FRAME_RATE
    pictures = np.concatenate([clip(seed, motion, frames) for seed, motion in enumerate(shown)])
    timed = (Frame(picture, number / FRAME_RATE) for number, picture in enumerate(pictures))
    return Source("rendered clip", FRAME_RATE, _size(pictures[0]), len(pictures), timed, lambda: FRAME_RATE)
