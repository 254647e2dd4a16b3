"""Sources of frames: a camera, a video, a picture, a folder of pictures, or a rendered clip."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from whc.data.pictures import is_still, pictures_below, printable, read_picture
from whc.data.preprocess import Image, Unreadable
from whc.data.video import Frame, Size, capture, constant_rate, frame_rate, open_video, read_rgb
from whc.errors import DataError, problem

FOLDER_FPS = 10.0  # for images, which have no times
RENDERED_SECONDS = 3  # of each motion
MAX_CAMERA = 99  # from 100 on, OpenCV reads the hundreds as the number of a backend
MAX_DIGITS = 10


@dataclass
class Source:
    """An open stream; iterate it once.

    `fps` is None for pictures, which all count. `size` is the first frame's height and width in pixels (pictures may
    differ). `count` is the number of frames, None if it is unknown. `skipped` counts files that are no pictures,
    `unreadable` names pictures that cannot be decoded. `rate` returns the frames a second with which a video of
    constant rate shows each frame at its own time; the call may take seconds.
    """

    name: str
    fps: float | None
    size: Size
    count: int | None
    frames: Iterator[Frame]
    rate: Callable[[], float]
    is_live: bool = False
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
        DataError: the source does not exist, or holds nothing that can be shown.
    """
    if spec is None:
        yield _rendered()
    elif spec.isdecimal():
        with capture(_camera_number(spec)) as reader:
            yield _camera(reader, spec)
    elif Path(spec).is_dir():
        yield _pictures(spec, *pictures_below(Path(spec)))
    elif not Path(spec).is_file():
        raise DataError(
            f"{printable(spec)}: must be a camera's number, a video, a picture or a folder of pictures, "
            "got nothing there; check the path"
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


def _camera(reader: cv2.VideoCapture, number: str) -> Source:
    if not reader.isOpened():
        raise DataError(f"camera {number}: must be connected and free, got none; list cameras with `ls /dev/video*`")
    first_picture = read_rgb(reader)
    if first_picture is None:
        raise DataError(f"camera {number}: must give pictures, got none; close other programs that use it")
    fps = frame_rate(reader)
    return Source(
        f"camera {number}",
        fps,
        _size(first_picture),
        None,
        _camera_frames(reader, first_picture),
        lambda: fps,
        is_live=True,
    )


def _camera_frames(reader: cv2.VideoCapture, first_picture: Image) -> Iterator[Frame]:
    picture: Image | None = first_picture
    started = time.monotonic()
    while picture is not None:
        yield Frame(picture, time.monotonic() - started)
        picture = read_rgb(reader)


def _size(picture: Image) -> Size:
    return picture.shape[0], picture.shape[1]


def _pictures(name: str, files: list[Path], skipped: int) -> Source:
    source = Source(name, None, (0, 0), len(files), iter(()), lambda: FOLDER_FPS, skipped=skipped)
    pictures = _readable(files, source)
    first_picture = next(pictures, None)
    if first_picture is None:
        raise DataError(
            f"{printable(name)}: must hold images that can be decoded, got none of {len(files)}; "
            f"check the first, {source.unreadable[0]}"
        )
    source.size = _size(first_picture)
    source.frames = _numbered(first_picture, pictures)
    return source


def _readable(files: list[Path], source: Source) -> Iterator[Image]:
    for path in files:
        try:
            yield read_picture(path)
        except Unreadable as error:
            source.unreadable.append(f"{printable(str(path))}: {error}")


def _numbered(first_picture: Image, later: Iterator[Image]) -> Iterator[Frame]:
    yield Frame(first_picture, 0.0)
    for number, picture in enumerate(later, 1):
        yield Frame(picture, number / FOLDER_FPS)


def _rendered() -> Source:
    # Imported here, because the renderer needs the data set's libraries; a device with a camera need not have them.
    from whc.data.synthetic import FRAME_RATE, Motion, clip

    motions: tuple[Motion, ...] = ("still", "waving", "passing", "waving")
    frames = RENDERED_SECONDS * FRAME_RATE
    pictures = np.concatenate([clip(seed, motion, frames) for seed, motion in enumerate(motions)])
    timed_frames = (Frame(picture, number / FRAME_RATE) for number, picture in enumerate(pictures))
    return Source("rendered clip", FRAME_RATE, _size(pictures[0]), len(pictures), timed_frames, lambda: FRAME_RATE)
