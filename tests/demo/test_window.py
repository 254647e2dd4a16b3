from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whc.demo.window import Window


def taken(frame_rate: float | None, fps: float | None, seconds: list[float]) -> list[int]:
    window = Window(4, frame_rate, fps)
    entered = []
    for number, instant in enumerate(seconds):
        if window.takes(instant):
            window.push(np.zeros((1, 1, 3), np.uint8))
            entered.append(number)
    return entered


def test_every_third_frame_of_a_stream_three_times_as_fast() -> None:
    assert taken(10, 30, [number / 30 for number in range(12)]) == [0, 3, 6, 9]


def test_times_rounded_to_milliseconds_change_nothing() -> None:
    rounded = [round(number / 30, 3) for number in range(3000)]
    assert taken(10, 30, rounded) == list(range(0, 3000, 3))


@pytest.mark.parametrize(("frame_rate", "fps"), [(None, 30.0), (10.0, None), (30.0, 30.0), (10.0, 5.0)])
def test_every_frame_enters(frame_rate: float | None, fps: float | None) -> None:
    assert taken(frame_rate, fps, [number / (fps or 10) for number in range(50)]) == list(range(50))


def test_rates_that_do_not_divide_take_the_nearest_frame() -> None:
    assert taken(10, 12.5, [number * 0.08 for number in range(11)]) == [0, 1, 2, 4, 5, 6, 7, 9, 10]


def test_a_gap_is_passed_over_not_made_up_for() -> None:
    seconds = [number / 30 for number in range(6)] + [5 + number / 30 for number in range(6)]
    assert taken(10, 30, seconds) == [0, 3, 6, 9]


def test_the_grid_starts_at_the_first_frame() -> None:
    assert taken(10, 30, [7.7 + number / 30 for number in range(7)]) == [0, 3, 6]


@given(st.floats(1, 60), st.floats(1, 120), st.integers(1, 200))
def test_frames_entered_match_the_slower_rate(frame_rate: float, fps: float, count: int) -> None:
    entered = taken(frame_rate, fps, [number / fps for number in range(count)])
    expected = (count - 1) / fps * min(frame_rate, fps) + 1
    assert abs(len(entered) - expected) <= 1


def test_keeps_the_latest_oldest_first() -> None:
    window = Window(3, None, None)
    for shade in range(5):
        assert window.missing == max(0, 3 - shade)
        window.push(np.full((2, 2, 3), shade, np.uint8))
    assert window.stack()[:, 0, 0, 0].tolist() == [2, 3, 4]
