"""What people see of a task: one output as it is drawn, and the words of cards and tables."""

from __future__ import annotations

from dataclasses import dataclass

Colour = tuple[int, int, int]

GREEN_COLOUR: Colour = (90, 230, 120)
BLUE_COLOUR: Colour = (120, 180, 255)


@dataclass(frozen=True)
class Bar:
    """A share 0..1 to be drawn as a bar with its name; `tick` is the threshold, None if there is none."""

    name: str
    share: float
    tick: float | None = None


@dataclass(frozen=True)
class Line:
    """A line to be drawn; its points (x, y) are in shares of the width and height of the region that the model sees."""

    start: tuple[float, float]
    end: tuple[float, float]
    colour: Colour


@dataclass(frozen=True)
class Reading:
    """One output as people see it; `colour` is the colour of title, bar and box."""

    title: str
    colour: Colour = BLUE_COLOUR
    bar: Bar | None = None
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class Mistake:
    """A bad answer: the number of its row, what was answered and what is true in words, and lines over its picture."""

    row: int
    words: str
    lines: tuple[Line, ...] = ()


@dataclass(frozen=True)
class TaskWords:
    """Phrases about a task for model cards and tables.

    `purpose` follows `it`, `floor` precedes `scores`, `score` precedes `on the test split`, `conditions` follows
    `pictures`; `output` and `limit` are sentences without the full stop. `mistakes` says what is drawn over a mistake's
    picture, empty if nothing is.
    """

    purpose: str
    score: str
    floor: str
    output: str
    limit: str
    conditions: str = "turned by -12 / +12 degrees"
    mistakes: str = ""
