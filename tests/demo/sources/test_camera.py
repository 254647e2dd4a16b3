"""Cameras: absent ones, and a stand-in for one, as no machine that tests has any."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image
from whc.demo.sources import open_source
from whc.errors import DataError

FPS = 20.0


class FakeCamera:
    """Stands in for cv2.VideoCapture (whose subclasses crash Python's garbage collector)."""

    def __init__(self, pictures: int) -> None:
        self.left = pictures
        self.released = False
        self.asked: tuple[object, ...] = ()

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def get(self, setting: int) -> float:
        return FPS if setting == cv2.CAP_PROP_FPS else 0.0

    def read(self) -> tuple[bool, Image | None]:
        time.sleep(1 / FPS)
        self.left -= 1
        return (True, np.full((48, 64, 3), 50, np.uint8)) if self.left >= 0 else (False, None)

    def release(self) -> None:
        self.released = True


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], FakeCamera]:
    """Connects a camera that gives some pictures."""

    def build(pictures: int) -> FakeCamera:
        camera = FakeCamera(pictures)

        def open_camera(*what: object) -> FakeCamera:
            camera.asked = what
            return camera

        monkeypatch.setattr(cv2, "VideoCapture", open_camera)
        return camera

    return build


def refusal(spec: str) -> str:
    with pytest.raises(DataError) as caught, open_source(spec):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("spec", ["97", "/dev/null", "/dev/video97"])
def test_absent_camera(spec: str) -> None:
    assert refusal(spec).startswith(f"camera {spec}: must be connected and free, got none; list cameras with")


@pytest.mark.parametrize("number", ["100", "99999999999999", "9" * 5000])
def test_a_camera_out_of_range(number: str) -> None:
    assert refusal(number).startswith("camera: must be a number in 0..99, got '")


def test_a_camera_that_gives_no_picture(connect: Callable[[int], FakeCamera]) -> None:
    camera = connect(0)
    assert refusal("0") == "camera 0: must give pictures, got none; close other programs that use it"
    assert camera.released


def test_camera_runs_on_the_clock_until_it_vanishes(connect: Callable[[int], FakeCamera]) -> None:
    camera = connect(8)
    with open_source("0") as source:
        assert (source.fps, source.size, source.count, source.is_live) == (FPS, (48, 64), None, True)
        seconds = [frame.seconds for frame in source]
        assert source.ended == "camera 0 gave no more pictures: is it still connected?"
    assert camera.asked == (0, cv2.CAP_ANY, ())
    assert len(seconds) + source.dropped == 8
    assert np.diff(seconds) == pytest.approx([1 / FPS] * (len(seconds) - 1), abs=0.04) or source.dropped
    assert camera.released


def test_frames_that_come_too_fast_are_dropped_and_counted(connect: Callable[[int], FakeCamera]) -> None:
    connect(20)
    with open_source("0") as source:
        taken = slowly(iter(source))
        assert len(taken) + source.dropped == 20
        assert source.dropped > 8
    assert taken == sorted(taken)


def slowly(frames: Iterator[tuple[Image, float]]) -> list[float]:
    seconds = []
    for _, moment in frames:
        seconds.append(moment)
        time.sleep(0.2)
    return seconds
