"""A table of pictures in, a table of answers out: what an MLflow model of a bundle does.

It is copied into bundles, as `whc.demo.bundled` is, and may import no more than that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from whc.data import headers
from whc.data.pictures import read_picture
from whc.data.preprocess import Image, Unreadable, read_image
from whc.demo import bundled
from whc.demo.answering import ClipFrame, answered
from whc.demo.runnable import RunnableModel
from whc.demo.window import ClipWindows
from whc.errors import DataError, problem

MAX_PIXELS = 25_000_000
"""Pixels of the largest encoded picture that is decoded."""
ROW_COLUMN = "row"

Columns = dict[str, list[str] | list[float] | list[int]]


class PictureTable:
    """Answers of a model for the pictures of a table.

    An answer is a row: the number of the picture's row, from 0, and the columns of the model's task. A model of several
    frames has one for each frame from the first full window on; its pictures need a `video_id` and a `timestamp`, which
    order them, and should have the frame rate of its training. Rows are in the order of the pictures.
    """

    def __init__(self, model: RunnableModel) -> None:
        self._model = model

    @property
    def is_of_sequences(self) -> bool:
        """Whether the pictures need `video_id` and `timestamp`."""
        return self._model.metadata.frames > 1

    @property
    def number_columns(self) -> tuple[str, ...]:
        """The columns of numbers, beside the row's."""
        text = self._model.answers.text_columns
        return tuple(column for column in self._model.answers.picture_columns if column not in text)

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of an answer."""
        return (ROW_COLUMN, *self._model.answers.picture_columns)

    def of_encoded(
        self, images: Sequence[object], videos: Sequence[object] | None = None, times: Sequence[float] | None = None
    ) -> Columns:
        """The answers for JPEG or PNG files, as bytes; a text is no picture, whatever it names.

        Raises:
            DataError: a picture cannot be decoded or is larger than MAX_PIXELS, or the order is not known.
        """
        return self._answers([partial(_decoded, image) for image in images], videos, times)

    def of_arrays(
        self, pictures: NDArray[np.uint8], videos: Sequence[object] | None = None, times: Sequence[float] | None = None
    ) -> Columns:
        """The answers for RGB pictures (N, H, W, 3).

        Raises:
            DataError: the array is another, or the order is not known.
        """
        if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[3] != 3 or not pictures.size:
            rule = "must be uint8 of shape (N, H, W, 3), RGB"
            raise DataError(problem("pictures", rule, f"{pictures.dtype} {pictures.shape}", "convert them"))
        return self._answers([partial(np.asarray, picture) for picture in pictures], videos, times)

    def of_paths(
        self,
        paths: Sequence[Path | str],
        videos: Sequence[object] | None = None,
        times: Sequence[float] | None = None,
    ) -> Columns:
        """The answers for the files at these paths, of any kind that `whc predict` reads.

        Raises:
            DataError: a file cannot be read, or the order is not known.
        """
        return self._answers([partial(read_picture, Path(path)) for path in paths], videos, times)

    def _answers(
        self, loads: list[Callable[[], Image]], videos: Sequence[object] | None, times: Sequence[float] | None
    ) -> Columns:
        metadata, answers = self._model.metadata, self._model.answers
        clips = ClipWindows(metadata.frames, metadata.frame_rate, stream_fps=None)
        rows: dict[int, tuple[str, ...]] = {}
        for numbers, outputs in answered(self._model, clips, self._frames(loads, *self._order(loads, videos, times))):
            for number, output in zip(numbers, outputs, strict=True):
                rows[number] = answers.picture_cells(output)
        table: Columns = {ROW_COLUMN: sorted(rows)}
        is_number = set(self.number_columns)
        for place, column in enumerate(answers.picture_columns):
            cells = [rows[number][place] for number in sorted(rows)]
            table[column] = [float(cell) for cell in cells] if column in is_number else cells
        return table

    def _order(
        self, loads: Sequence[object], videos: Sequence[object] | None, times: Sequence[float] | None
    ) -> tuple[list[int], Sequence[object]]:
        """The pictures' numbers, clip by clip and in order of time, and the clip of each picture."""
        if not self.is_of_sequences:
            return list(range(len(loads))), [None] * len(loads)
        if videos is None or times is None:
            rule = f"must come with the pictures of a model of {self._model.metadata.frames} frames"
            raise DataError(problem("video_id, timestamp", rule, None, "add the columns"))
        first_place = {video: place for place, video in reversed(list(enumerate(videos)))}
        order = sorted(range(len(loads)), key=lambda number: (first_place[videos[number]], times[number]))
        pairs = [(videos[number], times[number]) for number in order]
        if len(set(pairs)) < len(pairs):
            twice = next(pair for pair in pairs if pairs.count(pair) > 1)
            raise DataError(
                problem("timestamp", "must be distinct within a video_id", twice, "give every frame its own")
            )
        return order, videos

    def _frames(
        self, loads: Sequence[Callable[[], Image]], order: Sequence[int], clips: Sequence[object]
    ) -> Iterator[ClipFrame[int]]:
        for number in order:
            try:
                picture = self._model.prepare(loads[number]())
            except Unreadable as error:
                raise DataError(f"row {number}: image: must be a picture, got: {error}; leave it out") from error
            yield ClipFrame(number, clips[number], 0.0, picture)


def load(folder: Path) -> PictureTable:
    """The model of a bundle for tables.

    Raises:
        ArtifactError: as `whc.demo.bundled.load`.
    """
    return PictureTable(bundled.load(folder))


def _decoded(encoded: object) -> Image:
    if not isinstance(encoded, bytes):
        raise Unreadable(f"{type(encoded).__name__}, not the bytes of a JPEG or PNG")
    height, width = headers.size(encoded)
    if height * width > MAX_PIXELS:
        raise Unreadable(f"{width}x{height} pixels, over {MAX_PIXELS // 10**6} megapixels")
    return read_image(encoded)
