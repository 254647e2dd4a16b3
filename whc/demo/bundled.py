"""The program of a bundle: a model's file on a camera, a video or pictures, without the rest of whc.

`whc.export.bundle` copies this module and all that it imports into a bundle. They may import nothing but numpy, OpenCV
and what runs the file.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from whc.data.preprocess import Unreadable
from whc.demo import outputs, overlay
from whc.demo.answering import BATCH_WINDOWS, ClipFrame, answered
from whc.demo.crops import FRAME_COLUMNS, Crop, Crops, frame_crops, open_files
from whc.demo.drawing import drawn
from whc.demo.ending import Ending, ends_on_signal
from whc.demo.recording import video_file
from whc.demo.regions import WHOLE_FRAME
from whc.demo.runnable import RunnableModel
from whc.demo.screen import KEYS, Album, screen
from whc.demo.sources import is_stream, open_source
from whc.demo.viewing import watch_region
from whc.demo.window import ClipWindows
from whc.errors import ArtifactError, WhcError, problem
from whc.records.writing import sha256
from whc.tasks.answers import Answers

DESCRIPTION_FILE = "bundle.json"
SAMPLE_FOLDER = "sample"
_ADVICE = "use the file of this bundle, or write a bundle of that file with `whc export --model FILE --bundle FOLDER`"


def main(folder: Path, arguments: Sequence[str]) -> int:
    """Run the bundle in a folder; returns the exit code, after a message of one line where it is not 0."""
    parsed = _parser(folder).parse_args(arguments)
    try:
        model = load(folder, parsed.model)
        if parsed.show or parsed.save:
            _draw(model, parsed.source, parsed.save, parsed.show)
        else:
            _tabulate(model, parsed.source, parsed.csv)
    except WhcError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    return 0


def _parser(folder: Path) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "run.py",
        description="Run the model of this bundle: a table of its answers, or a video with them.",
        epilog="`whc export --model FILE --bundle FOLDER --html` adds run.html, a page that runs it in a browser.",
    )
    add = parser.add_argument
    source_help = (
        "camera (0, /dev/video0), video, picture, folder of pictures, address (http, rtsp), or - for JPEGs on stdin "
        "(default: the sample)"
    )
    add("source", nargs="?", default=str(folder / SAMPLE_FOLDER), help=source_help)
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--csv", type=Path, help="file to write the table to (default: the screen)")
    kinds.add_argument("--show", action="store_true", help=f"open a window with the answers drawn. Keys: {KEYS}")
    kinds.add_argument("--save", type=Path, help="video of it to write: .webm, or .mp4 (needs `pip install av`)")
    add("--model", type=Path, help="the model's file, where it was moved")
    return parser


def load(folder: Path, path: Path | None = None) -> RunnableModel:
    """The model of a bundle.

    Args:
        folder: the bundle.
        path: the model's file, by default that in the bundle.

    Raises:
        ArtifactError: the file is another one, damaged, or of a task that the bundle does not know.
    """
    description = json.loads((folder / DESCRIPTION_FILE).read_text("utf-8"))
    path = path or folder / description["model"]
    session = import_module(f"...runtimes.{description['session']}", __name__).load_on_cpu(path, threads=1)
    answers = _answers(session.file.properties.get("whc.task", ""), path, description)
    if sha256(path) != description["sha256"]:
        rule = f"must be the file that this bundle was made of, {description['name']}"
        raise ArtifactError(f"{path}: {rule}, got another; {_ADVICE}")
    return RunnableModel(session, cast("Any", SimpleNamespace(**description["metadata"])), answers)


def _answers(task: str, path: Path, description: dict[str, Any]) -> Answers:
    tasks = Path(__file__).parents[1] / "tasks"
    known = sorted(file.parent.name for file in tasks.glob("*/answers.py"))
    if task not in known:
        rule = f"whc.task must be one that this bundle knows ({', '.join(known)})"
        raise ArtifactError(problem(str(path), rule, task, _ADVICE))
    kind = import_module(f"...tasks.{task}.answers", __name__).ANSWERS
    metadata = description["metadata"]
    return cast("Answers", kind(tuple(metadata["labels"]), SimpleNamespace(**metadata["task_config"])))


def _tabulate(model: RunnableModel, source: str, out: Path | None) -> None:
    """Write the table that `whc predict` writes."""
    with ExitStack() as stack:
        ending = stack.enter_context(ends_on_signal())
        write = stack.enter_context(outputs.table(out)) if out else csv.writer(sys.stdout).writerow
        crops, batch = stack.enter_context(_open(model, source, ending))
        write((*crops.columns, *model.answers.columns))
        metadata = model.metadata
        clips = ClipWindows(metadata.frames, metadata.frame_rate, crops.fps)
        for items, found in answered(model, clips, _frames(crops.pictures), batch):
            for crop, output in zip(items, found, strict=True):
                _write_rows(write, crop, model.answers.table_rows(output))
            if ending.signal:
                return


def _write_rows(write: Callable[[Iterable[object]], object], crop: Crop, rows: Iterable[tuple[str, ...]]) -> None:
    for cells in rows:
        write((*crop.cells, *cells))


@contextmanager
def _open(model: RunnableModel, source: str, ending: Ending) -> Iterator[tuple[Crops, int]]:
    """The pictures of a source, and how many windows of them to run at once."""
    if not is_stream(source):
        with open_files(Path(source), model.prepare) as crops:
            yield crops, BATCH_WINDOWS
        return
    with open_source(source, ending) as stream:
        yield Crops(stream.name, FRAME_COLUMNS, None, stream.fps, frame_crops(stream, model.prepare)), 1


def _frames(crops: Iterable[Crop]) -> Iterator[ClipFrame[Crop]]:
    for crop in crops:
        try:
            yield ClipFrame(crop, crop.clip, crop.seconds, crop.load())
        except Unreadable as error:
            print(f"{crop.name}: {error}; left out", file=sys.stderr)  # noqa: T201


def _draw(model: RunnableModel, source: str, save: Path | None, is_shown: bool) -> None:
    with ExitStack() as stack:
        ending = stack.enter_context(ends_on_signal())
        stream = stack.enter_context(open_source(source, ending))
        canvas = overlay.canvas_size(*stream.size)
        writes = [stack.enter_context(video_file(save, canvas, stream.rate()))] if save else []
        if is_shown:
            album = Album(save.parent if save else Path(), model.path.stem)
            writes.append(stack.enter_context(screen(model.path.name, stream, ending, album, None)))
        for result in drawn(model, stream, watch_region(model, WHOLE_FRAME, stream.fps), canvas):
            is_wanted = [write(result) for write in writes]
            if ending.signal or not all(is_wanted):
                return
