"""Keys of the window, pressed on a stand-in for it, as no machine that tests has a display."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from whc.data.preprocess import Image
from whc.demo import overlay, screen
from whc.demo.ending import Ending
from whc.demo.outputs import Result, Write
from whc.demo.runnable import Verdict
from whc.demo.screen import Album
from whc.demo.sources import Source
from whc.demo.viewing import Sighting
from whc.errors import UsageError


class Desk:
    """A window on which `keys` are pressed, one in each wait; `texts` are the lines below the picture."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keys: list[str] = []
        self.texts: list[str] = []
        self.shown: list[Image] = []
        self.waits = 0
        monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
        monkeypatch.setattr(cv2, "imshow", lambda _, picture: self.shown.append(picture))
        monkeypatch.setattr(cv2, "waitKey", self.wait)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
        monkeypatch.setattr(cv2, "destroyAllWindows", lambda: None)
        band = overlay.text_band
        monkeypatch.setattr(overlay, "text_band", lambda text, drawing: self.texts.append(text) or band(text, drawing))

    def wait(self, milliseconds: int) -> int:
        self.waits += 1
        time.sleep(milliseconds / 1000)
        return ord(self.keys.pop(0)) if self.keys else -1


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(monkeypatch)


@pytest.fixture
def opened(tmp_path: Path, desk: Desk) -> Callable[..., Any]:
    def build(ending: Ending | None = None, change: Callable[[], str] | None = None, is_fast: bool = True) -> Any:
        source = Source("rtsp://cam/live", 30.0, (120, 200), None, iter(()), lambda: 30.0, dropped=4)
        return screen.screen("it", source, ending or Ending(), Album(tmp_path, "model"), change, is_fast)

    return build


def result(number: int = 0, seconds: float = 0.0) -> Result:
    sighting = Sighting(Verdict(np.array(0.5), 1.25), True, None, None)
    return Result(number, seconds, np.full((120, 200, 3), number, np.uint8), [sighting])


def frames(write: Write, count: int) -> Iterator[bool]:
    return (write(result(number, number / 10)) for number in range(count))


@pytest.mark.parametrize("key", ["q", "Q", "\x1b"])
def test_a_key_ends_the_run(opened: Callable[..., Any], desk: Desk, key: str) -> None:
    desk.keys = ["x", key]
    with opened() as write:
        assert list(frames(write, 2)) == [True, False]


def test_space_pauses_and_time_stands_still(opened: Callable[..., Any], desk: Desk) -> None:
    desk.keys = [" ", *"xxxxxx", " "]
    with opened(is_fast=False) as write:
        started = time.monotonic()
        assert write(result())
        assert "paused; space goes on" in desk.texts
        paused_s = time.monotonic() - started
        assert paused_s > 0.25
        assert write(result(1, 0.2))
        assert time.monotonic() - started > paused_s + 0.1


def test_a_signal_ends_a_pause(opened: Callable[..., Any], desk: Desk) -> None:
    ending = Ending()
    ending.ask(15, None)
    desk.keys = [" "]
    with opened(ending) as write:
        assert not write(result())


def test_s_saves_the_frame_as_it_is_shown_and_tells_where(
    opened: Callable[..., Any], desk: Desk, tmp_path: Path
) -> None:
    desk.keys = ["s"]
    with opened() as write:
        assert write(result(77))
    (path,) = tmp_path.glob("model-*-77.png")
    assert desk.texts[-1] == f"saved {path}"
    picture = cv2.imread(str(path))
    assert picture.shape == (120, 200, 3)
    assert (picture == 77).all()


def test_a_frame_that_cannot_be_saved_is_told_and_the_run_goes_on(
    opened: Callable[..., Any], desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> Path:
        raise UsageError("a.png: must be a file that can be written, got: No space; choose another path")

    monkeypatch.setattr(Album, "save", refuse)
    desk.keys = ["s"]
    with opened() as write:
        assert write(result())
    assert desk.texts[-1].startswith("a.png: must be a file")


def test_d_shows_details_and_hides_them(opened: Callable[..., Any], desk: Desk) -> None:
    desk.keys = ["x", "d", "x", "d"]
    with opened() as write:
        list(frames(write, 4))
    assert desk.texts[0] == screen.KEYS
    details = [text for text in desk.texts if text != screen.KEYS]
    assert len(details) == 3  # when the key is pressed, of the next frame, and before the second press
    for text in details:
        assert re.fullmatch(r"1\.2 ms  \d+ fps  4 dropped  200x120  rtsp://cam/live", text)
    assert desk.texts[-1] == screen.KEYS


def test_m_changes_the_variant_and_tells_its_name(opened: Callable[..., Any], desk: Desk) -> None:
    desk.keys = ["m"]
    with opened(change=lambda: "variant: whc_s") as write:
        assert write(result())
    assert desk.texts[-1] == "variant: whc_s"
    desk.keys = ["m"]
    with opened() as write:
        assert write(result())
    assert desk.texts[-1] == "no other variant is known"


def test_what_is_told_covers_nothing_of_the_picture(opened: Callable[..., Any], desk: Desk) -> None:
    with opened() as write:
        write(result(9))
    assert desk.shown[0].shape[0] > 120
    assert (desk.shown[0][:120] == 9).all()
