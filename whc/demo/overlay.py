"""The drawing on a frame: what the model sees and says as boxes, text, bar and lines, and the speed in frames a second.

Text and bar are on a dark panel at the lower edge, so that they are readable on any background.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from whc.data.preprocess import Image
from whc.tasks.showing import Bar, Colour, Line, Reading

if TYPE_CHECKING:
    from whc.data.cropping import Edges

Size = tuple[int, int]

MIN_WIDTH, MIN_HEIGHT = 320, 180
MAX_ENLARGED = 1920  # pixels; beyond this a narrow frame is padded, not enlarged

MAX_LETTERS = 200  # of a line of text: more than fit on a frame

_FONT_FACE = cv2.FONT_HERSHEY_SIMPLEX
_WHITE_COLOUR: Colour = (255, 255, 255)
_AMBER_COLOUR: Colour = (255, 190, 60)
GREY_COLOUR: Colour = (170, 170, 170)
WARMING_UP = Reading("warming up", GREY_COLOUR)
_PANEL_SHADE = 0.25  # brightness of the picture under the panel, as a share


class _Ink(NamedTuple):
    """Height of a line of text in pixels, and its colour."""

    height: float
    colour: Colour


@dataclass(frozen=True)
class Mark:
    """A part of a frame that the model sees, with its reading (None before the first) and a tag (empty: none).

    `edges` are left, top, right and bottom in pixels of the frame; None for the complete frame, which has no outline.
    """

    edges: Edges | None
    reading: Reading | None
    tag: str = ""


@dataclass(frozen=True)
class Caption:
    """The caption of a frame: the reading (None before the first), frames a second (None if unknown), and a warning."""

    reading: Reading | None
    fps: float | None
    warning: str = ""


def canvas_size(height: int, width: int) -> Size:
    """Height and width of the canvas for frames of a size: at least 320x180, and even, as MP4 requires."""
    scale = min(max(1.0, MIN_WIDTH / width), max(1.0, MAX_ENLARGED / max(height, width)))
    tall, wide = max(MIN_HEIGHT, round(height * scale)), max(MIN_WIDTH, round(width * scale))
    return tall + tall % 2, wide + wide % 2


def placement(frame: Size, canvas: Size) -> tuple[int, int, int, int]:
    """Left, top, width and height of a frame that is centred on a canvas, as large as possible with its own aspect."""
    scale = min(canvas[0] / frame[0], canvas[1] / frame[1])
    tall, wide = max(1, round(frame[0] * scale)), max(1, round(frame[1] * scale))
    return (canvas[1] - wide) // 2, (canvas[0] - tall) // 2, wide, tall


def fit(picture: Image, canvas: Size) -> Image:
    """A copy of a frame (H, W, 3) on a black canvas (height, width, 3)."""
    height, width = picture.shape[:2]
    left, top, wide, tall = placement((height, width), canvas)
    drawing = np.zeros((*canvas, 3), np.uint8)
    method = cv2.INTER_CUBIC if wide > width else cv2.INTER_AREA
    drawing[top : top + tall, left : left + wide] = cv2.resize(picture, (wide, tall), interpolation=method)
    return drawing


def draw(picture: Image, caption: Caption, canvas: Size, marks: Sequence[Mark] = ()) -> Image:
    """A frame with its caption and the marks of what the model sees.

    Args:
        picture: RGB uint8 (H, W, 3) of any size; not changed.
        caption: reading and speed.
        canvas: height and width of the result, from `canvas_size`.
        marks: parts of the picture, drawn in their order.

    Returns:
        RGB uint8 (*canvas, 3).
    """
    drawing = fit(picture, canvas)
    frame: Size = (picture.shape[0], picture.shape[1])
    line = max(20, min(canvas[0] // 14, canvas[1] // 16))  # height of a line of text
    for mark in marks:
        _draw_mark(drawing, mark, frame, line)
    if caption.warning:
        strip = _darkened(drawing[: round(1.1 * line)])
        _write(
            strip, caption.warning, (line // 2, round(0.75 * line)), canvas[1] - line, _Ink(0.6 * line, _AMBER_COLOUR)
        )
    _draw_panel(_darkened(drawing[canvas[0] - round(2.8 * line) :]), caption, line)
    return drawing


def _darkened(part: Image) -> Image:
    """A part of a drawing, made dark in place, so that text on it is readable."""
    part[:] = (part * _PANEL_SHADE).astype(np.uint8)
    return part


def _draw_panel(panel: Image, caption: Caption, line: int) -> None:
    reading = caption.reading or WARMING_UP
    width, margin = panel.shape[1], line // 2
    speed = "" if caption.fps is None else f"{caption.fps:.0f} fps"
    speed_width = _text_width(speed, 0.6 * line)
    base = round(1.25 * line)
    _write(panel, reading.title, (margin, base), width - speed_width - 3 * margin, _Ink(line, reading.colour))
    _write(panel, speed, (width - margin - speed_width, base), speed_width, _Ink(0.6 * line, _WHITE_COLOUR))
    if reading.bar is not None:
        _draw_bar(panel, reading.bar, line, reading.colour)


def _draw_mark(drawing: Image, mark: Mark, frame: Size, line: int) -> None:
    reading = mark.reading or WARMING_UP
    if mark.edges is not None:
        _draw_box(drawing, mark.edges, frame, reading.colour)
    _draw_lines(drawing, reading.lines, mark.edges or (0, 0, frame[1], frame[0]), frame)
    if mark.edges is not None and mark.tag:
        _draw_tag(drawing, mark, frame, _Ink(0.75 * line, reading.colour))


def _draw_tag(drawing: Image, mark: Mark, frame: Size, ink: _Ink) -> None:
    """Write the tag above its box, or in its upper edge where there is no room above."""
    left, top, wide, tall = placement(frame, (drawing.shape[0], drawing.shape[1]))
    assert mark.edges is not None  # noqa: S101 (only boxes have tags)
    high, room = round(1.25 * ink.height), drawing.shape[1]
    across = min(_text_width(mark.tag, ink.height) + round(0.6 * ink.height), room)
    x = min(max(0, left + round(mark.edges[0] * wide / frame[1])), room - across)
    y = min(max(0, top + round(mark.edges[1] * tall / frame[0]) - high), drawing.shape[0] - high)
    strip = _darkened(drawing[y : y + high, x : x + across])
    _write(strip, mark.tag, (round(0.3 * ink.height), round(0.9 * ink.height)), across, ink)


def _draw_box(drawing: Image, box: Edges, frame: Size, colour: Colour) -> None:
    left, top, wide, tall = placement(frame, (drawing.shape[0], drawing.shape[1]))
    x, y = wide / frame[1], tall / frame[0]
    corner = (left + round(box[0] * x), top + round(box[1] * y))
    opposite_corner = (left + round(box[2] * x) - 1, top + round(box[3] * y) - 1)
    thickness = max(2, drawing.shape[0] // 270)
    cv2.rectangle(drawing, corner, opposite_corner, (0, 0, 0), 2 * thickness + 1)
    cv2.rectangle(drawing, corner, opposite_corner, colour, thickness)


def _draw_lines(drawing: Image, lines: Sequence[Line], box: Edges, frame: Size) -> None:
    """Draw lines, whose points are in shares of `box`; `box` is in pixels of the frame."""
    left, top, wide, tall = placement(frame, (drawing.shape[0], drawing.shape[1]))
    thickness = max(2, drawing.shape[0] // 180)

    def place(point: tuple[float, float]) -> tuple[int, int]:
        x = box[0] + point[0] * (box[2] - box[0])
        y = box[1] + point[1] * (box[3] - box[1])
        return left + round(x * wide / frame[1]), top + round(y * tall / frame[0])

    for line in lines:
        cv2.line(drawing, place(line.start), place(line.end), line.colour, thickness, cv2.LINE_AA)


def _draw_bar(panel: Image, bar: Bar, line: int, colour: Colour) -> None:
    """Draw the second line: the bar's name, the bar, its number."""
    margin, width, base = line // 2, panel.shape[1], round(2.25 * line)
    number = f"{bar.share:.2f}"
    number_left = width - margin - _text_width("0.00", 0.6 * line)
    name_width = min(_text_width(bar.name, 0.6 * line), width // 3)
    ink = _Ink(0.6 * line, _WHITE_COLOUR)
    _write(panel, bar.name, (margin, base), name_width, ink)
    _write(panel, number, (number_left, base), width, ink)
    left, right = 2 * margin + name_width, number_left - margin
    top, bottom = base - round(0.5 * line), base
    cv2.rectangle(panel, (left, top), (right, bottom), (70, 70, 70), cv2.FILLED)
    cv2.rectangle(panel, (left, top), (left + round(bar.share * (right - left)), bottom), colour, cv2.FILLED)
    if bar.tick is not None:
        tick = left + round(bar.tick * (right - left))
        cv2.line(panel, (tick, top - line // 8), (tick, bottom + line // 8), _WHITE_COLOUR, max(1, line // 12))


def _scale(height: float) -> float:
    """Font scale for capitals of 0.75 of the line height; at scale 1 Hershey's capitals are 21 px high."""
    return 0.75 * height / 21


def _thickness(height: float) -> int:
    return max(1, round(height / 12))


def _plain(text: str) -> str:
    """Text in the letters that OpenCV can draw: without accents, and `?` for all other letters."""
    bare = "".join(
        letter for letter in unicodedata.normalize("NFKD", text[:MAX_LETTERS]) if not unicodedata.combining(letter)
    )
    return bare.encode("ascii", "replace").decode("ascii")


def _text_width(text: str, height: float) -> int:
    (width, _), _ = cv2.getTextSize(_plain(text), _FONT_FACE, _scale(height), _thickness(height))
    return int(width)


def _write(panel: Image, text: str, origin: tuple[int, int], max_width: int, ink: _Ink) -> None:
    """Write on one line; text wider than `max_width` pixels loses its end."""
    text, height = _plain(text), ink.height
    if _text_width(text, height) > max_width:
        while text and _text_width(text + "..", height) > max_width:
            text = text[:-1]
        text += ".."
    cv2.putText(panel, text, origin, _FONT_FACE, _scale(height), ink.colour, _thickness(height), cv2.LINE_AA)
