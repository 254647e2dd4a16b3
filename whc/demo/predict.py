"""A model over many pictures: a table with a row for each decision, and a summary."""

from __future__ import annotations

import os
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from whc.data.preprocess import Image, Unreadable
from whc.demo.answering import ClipFrame, answered, chunks
from whc.demo.crops import Crop, Crops, Target
from whc.demo.ending import Ending, ends_on_signal
from whc.demo.model import LoadedModel
from whc.demo.outputs import table
from whc.demo.regions import WHOLE_FRAME, Region
from whc.demo.rows import open_crops, parquet_crops
from whc.demo.window import ClipWindows
from whc.errors import DataError
from whc.records import Metric
from whc.tasks import Outputs, Task
from whc.words import quantity

MAX_EXAMPLES = 5
_CHUNK_PICTURES = 32  # pictures that a thread decodes at a time

Progress = Callable[[int, int], None]
_PictureOrError = Image | Unreadable
_Chunk = tuple[list[Crop], Future[list[_PictureOrError]]]


class PredictSummary(BaseModel):
    """Summary of a prediction.

    `called` counts rows by answer. `scores` are in `metric`, by split ("all" for rows without a split), empty if the
    source has no true targets. `unreadable` counts the pictures left out; `examples` lists the first few as
    `name: reason`. `seconds` is wall time. `images_per_second` counts all pictures in that time, with decoding and
    writing. `signal` is the number of the signal that ended the run early, 0 if there was none.
    """

    model_config = ConfigDict(frozen=True)

    model: str
    source: str
    out: str
    rows: int
    called: dict[str, int]
    scores: dict[str, float]
    metric: Metric
    unreadable: int
    examples: list[str]
    seconds: float
    images_per_second: float
    signal: int
    notes: list[str]

    def line(self) -> str:
        """The summary for people, in one line."""
        counts = ", ".join(f"{count} {answer}" for answer, count in self.called.items())
        speed = f"{self.rows} rows in {self.seconds:.1f} s ({self.images_per_second:.0f} images/s)"
        parts = [f"{self.out}: {speed}", counts]
        parts += [f"{split} {self.metric.shown(score)}" for split, score in self.scores.items()]
        if self.unreadable:
            more = ", ..." if self.unreadable > len(self.examples) else ""
            parts.append(f"{self.unreadable} unreadable images left out ({', '.join(self.examples)}{more})")
        return "; ".join((*parts, *self.notes))


def predict(
    model: LoadedModel,
    source: Path,
    out: Path,
    *,
    split: str | None = None,
    region: Region = WHOLE_FRAME,
    on_progress: Progress = lambda count, total: None,
) -> PredictSummary:
    """Run a model over all pictures of a source; the table gets its name only when it is complete.

    Ctrl-C, SIGTERM or SIGHUP complete the table with the rows so far.

    The first columns depend on the source: `path` for a folder; `row`, `path`, `split` and those of the true answer for
    a Parquet file (the last ones only if the file has them); `frame` and `seconds` for a video. The columns of the task
    follow. A model of several frames has a row for each full window, with the cells of the window's last frame. Windows
    stay within a clip (video_id, video or folder). They are at the model's frames a second if both rates are known.

    Args:
        model: the model to run.
        source: folder of images (and its subfolders), image, Parquet file or video.
        out: CSV file to write.
        split: the split of a Parquet file to predict; None: all rows.
        region: the part of each picture that the model sees.
        on_progress: called with the number of pictures processed and of all pictures.

    Raises:
        ArtifactError: the model's outputs do not fit its task.
        DataError: the source cannot be used, has labels that the model does not know, or gives no row.
        UsageError: `out` cannot be written, or a split is given, but the source has no splits.
    """
    started = time.perf_counter()
    frames = model.metadata.frames

    def prepare(picture: Image) -> Image:
        return model.prepare(region.crop(picture))

    with (
        ends_on_signal() as ending,
        table(out) as write,
        open_crops(source, prepare, model.task, frames, split) as crops,
    ):
        write((*crops.columns, *model.task.columns))
        prediction = _Prediction(model, crops, ending, on_progress)
        for row in prediction.rows():
            write(row)
        prediction.require_rows()
    return prediction.summary(out, time.perf_counter() - started)


def write_outputs(
    outputs: Mapping[int, Outputs], source: Sequence[Path], task: Task, frames: int, split: str, out: Path
) -> None:
    """Write the table that `predict` writes for a split of Parquet files, of outputs that a network gave before.

    Args:
        outputs: one output by the number of its row; of a window the row of its last frame.
        source: Parquet files, one data set together.
        task: of the outputs.
        frames: of one input.
        split: whose rows to write.
        out: CSV file to write.

    Raises:
        UsageError: `out` cannot be written.
    """
    crops = parquet_crops(source, _as_it_is, task, frames, split)
    with table(out) as write:
        write((*crops.columns, *task.columns))
        for crop in crops.pictures:
            number, *_ = crop.cells
            if isinstance(number, int) and number in outputs:
                for cells in task.table_rows(outputs[number]):
                    write((*crop.cells, *cells))


def _as_it_is(picture: Image) -> Image:
    return picture


