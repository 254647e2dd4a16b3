"""Where results go: an MP4, a CSV, a window on the screen. The files appear under their names when they are whole."""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import cv2

from whc.data.preprocess import Image
from whc.demo.classifier import Verdict
from whc.demo.overlay import Size
from whc.errors import UsageError

_QUIT_KEYS = {ord("q"), ord("Q"), 27}


class Output(Protocol):
    """Takes the frames of a run in order."""

    def write(self, shown: Image, seconds: float, verdict: Verdict | None, fresh: bool) -> bool:
        """Take one frame; False asks to stop.

        Args:
            shown: the drawn frame, RGB.
            seconds: time in the stream.
            verdict: the latest, None while there is none.
            fresh: the verdict was reached on this frame.
        """


@contextmanager
def replacing(path: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends, also when Ctrl-C ends it, and else is removed.

    Raises:
        UsageError: another suffix, or a folder that cannot be written.
    """
    if path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: must end in {' or '.join(suffixes)}, got {path.suffix!r}; rename it")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise UsageError(f"{path}: must be a file that can be written, got {error.strerror}; choose another path") from error
    finally:
        temporary.unlink(missing_ok=True)
