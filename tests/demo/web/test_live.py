"""A source of this machine in browsers: one opening for all viewers, closed with the last one."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image
from whc.demo import model as models
from whc.demo.ending import Ending
from whc.demo.outputs import Result
from whc.demo.regions import WHOLE_FRAME
from whc.demo.web.live import Broadcast, frames_of
from whc.errors import DataError

LIMIT_S = 60


class Camera:
    """Endless frames; counts how often it was opened and closed."""

    def __init__(self, frames: int = 10**9, fault: str = "") -> None:
        self.opened = self.closed = self.drawn = 0
        self._frames, self._fault = frames, fault

    @contextmanager
    def __call__(self, ending: Ending) -> Iterator[Iterator[Result]]:
        del ending
        if self._fault:
            raise DataError(self._fault)
        self.opened += 1
        try:
            yield self._drawn()
        finally:
            self.closed += 1

    def _drawn(self) -> Iterator[Result]:
        for number in range(self._frames):
            time.sleep(0.005)
            self.drawn = number
            yield Result(number, number / 100, np.full((16, 16, 3), number % 200, np.uint8), [])


def grey_level(jpeg: bytes) -> float:
    return float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean())


def run(scenario: Callable[[], object]) -> None:
    asyncio.run(asyncio.wait_for(scenario(), LIMIT_S))  # type: ignore[arg-type]


def test_viewers_share_an_opening_and_the_last_one_closes_it() -> None:
    camera = Camera()

    async def scenario() -> None:
        broadcast = Broadcast(camera)
        first, second = broadcast.watch(), broadcast.watch()
        for viewer in (first, second, first):
            assert (await anext(viewer)).startswith(b"\xff\xd8")
        assert (camera.opened, camera.closed) == (1, 0)
        await first.aclose()
        await anext(second)
        assert (camera.opened, camera.closed) == (1, 0)
        await second.aclose()
        assert (camera.opened, camera.closed) == (1, 1)
        third = broadcast.watch()
        await anext(third)
        assert (camera.opened, camera.closed) == (2, 1)
        await third.aclose()
        assert camera.closed == 2

    run(scenario)


def test_a_slow_viewer_gets_the_newest_frame() -> None:
    async def scenario() -> None:
        camera = Camera()
        viewer = Broadcast(camera).watch()
        first, drawn = grey_level(await anext(viewer)), camera.drawn
        while camera.drawn < drawn + 50:
            await asyncio.sleep(0.01)
        newest = grey_level(await anext(viewer))
        assert (newest - first) % 200 > 40  # those between did not wait for it
        await viewer.aclose()

    run(scenario)


def test_the_end_is_told() -> None:
    async def scenario() -> None:
        broadcast = Broadcast(Camera(frames=3))
        assert [jpeg async for jpeg in broadcast.watch()]
        assert broadcast.end == "The source has ended."
        absent = Broadcast(Camera(fault="camera 0: must be connected"))
        assert [jpeg async for jpeg in absent.watch()] == []
        assert absent.end == "camera 0: must be connected"
        again = broadcast.watch()
        await anext(again)
        assert broadcast.end == ""
        await again.aclose()

    run(scenario)


def test_pictures_come_at_their_own_time(
    brightness_model: Callable[..., Path], image_folder: Callable[..., Path], grey: Callable[..., Image]
) -> None:
    folder = image_folder([grey(level) for level in (20, 120, 220)])
    begun = time.monotonic()
    with frames_of(models.load(brightness_model()), str(folder), WHOLE_FRAME)(Ending()) as drawn:
        assert [result.number for result in drawn] == [0, 1, 2]
    assert time.monotonic() - begun > 0.2


def test_a_source_that_waits_is_closed(brightness_model: Callable[..., Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and says nothing
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/stream.mjpeg"

        async def scenario() -> None:
            viewer = Broadcast(frames_of(models.load(brightness_model()), address, WHOLE_FRAME)).watch()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(viewer), 0.5)

        begun = time.monotonic()
        run(scenario)
        assert time.monotonic() - begun < LIMIT_S / 2


def test_the_command(
    brightness_model: Callable[..., Path], image_folder: Callable[..., Path], grey: Callable[..., Image]
) -> None:
    folder = image_folder([grey(level) for level in (20, 220)])
    command = [sys.executable, "-c", "from whc.cli import main; main()", "demo", "--web", "--server", "--headless"]
    command += ["--json", "--model", str(brightness_model()), "--source", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout
        address = json.loads("".join(process.stdout.readline() for _ in range(3)))["address"]
        place, _, path = address.removeprefix("http://").partition("/")
        answers = {}
        for name in ("", "frames", "end"):
            connection = http.client.HTTPConnection(place, timeout=LIMIT_S)
            connection.request("GET", f"/{path}{name}")
            answer = connection.getresponse()
            answers[name] = answer.read()
            assert answer.status == 200
            connection.close()
        assert b'id="live"' in answers[""]
        frames = answers["frames"].count(b"\xff\xd8\xff")
        assert 1 <= frames <= 2  # this viewer may be slow
        assert answers["frames"].count(b"--whc-frame\r\n") == frames + 1  # before, between and after them
        assert answers["end"] == b"The source has ended."
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()
