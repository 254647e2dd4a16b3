"""Sources that block, and what ends the wait for them."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from whc.data.video import Frame
from whc.demo.ending import Ending
from whc.demo.sources import Source, waiting
from whc.errors import DataError

PICTURE = np.zeros((4, 4, 3), np.uint8)


class Blocked:
    """A source that gives some frames and then blocks until it is freed."""

    def __init__(self, frames: int, is_live: bool = False, error: str = "") -> None:
        self.free, self.is_closed = threading.Event(), threading.Event()
        self._frames, self._is_live, self._error = frames, is_live, error

    @contextmanager
    def opened(self) -> Iterator[Source]:
        if not self._frames:
            self._block()
        try:
            yield Source("it", 30.0, (4, 4), None, self._given(), lambda: 30.0, is_live=self._is_live)
        finally:
            self.is_closed.set()

    def _given(self) -> Iterator[Frame]:
        yield from (Frame(PICTURE, float(number)) for number in range(self._frames))
        self._block()

    def _block(self) -> None:
        self.free.wait(30)
        if self._error:
            raise DataError(self._error)


def later(ending: Ending) -> None:
    threading.Timer(0.2, lambda: ending.ask(2, None)).start()


def test_a_signal_ends_the_wait_for_the_first_frame() -> None:
    source, ending = Blocked(0), Ending()
    later(ending)
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), waiting.read(source.opened(), ending, None, "it"):
        pass
    assert time.monotonic() - started < 3
    source.free.set()
    assert source.is_closed.wait(10)


@pytest.mark.parametrize("is_live", [False, True])
def test_a_signal_ends_the_wait_for_the_next_frame(is_live: bool) -> None:
    source, ending = Blocked(1, is_live), Ending()
    with waiting.read(source.opened(), ending, 10, "it") as stream:
        later(ending)
        started = time.monotonic()
        assert len(list(stream)) == 1
        assert time.monotonic() - started < 3
        assert stream.ended == ""
    source.free.set()
    assert source.is_closed.wait(10)


def test_a_source_that_gives_nothing_in_time_is_told() -> None:
    source = Blocked(0)
    told = r"it: must give a frame within 0\.3 s, got none"
    with pytest.raises(DataError, match=told), waiting.read(source.opened(), None, 0.3, "it"):
        pass
    source.free.set()


def test_all_frames_come_in_order_unless_the_source_is_live() -> None:
    source = Blocked(50)
    source.free.set()
    with waiting.read(source.opened(), None, 10, "it") as stream:
        assert [seconds for _, seconds in stream] == list(range(50))
        assert (stream.dropped, stream.ended) == (0, "")


def test_an_error_before_the_first_frame_is_raised_and_a_later_one_ends_the_stream() -> None:
    source = Blocked(0, error="it: broke")
    source.free.set()
    with pytest.raises(DataError, match="it: broke"), waiting.read(source.opened(), None, 10, "it"):
        pass
    source = Blocked(3, error="it: broke")
    source.free.set()
    with waiting.read(source.opened(), None, 10, "it") as stream:
        assert len(list(stream)) == 3
        assert stream.ended == "it: broke"


def test_who_leaves_early_closes_the_source() -> None:
    source = Blocked(50)
    with waiting.read(source.opened(), None, 10, "it") as stream:
        assert len(list(itertools.islice(stream, 3))) == 3
    assert source.is_closed.wait(10)