class _Prediction:
    """One pass over the pictures, with its counts."""

    def __init__(self, model: LoadedModel, crops: Crops, ending: Ending, on_progress: Progress) -> None:
        self._model, self._crops, self._ending, self._on_progress = model, crops, ending, on_progress
        self._processed = self._decisions = 0
        self._clips = ClipWindows(model.metadata.frames, model.metadata.frame_rate, crops.fps)
        self._full_outputs = self._max_boxes = 0  # pictures with as many boxes as an output holds
        self._unreadable: list[str] = []
        self._called: Counter[str] = Counter()
        self._scored: defaultdict[str, list[tuple[Outputs, Target]]] = defaultdict(list)

    def rows(self) -> Iterator[tuple[object, ...]]:
        """The rows of the table, up to a signal that ends the run."""
        task = self._model.task
        for crops, outputs in answered(self._model, self._clips, self._frames()):
            if self._ending.signal:
                return
            self._called.update(task.answer_counts(outputs))
            self._decisions += len(crops)
            for place, crop in enumerate(crops):
                output = outputs[place, ...]
                self._count_boxes(output)
                if crop.target is not None:
                    self._scored[crop.split or "all"].append((output, crop.target))
                for cells in task.table_rows(output):
                    yield (*crop.cells, *cells)

    def _count_boxes(self, output: Outputs) -> None:
        boxes = len(self._model.task.found_boxes(output))
        if boxes and boxes == len(output):
            self._full_outputs, self._max_boxes = self._full_outputs + 1, boxes

    def _frames(self) -> Iterator[ClipFrame[Crop]]:
        """The pictures that can be decoded."""
        for crop, picture in self._pictures():
            if isinstance(picture, Unreadable):
                self._unreadable.append(f"{crop.name}: {picture}")
            else:
                yield ClipFrame(crop, crop.clip, crop.seconds, picture)

    def _pictures(self) -> Iterator[tuple[Crop, _PictureOrError]]:
        """Pictures in their order, decoded by threads in advance."""
        workers = os.cpu_count() or 1
        pool = ThreadPoolExecutor(workers)
        waiting: deque[_Chunk] = deque()
        try:
            for chunk in chunks(self._crops.pictures, _CHUNK_PICTURES):
                waiting.append((chunk, pool.submit(_load_pictures, chunk)))
                if len(waiting) > 2 * workers:
                    yield from self._decoded(waiting.popleft())
            while waiting:
                yield from self._decoded(waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _decoded(self, chunk_and_pictures: _Chunk) -> Iterator[tuple[Crop, _PictureOrError]]:
        chunk, pictures = chunk_and_pictures
        yield from zip(chunk, pictures.result(), strict=True)
        self._processed += len(chunk)
        self._on_progress(self._processed, max(self._processed, self._crops.count or 0))

    def require_rows(self) -> None:
        """Raise a DataError if there was no decision."""
        if self._decisions:
            return
        if self._ending.signal:
            raise KeyboardInterrupt  # the table has no rows to keep
        source, metadata = self._crops.source, self._model.metadata
        if len(self._unreadable) == self._processed:
            rule = "must hold images that can be decoded"
            raise DataError(f"{source}: {rule}, got none of {self._processed}; check the first, {self._unreadable[0]}")
        rate = f" at {metadata.frame_rate:g} a second" if metadata.frame_rate else ""
        rule = f"must have a clip of at least {metadata.frames} frames{rate}"
        raise DataError(f"{source}: {rule}, got none; choose a model of fewer frames")

    def _notes(self) -> list[str]:
        metadata, fps = self._model.metadata, self._crops.fps
        notes = [self._crops.note] if self._crops.note else []
        if self._full_outputs:
            pictures = quantity(self._full_outputs, "picture")
            notes.append(f"{pictures} with as many boxes as the model can give ({self._max_boxes}): more may be there")
        if self._clips.short_clips:
            notes.append(f"{self._clips.short_clips} clips without rows, shorter than {metadata.frames} frames")
        if metadata.frames > 1 and metadata.frame_rate and fps and fps < 0.9 * metadata.frame_rate:
            notes.append(f"the model was trained on {metadata.frame_rate:g} frames a second, the source has {fps:g}")
        if self._ending.signal:
            notes.append(f"interrupted after {self._processed} of {self._crops.count or 'unknown many'} pictures")
        elif self._crops.count and self._processed < 0.9 * self._crops.count:
            notes.append(f"the source ended early, after {self._processed} of {self._crops.count} frames")
        return notes

    def summary(self, out: Path, seconds: float) -> PredictSummary:
        """The summary of the run."""
        return PredictSummary(
            model=str(self._model.path),
            source=self._crops.source,
            out=str(out),
            rows=self._decisions,
            called=dict(self._called),
            scores={split: self._score(rows) for split, rows in self._scored.items()},
            metric=self._model.task.metric,
            unreadable=len(self._unreadable),
            examples=self._unreadable[:MAX_EXAMPLES],
            seconds=seconds,
            images_per_second=self._processed / seconds,
            signal=self._ending.signal,
            notes=self._notes(),
        )

    def _score(self, rows: list[tuple[Outputs, Target]]) -> float:
        outputs, targets = zip(*rows, strict=True)
        return float(self._model.task.judge(np.stack(outputs), np.stack(targets)).score())


def _load_pictures(crops: list[Crop]) -> list[_PictureOrError]:
    return [_picture_or_error(crop) for crop in crops]


def _picture_or_error(crop: Crop) -> _PictureOrError:
    try:
        return crop.load()
    except Unreadable as error:
        return error
