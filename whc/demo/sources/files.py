"""Files: a video, a picture, a folder of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from whc.data.pictures import is_still, pictures_below, printable, read_picture
from whc.data.preprocess import Image, Unreadable
from whc.data.video import Frame, constant_rate, open_video
from whc.demo.sources.source import Source, size_of
from whc.errors import DataError

PICTURES_FPS = 10.0  # for pictures, which have no times

Load = Callable[[], Image]


@contextmanager
def opened(path: str) -> Iterator[Source]:
    """Open a video, a picture or a folder of pictures (and its subfolders), and close it at the end.

    Raises:
        DataError: nothing is there, or nothing in it can be decoded.
    """
    if Path(path).is_dir():
        yield _files(path, *pictures_below(Path(path)))
    elif not Path(path).is_file():
        raise DataError(
            f"{printable(path)}: must be a camera, a video, a picture, a folder of pictures, an address "
            "(http://..., rtsp://...) or - for stdin, got nothing there; check the path"
        )
    elif is_still(Path(path)):
        yield _files(path, [Path(path)], 0)
    else:
        with open_video(path) as video:
            yield Source(path, video.fps, video.size, video.count, video.frames, partial(constant_rate, video))


def _files(name: str, files: Sequence[Path], skipped: int) -> Source:
    loads = [(printable(str(path)), partial(read_picture, path)) for path in files]
    source = pictures(printable(name), loads)
    source.skipped = skipped
    return source


def pictures(name: str, loads: Sequence[tuple[str, Load]]) -> Source:
    """A source of pictures that are decoded one after another; `loads` are their names, and what decodes them.

    Raises:
        DataError: no picture can be decoded.
    """
    source = Source(name, None, (0, 0), len(loads), iter(()), lambda: PICTURES_FPS)
    readable = _readable(loads, source)
    first_picture = next(readable, None)
    if first_picture is None:
        raise DataError(
            f"{name}: must hold images that can be decoded, got none of {len(loads)}; "
            f"check the first, {source.unreadable[0]}"
        )
    source.size = size_of(first_picture)
    source.frames = numbered(first_picture, readable)
    return source


def _readable(loads: Sequence[tuple[str, Load]], source: Source) -> Iterator[Image]:
    for name, load in loads:
        try:
            yield load()
        except Unreadable as error:
            source.unreadable.append(f"{name}: {error}")


def numbered(first_picture: Image, later: Iterator[Image]) -> Iterator[Frame]:
    """Pictures at an even distance in time."""
    yield Frame(first_picture, 0.0)
    for number, picture in enumerate(later, 1):
        yield Frame(picture, number / PICTURES_FPS)
