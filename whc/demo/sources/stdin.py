"""JPEGs one after another on stdin: of another program's camera, or of files (`cat *.jpg`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from whc.demo.sources import jpegs
from whc.demo.sources.source import Source
from whc.errors import DataError

SPEC, NAME = "-", "stdin"
_CHUNK_BYTES = 1 << 16


@contextmanager
def opened(is_fast: bool) -> Iterator[Source]:
    """The pictures on stdin. None is dropped: whoever sends them waits.

    Args:
        is_fast: whether they are at an even distance in time, as files; otherwise the clock tells their times.

    Raises:
        DataError: stdin is closed, a terminal, or gives no JPEG.
    """
    if sys.stdin is None or sys.stdin.isatty():
        raise DataError(f"{NAME}: must be a pipe of JPEG pictures, got a terminal; see `cat *.jpg | whc demo ...`")
    yield jpegs.source(NAME, iter(_chunk, b""), is_timed=not is_fast)


def _chunk() -> bytes:
    return os.read(sys.stdin.fileno(), _CHUNK_BYTES)
