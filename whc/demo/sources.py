"""Where frames come from: a camera, a video file, a folder of images, or a rendered clip."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from whc.data.preprocess import Image, decode
from whc.data.video import Frame, Size, capture, frame_rate, open_video, read_rgb
from whc.errors import DataError

FOLDER_FPS = 10.0  # at which images without a time of their own are timed and played
RENDERED_SECONDS = 3  # of each motion


@dataclass
class Source:
    """An open stream; iterate it once.

    `fps` is None for a folder, where every image counts. `size` is the first frame's height and width in pixels
    (images of a folder may differ); `count` is the number of frames as far as known beforehand, `skipped` that of files
    left out.
    """

    name: str
    fps: float | None
    size: Size
    count: int | None
    frames: Iterator[Frame]
    live: bool = False
    skipped: int = 0

    def __iter__(self) -> Iterator[Frame]:
        return self.frames


@contextmanager
def open_source(spec: str | None) -> Iterator[Source]:
    """Open a source and close it at the end.

    Args:
        spec: a camera's number, the path of a video or of a folder of images, or None for a rendered clip.

    Raises:
        DataError: nothing there, or nothing in it that can be shown.
    """
    if spec is None:
        yield _rendered()
    elif spec.isdecimal():
        with capture(int(spec)) as opened:
            yield _camera(opened, spec)
    elif Path(spec).is_dir():
        yield _folder(Path(spec))
    elif not Path(spec).is_file():
        raise DataError(
            f"{spec}: must be a camera's number, a video or a folder of images, got nothing there; check the path"
        )
    else:
        with open_video(spec) as video:
            yield Source(spec, video.fps, video.size, video.count, video.frames)


def _camera(opened: cv2.VideoCapture, number: str) -> Source:
    if not opened.isOpened():
        raise DataError(f"camera {number}: must be connected and free, got none; list cameras with `ls /dev/video*`")
    first = read_rgb(opened)
    if first is None:
        raise DataError(f"camera {number}: must give pictures, got none; close other programs that use it")
    return Source(f"camera {number}", frame_rate(opened), _size(first), None, _filmed(opened, first), live=True)


def _filmed(opened: cv2.VideoCapture, first: Image) -> Iterator[Frame]:
    picture: Image | None = first
    started = time.monotonic()
    while picture is not None:
        yield Frame(picture, time.monotonic() - started)
        picture = read_rgb(opened)


def _size(picture: Image) -> Size:
    return picture.shape[0], picture.shape[1]


def _folder(folder: Path) -> Source:
    try:
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: must be a readable folder, got: {error.strerror}; check its permissions") from error
    images = [path for path in files if cv2.haveImageReader(str(path))]
    source = Source(str(folder), None, (0, 0), len(images), iter(()), skipped=len(files) - len(images))
    pictures = _readable(images, source)
    first = next(pictures, None)
    if first is None:
        raise DataError(
            f"{folder}: must hold images, got none among {len(files)} files; give a folder of JPEG or PNG files"
        )
    source.size = _size(first)
    source.frames = _numbered(first, pictures)
    return source


def _readable(images: list[Path], source: Source) -> Iterator[Image]:
    for path in images:
        try:
            picture = decode(path.read_bytes())
        except OSError:
            picture = None
        if picture is None:
            source.skipped += 1
        else:
            yield picture


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
    return Source("rendered clip", FRAME_RATE, _size(pictures[0]), len(pictures), timed)
