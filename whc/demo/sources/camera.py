"""A camera of this machine, by its number or device."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from whc.data.preprocess import Image
from whc.data.video import Frame, capture, frame_rate, read_rgb
from whc.demo.sources.source import Source, live_rate, size_of
from whc.errors import DataError, problem

OPEN_SECONDS = 20.0
MAX_CAMERA = 99  # from 100 on, OpenCV reads the hundreds as the number of a backend
MAX_DIGITS = 10


def is_camera(spec: str) -> bool:
    """Whether a source is a camera's number, or a device (also by a link, as below /dev/v4l/by-id)."""
    return spec.isdecimal() or spec.startswith("/dev/video") or Path(spec).is_char_device()


@contextmanager
def opened(spec: str) -> Iterator[Source]:
    """Open a camera and close it at the end; its frames are timed by the clock.

    Raises:
        DataError: there is no such camera, or it gives no pictures.
    """
    name = f"camera {spec}"
    camera, backend = (_number(spec), cv2.CAP_ANY) if spec.isdecimal() else (spec, cv2.CAP_V4L2)
    with capture(camera, backend) as reader:
        if not reader.isOpened():
            raise DataError(f"{name}: must be connected and free, got none; list cameras with `ls /dev/video*`")
        first_picture = read_rgb(reader)
        if first_picture is None:
            raise DataError(f"{name}: must give pictures, got none; close other programs that use it")
        fps = live_rate(frame_rate(reader))
        source = Source(name, fps, size_of(first_picture), None, iter(()), lambda: fps, is_live=True)
        source.frames = _frames(reader, first_picture, source)
        yield source


def _number(text: str) -> int:
    number = int(text) if len(text) < MAX_DIGITS else MAX_CAMERA + 1
    if number > MAX_CAMERA:
        raise DataError(problem("camera", f"must be a number in 0..{MAX_CAMERA}", text, "see `ls /dev/video*`"))
    return number


def _frames(reader: cv2.VideoCapture, first_picture: Image, source: Source) -> Iterator[Frame]:
    picture: Image | None = first_picture
    started = time.monotonic()
    while picture is not None:
        yield Frame(picture, time.monotonic() - started)
        picture = read_rgb(reader)
    source.ended = f"{source.name} gave no more pictures: is it still connected?"
