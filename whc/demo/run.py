"""The demo: reads frames, draws verdicts on them, writes files and returns a summary."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

from whc.data.pictures import printable
from whc.demo import model as models
from whc.demo import outputs, overlay, people
from whc.demo.drawing import drawn
from whc.demo.ending import ends_on_signal
from whc.demo.events import SMOOTHED, EventOptions, States, printer
from whc.demo.jsonl import jsonl_file
from whc.demo.model import LoadedModel
from whc.demo.outputs import Result, Write
from whc.demo.people import Finder, Look
from whc.demo.recording import video_file
from whc.demo.regions import WHOLE_FRAME, Region
from whc.demo.screen import Album, screen
from whc.demo.sources import Source, open_source
from whc.demo.summary import DemoSummary, Tally, summarize
from whc.demo.tracking import memory_seconds
from whc.demo.variants import Siblings, Variants
from whc.demo.viewing import watch_region
from whc.errors import UsageError
from whc.words import quantity


class Playing(NamedTuple):
    """How a source is played.

    `is_shown`: whether a window shows the frames, those of files and clips at their own speed. `is_fast`: whether no
    frame waits for its time. `siblings` lists the variants among which a key changes, None for a file.
    """

    is_shown: bool = False
    is_fast: bool = False
    siblings: Siblings | None = None


UNSEEN = Playing()


def run(
    model: Path,
    source: str | None = None,
    *,
    save: Path | None = None,
    csv: Path | None = None,
    playing: Playing = UNSEEN,
    region: Region | Finder = WHOLE_FRAME,
    events: EventOptions = SMOOTHED,
    load: Callable[[Path], LoadedModel] = models.load,
) -> DemoSummary:
    """Run a model on a source until the source ends, the window is closed, or Ctrl-C, SIGTERM or SIGHUP.

    The files are completed in each case.

    Args:
        model: a file exported by whc.
        source: as `open_source` takes it; None for a rendered clip.
        save: WebM or MP4 to write, with each frame at its time (10 frames a second for pictures).
        csv: table to write, with a row for each frame, or for each person in each frame.
        playing: how the source is played.
        region: the part of each frame that the model sees, or what finds the people whose crops it sees.
        events: what is done with states and events.
        load: loads the model's file.

    Raises:
        ArtifactError: the model cannot be used.
        DataError: the source cannot be used.
        UsageError: an output cannot be written, the runtime does not exist, or the model does not suit a detector.
    """
    if save and source and _is_same_file(save, Path(source)):
        raise UsageError(f"{save}: must be another file than the source, got the same; choose another path")
    loaded = load(model)
    variants = Variants(loaded, load, playing.siblings)
    view = people.look_for(loaded, region) if isinstance(region, Finder) else region
    look = view if isinstance(view, Look) else None
    with ExitStack() as stack:
        ending = stack.enter_context(ends_on_signal())
        tally = Tally(ending, loaded.task)
        stream = stack.enter_context(open_source(source, ending, playing.is_fast))
        canvas = overlay.canvas_size(*stream.size)
        writes: list[Write] = []
        if save:
            writes.append(stack.enter_context(video_file(save, canvas, stream.rate())))
        if csv:
            writes.append(stack.enter_context(outputs.csv_file(csv, loaded.task, look is not None)))
        if events.jsonl:
            writes.append(stack.enter_context(jsonl_file(events.jsonl, loaded.task, stream.is_live)))
        if events.print_line:
            writes.append(printer(events.print_line))
        album = Album(save.parent if save else Path(), model.stem)
        if playing.is_shown:
            title = f"whc: {printable(model.name)}"
            window = screen(title, stream, ending, album, variants.change, playing.is_fast)
            writes.append(stack.enter_context(window))
        states = States(loaded.task, events.is_smoothed, memory_seconds(stream.fps)) if stream.fps else None

        def begin(current: LoadedModel) -> Iterator[Result]:
            if states:
                states.take(current.task)
            return results(current, stream, view, canvas, states)

        tally.follow(variants.results(begin), writes)
        tally.notes += _notes(album, variants)
        return summarize(tally, stream, loaded, look, {"save": save, "csv": csv, "jsonl": events.jsonl})


def _notes(album: Album, variants: Variants) -> list[str]:
    """What was done by keys."""
    notes = [f"saved {', '.join(map(str, album.paths))}"] if album.paths else []
    if len(variants.frames) > 1:
        notes.append(", ".join(f"{quantity(count, 'frame')} by {name}" for name, count in variants.frames.items()))
    return notes


def _is_same_file(first_path: Path, second_path: Path) -> bool:
    try:
        return first_path.samefile(second_path)
    except OSError:  # at least one does not exist
        return False


def results(
    model: LoadedModel, stream: Source, view: Region | Look, canvas: overlay.Size, states: States | None
) -> Iterator[Result]:
    """The frames of a stream, with what a model says of a region of them, or of all that a detector finds."""
    draw = partial(drawn, model, stream, canvas=canvas, states=states)
    if isinstance(view, Look):
        return draw(people.watch_people(model, view, stream.fps), what=view.detector.what)
    watch = watch_region(model, view, stream.fps)
    if view != WHOLE_FRAME:
        return draw(watch)
    return draw(watch, doubt=partial(people.doubt, model=model))
