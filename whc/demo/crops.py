"""Pictures to predict: images of a folder or frames of a video, with their names."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from whc.data.pictures import is_still, pictures_below, printable, read_picture
from whc.data.preprocess import Image
from whc.data.video import Frame, open_video
from whc.errors import DataError

FRAME_COLUMNS = ("frame", "seconds")

Prepare = Callable[[Image], Image]
Target = Any  # a row of a task's targets: a number or an array


@dataclass(frozen=True)
class Crop:
    """One picture that is not decoded yet.

    `load` decodes and resizes it for the model, or raises Unreadable. `cells` are the first cells of its row. A window
    of frames stays within one `clip`; the picture's time in it is `seconds`. `target` is the true target in the form
    of the task, None if the source has none.
    """

    name: str
    cells: tuple[object, ...]
    load: Callable[[], Image]
    clip: str
    seconds: float
    split: str = ""
    target: Target | None = None


@dataclass(frozen=True)
class Crops:
    """The pictures of a source; iterate them once.

    `columns` name the `cells` of each picture. `count` is the number of pictures, None if it is unknown. `fps` is the
    frames a second of a clip, None if every picture counts. `note` tells the user how the clips were found, if that
    matters.
    """

    source: str
    columns: tuple[str, ...]
    count: int | None
    fps: float | None
    pictures: Iterator[Crop]
    note: str = ""


@contextmanager
def open_files(source: Path, prepare: Prepare) -> Iterator[Crops]:
    """Open a folder of images, an image or a video, and close it at the end.

    Args:
        source: folder of images (and its subfolders), image or video.
        prepare: turns a picture of any size into a frame of the model's size.

    Raises:
        DataError: the source does not exist, or holds nothing that can be predicted.
    """
    if source.is_dir():
        yield _file_crops(str(source), source, pictures_below(source)[0], prepare)
    elif not source.is_file():
        rule = "must be a folder of images, an image or a video"
        raise DataError(f"{printable(str(source))}: {rule}, got nothing there; check the path")
    elif is_still(source):
        yield _file_crops(str(source), source.parent, [source], prepare)
    else:
        with open_video(source) as video:
            yield Crops(str(source), FRAME_COLUMNS, video.count, video.fps, frame_crops(video, prepare))


def _file_crops(source: str, top: Path, images: Sequence[Path], prepare: Prepare) -> Crops:
    """Images below the folder `top`; each folder is a clip."""

    def crops() -> Iterator[Crop]:
        for path in images:
            cells = (printable(path.relative_to(top).as_posix()),)
            yield Crop(printable(str(path)), cells, partial(_load_file, path, prepare), str(path.parent), 0.0)

    return Crops(source, ("path",), len(images), None, crops())


def _load_file(path: Path, prepare: Prepare) -> Image:
    return prepare(read_picture(path))


def frame_crops(frames: Iterable[Frame], prepare: Prepare) -> Iterator[Crop]:
    """The frames of one stream, with cells for the columns FRAME_COLUMNS."""
    for number, (picture, seconds) in enumerate(frames):
        # Resized immediately, because frames of full size need too much memory.
        prepared = prepare(picture)
        yield Crop(f"frame {number}", (number, f"{seconds:.3f}"), partial(_unchanged, prepared), "", seconds)


def _unchanged(picture: Image) -> Image:
    return picture
