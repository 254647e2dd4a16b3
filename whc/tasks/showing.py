"""What people see of a task: one output as it is drawn, and the words of cards and tables."""

from __future__ import annotations

from dataclasses import dataclass, replace

Colour = tuple[int, int, int]

GREEN_COLOUR: Colour = (90, 230, 120)
BLUE_COLOUR: Colour = (120, 180, 255)
NOTHING_COLOUR: Colour = (170, 170, 170)  # of an answer that nothing is there
UNSURE_COLOUR: Colour = (215, 190, 140)
UNSURE_SHARE = 0.2
"""An answer is not sure if its probability is within this share of the way from the threshold to 0 or to 1."""


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


def is_unsure(probability: float, threshold: float) -> bool:
    """Whether a probability is too near to its threshold for an answer: at 0.5, from 0.4 to 0.6."""
    way = threshold if probability < threshold else 1 - threshold
    return abs(probability - threshold) < UNSURE_SHARE * way


def as_unsure(reading: Reading) -> Reading:
    """A reading as a state of its own: the model is not sure of it."""
    return replace(reading, title=f"not sure: {reading.title}", colour=UNSURE_COLOUR)


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
