"""Each frame of a stream with what the model says of it drawn on it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence

from whc.data.preprocess import Image
from whc.demo import overlay
from whc.demo.outputs import Result
from whc.demo.overlay import Caption, Mark
from whc.demo.runnable import RunnableModel
from whc.demo.sources import Source
from whc.demo.viewing import Sighting, Watch
from whc.tasks.showing import NOTHING_COLOUR, Reading
from whc.words import quantity

_SPEED_FRAMES = 30  # frames over which the drawn speed is averaged
_WARNING = "complete picture seen, not a crop: try --detect"


def drawn(
    model: RunnableModel,
    stream: Source,
    watch: Watch,
    canvas: overlay.Size,
    what: str = "",
    doubt: Callable[[Image], str] = lambda picture: "",
) -> Iterator[Result]:
    """The frames of a stream as results of a run.

    Args:
        model: what `watch` runs.
        stream: an open source.
        watch: what the model says of the next frame.
        canvas: height and width of the drawings.
        what: what a detector looks for, empty without a detector.
        doubt: why the model should not be believed in a picture, empty if nothing does.
    """
    instants: deque[float] = deque(maxlen=_SPEED_FRAMES + 1)
    for number, (picture, seconds) in enumerate(stream):
        sightings = watch(picture, seconds)
        instants.append(time.perf_counter())
        fps = (len(instants) - 1) / (instants[-1] - instants[0]) if len(instants) > 1 else None
        reason = doubt(picture)
        marks = [_mark(model, sighting) for sighting in sightings]
        caption = Caption(_title(marks, what), fps, _WARNING if reason else "")
        yield Result(number, seconds, overlay.draw(picture, caption, canvas, marks), sightings, reason)


def _mark(model: RunnableModel, sighting: Sighting) -> Mark:
    reading = None if sighting.verdict is None else model.answers.reading(sighting.verdict.output)
    title = (reading or overlay.WARMING_UP).title
    return Mark(sighting.edges, reading, f"#{sighting.found.identity} {title}" if sighting.found else "")


def _title(marks: Sequence[Mark], what: str) -> Reading | None:
    """What the panel says: the only reading, or how many people there are; the tags say what they are called."""
    if len(marks) == 1:
        return marks[0].reading
    if not marks:
        return Reading(f"no {what} found", NOTHING_COLOUR)
    return Reading(quantity(len(marks), what), NOTHING_COLOUR)
