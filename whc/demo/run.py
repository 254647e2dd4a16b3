"""The demo's loop: reads frames, draws verdicts on them, writes files and returns a summary."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from whc.data.pictures import printable
from whc.demo import model as models
from whc.demo import outputs, overlay, people
from whc.demo.ending import ends_on_signal
from whc.demo.model import LoadedModel
from whc.demo.outputs import Result, Write
from whc.demo.overlay import Caption, Mark
from whc.demo.people import Finder, Look, Sighting
from whc.demo.regions import WHOLE_FRAME, Region
from whc.demo.sources import Source, open_source
from whc.demo.summary import DemoSummary, Tally, summarize
from whc.errors import UsageError
from whc.latency import first_pass
from whc.tasks.showing import Reading
from whc.words import quantity

_SPEED_FRAMES = 30  # frames over which the drawn speed is averaged
_WARNING = "complete picture seen, not a crop: try --detect"


def run(
    model: Path,
    source: str | None = None,
    *,
    save: Path | None = None,
    csv: Path | None = None,
    display: bool = False,
    region: Region | Finder = WHOLE_FRAME,
    runtime: str = "onnxruntime_cpu",
    threads: int = 1,
    wait_s: float = first_pass.WAIT_S,
) -> DemoSummary:
    """Run a model on a source until the source ends, the window is closed, or Ctrl-C, SIGTERM or SIGHUP.

    The files are completed in each case.

    Args:
        model: an ONNX file exported by whc.
        source: a camera's number, a video, a picture, a folder of pictures; None for a rendered clip.
        save: WebM or MP4 to write, with each frame at its time (10 frames a second for pictures).
        csv: table to write, with a row for each frame, or for each person in each frame.
        display: whether a window shows the frames, those of files and clips at their own speed.
        region: the part of each frame that the model sees, or what finds the people whose crops it sees.
        runtime: name of a runtime plug-in.
        threads: threads of one forward pass.
        wait_s: time limit in seconds of the model's first pass.

    Raises:
        ArtifactError: the model cannot be used.
        DataError: the source cannot be used.
        UsageError: an output cannot be written, the runtime does not exist, or the model does not suit a detector.
    """
    if save and source and _is_same_file(save, Path(source)):
        raise UsageError(f"{save}: must be another file than the source, got the same; choose another path")
    loaded = models.load(model, runtime, threads, wait_s)
    view = people.look_for(loaded, region) if isinstance(region, Finder) else region
    look = view if isinstance(view, Look) else None
    with ExitStack() as stack:
        tally = Tally(stack.enter_context(ends_on_signal()))
        stream = stack.enter_context(open_source(source))
        canvas = overlay.canvas_size(*stream.size)
        writes: list[Write] = []
        if save:
            writes.append(stack.enter_context(outputs.video_file(save, canvas, stream.rate())))
        if csv:
            writes.append(stack.enter_context(outputs.csv_file(csv, loaded.task, look is not None)))
        if display:
            title = f"whc: {printable(model.name)}"
            writes.append(stack.enter_context(outputs.screen(title, is_paced=not stream.is_live)))
        tally.follow(_results(loaded, stream, view, canvas), writes)
        return summarize(tally, stream, loaded, look, save, csv)


def _is_same_file(first_path: Path, second_path: Path) -> bool:
    try:
        return first_path.samefile(second_path)
    except OSError:  # at least one does not exist
        return False


def _results(model: LoadedModel, stream: Source, view: Region | Look, canvas: overlay.Size) -> Iterator[Result]:
    """Each frame of the stream with what the model says of it drawn on it."""
    if isinstance(view, Look):
        what, watch = view.detector.what, people.watch_people(model, view, stream.fps)
    else:
        what, watch = "", people.watch_region(model, view, stream.fps)
    instants: deque[float] = deque(maxlen=_SPEED_FRAMES + 1)
    for number, (picture, seconds) in enumerate(stream):
        sightings = watch(picture, seconds)
        instants.append(time.perf_counter())
        fps = (len(instants) - 1) / (instants[-1] - instants[0]) if len(instants) > 1 else None
        doubt = people.doubt(picture, model) if view == WHOLE_FRAME else ""
        marks = [_mark(model, sighting) for sighting in sightings]
        caption = Caption(_title(marks, what), fps, _WARNING if doubt else "")
        yield Result(number, seconds, overlay.draw(picture, caption, canvas, marks), sightings, doubt)


def _mark(model: LoadedModel, sighting: Sighting) -> Mark:
    reading = None if sighting.verdict is None else model.task.reading(sighting.verdict.output)
    title = (reading or overlay.WARMING_UP).title
    return Mark(sighting.edges, reading, f"#{sighting.found.identity} {title}" if sighting.found else "")


def _title(marks: Sequence[Mark], what: str) -> Reading | None:
    """What the panel says: the only reading, or how many people there are; the tags say what they are called."""
    if len(marks) == 1:
        return marks[0].reading
    if not marks:
        return Reading(f"no {what} found", overlay.GREY_COLOUR)
    return Reading(quantity(len(marks), what), overlay.GREY_COLOUR)
