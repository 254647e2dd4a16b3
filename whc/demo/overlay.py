"""The drawing on a frame: what the model sees and says as boxes, text, bar and lines, and the speed in frames a second.

Text and bar are on a dark panel at the lower edge, so that they are readable on any background. Panel, warning and tags
together cover at most COVERED_SHARE of the picture: the warning is cut, and tags are left out, where they would cover
more.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from whc.data.preprocess import Image
from whc.tasks.showing import NOTHING_COLOUR, Bar, Colour, Line, Reading

if TYPE_CHECKING:
    from whc.data.cropping import Edges

Size = tuple[int, int]

MIN_WIDTH, MIN_HEIGHT = 320, 180
MAX_ENLARGED = 1920  # pixels; beyond this a narrow frame is padded, not enlarged

COVERED_SHARE = 0.12  # of the picture, that text may cover
MAX_LETTERS = 200  # of a line of text: more than fit on a frame
MIN_LINE = 12  # pixels

_FONT_FACE = cv2.FONT_HERSHEY_SIMPLEX
_WHITE_COLOUR: Colour = (255, 255, 255)
_AMBER_COLOUR: Colour = (255, 190, 60)
WARMING_UP = Reading("warming up", NOTHING_COLOUR)
_BAND_COLOUR: Colour = (30, 30, 30)
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
    if (height, width) == canvas:
        return picture.copy()
    left, top, wide, tall = placement((height, width), canvas)
    drawing = np.zeros((*canvas, 3), np.uint8)
    method = cv2.INTER_CUBIC if wide > width else cv2.INTER_AREA
    drawing[top : top + tall, left : left + wide] = cv2.resize(picture, (wide, tall), interpolation=method)
    return drawing


def line_height(canvas: Size) -> int:
    """Height of a line of text in pixels, on a canvas of (height, width)."""
    return max(MIN_LINE, min(canvas[0] // 19, canvas[1] // 24))


def draw(picture: Image, caption: Caption, canvas: Size, marks: Sequence[Mark] = ()) -> Image:
    """A frame with its caption and the marks of what the model sees.

    Args:
        picture: RGB uint8 (H, W, 3) of any size; not changed.
        caption: reading and speed.
        canvas: height and width of the result, from `canvas_size`.
        marks: parts of the picture, the most important first, drawn in their order.

    Returns:
        RGB uint8 (*canvas, 3).
    """
    drawing = fit(picture, canvas)
    frame: Size = (picture.shape[0], picture.shape[1])
    for mark in marks:
        _outline(drawing, mark, frame)
    _Text(drawing, frame).write(caption, marks)
    return drawing


def text_band(text: str, drawing: Image) -> Image:
    """A line of text as a picture of the width of a drawing, to be put below it."""
    line, width = line_height((drawing.shape[0], drawing.shape[1])), drawing.shape[1]
    band = np.full((round(1.4 * line), width, 3), _BAND_COLOUR, np.uint8)
    _write(band, text, (line // 2, round(0.95 * line)), width - line, _Ink(0.75 * line, _WHITE_COLOUR))
    return band


class _Text:
    """Writes on a drawing until COVERED_SHARE of its picture is covered."""

    def __init__(self, drawing: Image, frame: Size) -> None:
        self._drawing, self._frame = drawing, frame
        self._line = line_height((drawing.shape[0], drawing.shape[1]))
        self._left, self._top, self._wide, self._tall = placement(frame, (drawing.shape[0], drawing.shape[1]))
        self._room = COVERED_SHARE * self._wide * self._tall  # pixels of the picture that may still be covered

    def write(self, caption: Caption, marks: Sequence[Mark]) -> None:
        """Write the panel, the warning, and the tags of boxes."""
        height, width = self._drawing.shape[:2]
        panel = self._darkened(0, height - round(1.25 * self._line), width, round(1.25 * self._line))
        if panel is not None:
            _draw_panel(panel, caption, self._line)
        if caption.warning:
            self._write_warning(caption.warning)
        for mark in marks:
            if mark.edges is not None and mark.tag:
                self._write_tag(mark, mark.edges)

    def _darkened(self, x: int, y: int, width: int, height: int) -> Image | None:
        """A part of the drawing, made dark in place for text; None if it would cover too much of the picture."""
        across = min(x + width, self._left + self._wide) - max(x, self._left)
        down = min(y + height, self._top + self._tall) - max(y, self._top)
        covered = max(0, across) * max(0, down)
        if covered > self._room:
            return None
        self._room -= covered
        part = self._drawing[y : y + height, x : x + width]
        part[:] = cv2.convertScaleAbs(part, alpha=_PANEL_SHADE)
        return part

    def _write_warning(self, text: str) -> None:
        ink, high = _Ink(0.75 * self._line, _AMBER_COLOUR), round(0.95 * self._line)
        margin = self._line // 2
        most = min(self._drawing.shape[1], int(self._room / high))
        wide = min(_text_width(text, ink.height) + 2 * margin, most)
        strip = self._darkened(0, 0, wide, high)
        if strip is not None:
            _write(strip, text, (margin, round(0.7 * self._line)), wide - 2 * margin, ink)

    def _write_tag(self, mark: Mark, edges: Edges) -> None:
        """Write the tag above its box, or in its upper edge where there is no room above."""
        ink = _Ink(0.8 * self._line, (mark.reading or WARMING_UP).colour)
        high, room = round(1.25 * ink.height), self._drawing.shape[1]
        across = min(_text_width(mark.tag, ink.height) + round(0.6 * ink.height), room)
        x = min(max(0, self._left + round(edges[0] * self._wide / self._frame[1])), room - across)
        y = self._top + round(edges[1] * self._tall / self._frame[0]) - high
        strip = self._darkened(x, min(max(0, y), self._drawing.shape[0] - high), across, high)
        if strip is not None:
            _write(strip, mark.tag, (round(0.3 * ink.height), round(0.9 * ink.height)), across, ink)


def _draw_panel(panel: Image, caption: Caption, line: int) -> None:
    """Draw one line: the title, the bar with its name and number in the right half, the speed."""
    reading = caption.reading or WARMING_UP
    margin, base, ink = line // 2, round(0.95 * line), _Ink(0.75 * line, _WHITE_COLOUR)
    right = panel.shape[1] - margin
    if caption.fps is not None:
        speed = f"{caption.fps:.0f} fps"
        _write(panel, speed, (right - _text_width(speed, ink.height), base), right, ink)
        right -= _text_width("000 fps", ink.height) + 2 * margin
    title_right = margin + _text_width(reading.title, line)
    if reading.bar is not None:
        left = max(title_right + 2 * margin, right - panel.shape[1] // 2)
        if right - left > 6 * line:
            _draw_bar(panel, reading.bar, (left, right), line, reading.colour)
            right = left - margin
    _write(panel, reading.title, (margin, base), right - margin, _Ink(line, reading.colour))


def _outline(drawing: Image, mark: Mark, frame: Size) -> None:
    reading = mark.reading or WARMING_UP
    if mark.edges is not None:
        _draw_box(drawing, mark.edges, frame, reading.colour)
    _draw_lines(drawing, reading.lines, mark.edges or (0, 0, frame[1], frame[0]), frame)


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


def _draw_bar(panel: Image, bar: Bar, room: tuple[int, int], line: int, colour: Colour) -> None:
    """Draw the bar's name, the bar, its number, from the left to the right edge of `room`."""
    margin, base, ink = line // 2, round(0.95 * line), _Ink(0.75 * line, _WHITE_COLOUR)
    number = f"{bar.share:.2f}"
    right = room[1] - _text_width("0.00", ink.height)
    _write(panel, number, (right, base), panel.shape[1], ink)
    right -= margin
    left, top, name_width = room[0], base - round(0.55 * line), _text_width(bar.name, ink.height)
    if right - left > name_width + 5 * line:  # a bar says more than half of its name
        _write(panel, bar.name, (left, base), name_width, ink)
        left += name_width + margin
    cv2.rectangle(panel, (left, top), (right, base), (70, 70, 70), cv2.FILLED)
    cv2.rectangle(panel, (left, top), (left + round(bar.share * (right - left)), base), colour, cv2.FILLED)
    if bar.tick is not None:
        tick = left + round(bar.tick * (right - left))
        cv2.line(panel, (tick, top - line // 8), (tick, base + line // 8), _WHITE_COLOUR, max(1, line // 12))


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
