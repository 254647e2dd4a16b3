from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from whc.demo import overlay
from whc.demo.overlay import Caption, Mark, canvas_size, draw, fit, line_height, placement, text_band
from whc.tasks.showing import BLUE_COLOUR, GREEN_COLOUR, Bar, Line, Reading

READING = Reading("calm", BLUE_COLOUR, Bar("moved", 0.25, 0.5))
CAPTION = Caption(READING, fps=24.0)


def with_bar(**changes: Any) -> Reading:
    assert READING.bar is not None
    return replace(READING, bar=replace(READING.bar, **changes))


SIZES = [(48, 48), (270, 480), (1080, 1920), (1080, 607), (800, 48), (20, 1900), (1, 1), (2160, 3840)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_canvas_is_readable_even_and_bounded(height: int, width: int) -> None:
    tall, wide = canvas_size(height, width)
    assert wide >= 320
    assert tall >= 180
    assert tall % 2 == wide % 2 == 0
    assert max(tall, wide) <= max(1922, height + 1, width + 1)


def test_canvas_keeps_frames_that_are_large_enough() -> None:
    assert canvas_size(270, 480) == (270, 480)
    assert canvas_size(1080, 1920) == (1080, 1920)
    assert canvas_size(48, 48) == (320, 320)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_placement_keeps_the_aspect_and_stays_inside(height: int, width: int) -> None:
    canvas = canvas_size(height, width)
    left, top, wide, tall = placement((height, width), canvas)
    assert left >= 0
    assert top >= 0
    assert left + wide <= canvas[1]
    assert top + tall <= canvas[0]
    assert abs(wide / width * height - tall) <= max(1.0, height / width)


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("probability", [None, 0.0, 0.5, 1.0])
def test_draw_fills_the_canvas_and_leaves_the_frame_alone(height: int, width: int, probability: float | None) -> None:
    picture = np.full((height, width, 3), 200, np.uint8)
    canvas = canvas_size(height, width)
    caption = Caption(None if probability is None else with_bar(share=probability), 24.0)
    shown = draw(picture, caption, canvas, [Mark((0, 0, width, height), caption.reading, "#1 calm")])
    assert shown.shape == (*canvas, 3)
    assert shown.dtype == np.uint8
    assert (picture == 200).all()


@pytest.mark.parametrize("shade", [0, 128, 255])
@pytest.mark.parametrize(("height", "width"), [(48, 48), (270, 480), (1080, 1920), (2160, 3840)])
def test_text_is_bright_on_dark_on_any_background(height: int, width: int, shade: int) -> None:
    canvas = canvas_size(height, width)
    shown = draw(np.full((height, width, 3), shade, np.uint8), CAPTION, canvas)
    panel = shown[-line_height(canvas) :].max(axis=2)
    assert (panel > 200).mean() > 0.01
    assert (panel < 100).mean() > 0.4


@pytest.mark.parametrize("height", [270, 480, 1080, 2160])
def test_capitals_are_high_enough_to_be_read(height: int) -> None:
    """At 270 lines ten pixels, and about the same share of the picture at every size."""
    width = height * 16 // 9
    picture, caption = np.zeros((height, width, 3), np.uint8), Caption(Reading("H", GREEN_COLOUR), None)
    shown = draw(picture, caption, canvas_size(height, width))
    rows = np.flatnonzero((shown[..., 1] > 150).any(axis=1))
    assert 10 / 270 <= (rows[-1] - rows[0] + 1) / height <= 13 / 270
    assert rows[-1] < height - 1


FRAMES = st.tuples(st.integers(270, 2160), st.floats(0.4, 2.8)).map(lambda size: (size[0], round(size[0] * size[1])))
PLACES = st.lists(st.tuples(st.floats(0, 0.9), st.floats(0, 0.9)), max_size=12)


@settings(max_examples=30, deadline=None)
@given(FRAMES, PLACES, st.sampled_from(["", "a", "a warning of many words " * 9]), st.integers(1, 40))
@example((270, 480), [(0.1, 0.5)] * 12, "a warning of many words " * 9, 40)
@example((180, 320), [(0.1, 0.5)] * 12, "a warning of many words " * 9, 40)
@example((1000, 60), [(0.1, 0.5)] * 12, "a warning of many words " * 9, 40)
@example((60, 1000), [(0.1, 0.5)] * 12, "a warning of many words " * 9, 40)
def test_text_never_covers_more_than_its_share(
    frame: tuple[int, int], places: list[tuple[float, float]], warning: str, letters: int
) -> None:
    height, width = frame
    canvas = canvas_size(height, width)
    picture = np.full((height, width, 3), 255, np.uint8)
    corners = [(round(x * width), round(y * height)) for x, y in places]
    marks = [Mark((x, y, x + 20, y + 20), READING, "#" * letters) for x, y in corners]
    boxes = [replace(mark, tag="") for mark in marks]
    left, top, wide, tall = placement(frame, canvas)
    bare = fit(picture, canvas)
    for mark in boxes:
        overlay._outline(bare, mark, frame)
    shown = draw(picture, Caption(READING, 120.0, warning), canvas, marks)
    covered = (shown != bare).any(axis=2)[top : top + tall, left : left + wide]
    assert covered.mean() <= overlay.COVERED_SHARE


def test_a_tag_that_has_no_room_is_left_out_and_its_box_stays() -> None:
    picture = np.full((270, 480, 3), 255, np.uint8)
    places = [(40 * i, 100, 40 * i + 30, 140) for i in range(12)]
    many, few = (
        draw(picture, CAPTION, (270, 480), [Mark(place, READING, "#1 calm") for place in places[:count]])
        for count in (12, 2)
    )
    assert (many[90, 0] == few[90, 0]).all()
    assert (many[90, 445] == 255).all()  # no tag above the last
    assert (many[100:140, 440:475] != 255).any()


def bar(probability: float) -> int:
    shown = draw(np.zeros((270, 480, 3), np.uint8), Caption(with_bar(share=probability), 24.0), (270, 480))
    blue = (shown == (120, 180, 255)).all(axis=2)
    return int(blue[-14:, 80:].sum(axis=1).max())  # without the title


def test_bar_grows_with_the_probability() -> None:
    lengths = [bar(probability) for probability in (0.0, 0.25, 0.45)]
    assert lengths == sorted(lengths)
    assert lengths[2] / lengths[1] == pytest.approx(1.8, abs=0.1)


@pytest.mark.parametrize(
    "other",
    [
        Caption(READING, 9.0),
        Caption(None, 24.0),
        Caption(replace(READING, title="other"), 24.0),
        Caption(replace(READING, colour=GREEN_COLOUR), 24.0),
        Caption(replace(READING, bar=None), 24.0),
        *(
            Caption(with_bar(**{name: value}), 24.0)
            for name, value in (("name", "other"), ("share", 0.75), ("tick", 0.9))
        ),
        Caption(READING, 24.0, "a warning"),
    ],
)
def test_each_thing_said_shows(other: Caption) -> None:
    picture = np.full((270, 480, 3), 90, np.uint8)
    changed = draw(picture, other, (270, 480))
    assert not np.array_equal(changed, draw(picture, CAPTION, (270, 480)))


def test_without_a_threshold_there_is_a_bar_but_no_tick() -> None:
    picture = np.zeros((270, 480, 3), np.uint8)
    plain, marked = (draw(picture, Caption(with_bar(tick=at), 24.0), (270, 480)) for at in (None, 0.9))
    columns = np.flatnonzero((plain != marked).any(axis=(0, 2)))
    assert len(columns) > 0
    assert columns.max() - columns.min() <= 2
    assert columns.min() > 340  # far right of the bar's end


def test_any_label_can_be_drawn() -> None:
    picture = np.zeros((48, 48, 3), np.uint8)
    for label in ("", "x" * 300, "Lächeln", "笑顔", "a\nb", "%d"):
        shown = draw(picture, Caption(replace(with_bar(name=label), title=label), 24.0), (320, 320))
        assert shown.shape == (320, 320, 3)


def test_frames_of_another_shape_are_padded_not_distorted() -> None:
    shown = fit(np.full((100, 50, 3), 255, np.uint8), (200, 400))
    assert (shown[:, 150:250] == 255).all()
    assert (shown[:, :150] == 0).all()
    assert (shown[:, 250:] == 0).all()


def test_box_is_drawn_where_the_region_is() -> None:
    picture = np.full((200, 400, 3), 255, np.uint8)
    shown, plain = (draw(picture, CAPTION, (200, 400), [Mark(box, READING)]) for box in ((100, 20, 200, 100), None))
    rows, columns = np.nonzero((shown != plain).any(axis=2))
    assert (columns.min(), columns.max()) == pytest.approx((100, 199), abs=3)
    assert (rows.min(), rows.max()) == pytest.approx((20, 99), abs=3)


def test_lines_lie_in_the_region_looked_at() -> None:
    """From the middle of the region to its right edge, and of the whole picture where there is no region."""
    picture, line = np.full((200, 400, 3), 255, np.uint8), Line((0.5, 0.5), (1.0, 0.5), GREEN_COLOUR)
    for box, (left, right, middle) in ((None, (200, 400, 100)), ((100, 20, 200, 100), (150, 200, 60))):
        marked, plain = (
            draw(picture, CAPTION, (200, 400), [Mark(box, replace(READING, lines=lines))]) for lines in ((line,), ())
        )
        rows, columns = np.nonzero((marked != plain).any(axis=2))
        assert (columns.min(), min(columns.max(), 398)) == pytest.approx((left, min(right, 398)), abs=3)
        assert (rows.min(), rows.max()) == pytest.approx((middle, middle), abs=3)


@pytest.mark.parametrize("edges", [(100, 60, 200, 140), (-50, -40, 30, 30), (380, 180, 470, 260), (0, 0, 400, 200)])
def test_each_person_has_a_box_and_a_tag(edges: tuple[int, int, int, int]) -> None:
    picture = np.full((200, 400, 3), 255, np.uint8)
    tagged, plain, none = (
        draw(picture, CAPTION, (200, 400), marks)
        for marks in ([Mark(edges, READING, "#1 calm")], [Mark(edges, READING)], [])
    )
    assert (plain != none).any()
    rows, columns = np.nonzero((tagged != plain).any(axis=2))
    assert rows.min() >= max(0, min(edges[1], 200) - 30)
    assert columns.max() - columns.min() > 40


def test_a_label_of_any_length_is_cut() -> None:
    told, short = (Caption(Reading(name, GREEN_COLOUR, Bar(name, 0.5, 0.5)), 30) for name in ("a" * 10**6, "a" * 200))
    picture = np.zeros((180, 320, 3), np.uint8)
    np.testing.assert_array_equal(draw(picture, told, (180, 320)), draw(picture, short, (180, 320)))


def test_a_band_below_the_picture_covers_nothing() -> None:
    drawing = np.full((270, 480, 3), 255, np.uint8)
    band = text_band("paused", drawing)
    assert band.shape[1:] == (480, 3)
    assert len(band) <= 0.1 * 270
    assert (band > 200).any()
    assert (drawing == 255).all()
